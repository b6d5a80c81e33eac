"""Owns names given on this machine: models created from a Modelfile, copies, their settings.

A created model is a manifest over a base; no weights are copied. It does not know who applies the
settings.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingle.errors import IngleError, ModelNotFoundError
from ingle.hub import manifest, modelfile, ollama, place, registry
from ingle.hub.manifest import Manifest
from ingle.hub.names import existing, resolve
from ingle.hub.reference import parse

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}(?:/[\w.-]{1,80})?(?::[\w.-]{1,80})?", re.ASCII)


def create(name: str, file: Path) -> Path:
    """Give `name` to what the Modelfile `file` says, and return the path of its base's weights.

    A base that is not here is fetched. Raises IngleError.
    """
    said = modelfile.read(file)
    return create_from(name, _base(said.base, file), said)


def create_from(name: str, base: str, said: modelfile.Modelfile) -> Path:
    """Give `name` to what `said` says over `base`, a name or an absolute path; as `create`."""
    _check_name(name)
    if name.lower() in (base.lower(), *(made.name.lower() for made in place.bases(base))):
        rule = f"a model must not be made from itself, but got FROM {base}"
        raise IngleError(name, rule, "choose another name")
    path = resolve(base)
    manifest.write(Manifest(name=name, base=base, settings=said.settings()))
    return path


def copy(source: str, name: str) -> None:
    """Make `name` another name of the model `source`, which must be on this machine."""
    _check_name(name)
    made = place.base_of(source)
    if made is not None:
        manifest.write(replace(made, name=name))
        return
    found = place.find(source)
    if found is not None:
        manifest.write(Manifest(name=name, base=found.name))
        return
    path = Path(source).expanduser()
    if not path.exists():
        rule = "a model must be on this machine to be copied, but got none"
        raise ModelNotFoundError(source, rule, "`ingle list` shows what is here")
    manifest.write(Manifest(name=name, base=str(path.absolute())))


def settings(name: str) -> dict[str, Any]:
    """What a model's name brings beside weights, for whoever runs it.

    parameters: dict, under the names of `ingle.llm`'s options and `context` and `threads`; system,
    template (Jinja), license: text or None. A created model's own words win over its base's;
    Ollama's models bring parameters and system of theirs. Raises IngleError.
    """
    found: dict[str, Any] = {"parameters": {}, "system": None, "template": None, "license": None}
    chain = place.bases(name)
    last = chain[-1].base if chain else name
    layers = [_ollama_settings(last), *(made.settings for made in reversed(chain))]
    for layer in layers:
        found["parameters"] |= layer.get("parameters", {})
        found |= {key: layer[key] for key in ("system", "template", "license") if key in layer}
    return found


def modelfile_text(name: str) -> str:
    """A Modelfile that would create the model again."""
    chain, said = place.bases(name), settings(name)
    lines = [f"FROM {chain[-1].base if chain else name}"]
    for key, value in said["parameters"].items():
        values = value if isinstance(value, list) else [value]
        lines += [f"PARAMETER {key} {_quoted(one)}" for one in values]
    for key in ("system", "template", "license"):
        if said[key] is not None:
            lines.append(f'{key.upper()} """{said[key]}"""')
    return "\n".join(lines)


def _ollama_settings(name: str) -> dict[str, Any]:
    """What Ollama says of a model, if its file is the one that is used."""
    found = None if existing(name) else place.find(name)
    model = ollama.find(found.name) if found and found.owner == place.OLLAMA else None
    said = model.settings() if model else {}
    if "parameters" in said:
        said["parameters"] = modelfile.parameters_of(said["parameters"])
    return said


def _base(text: str, file: Path) -> str:
    """The base as it is kept: a name, or an absolute path (a relative one starts at the file)."""
    path = Path(text).expanduser()
    beside = path if path.is_absolute() else file.absolute().parent / path
    looks_like_path = text.startswith((".", "~", "/")) or path.is_absolute()
    if looks_like_path or (beside.exists() and not registry.find_repository(text)):
        return str(beside)
    return text


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        rule = "a name must be letters, digits and . _ - with perhaps one / and :tag"
        raise IngleError("NAME", f"{rule}, but got {name[:60]!r}", "for example my-model:1")
    taken = registry.find(name) or registry.find_repository(name) or _is_pulled(name)
    if taken:
        rule = f"a name must not be one of a model's own, but got {name}"
        raise IngleError("NAME", rule, f"for example my-{name.rpartition('/')[2]}")


def _is_pulled(name: str) -> bool:
    found = manifest.read(name)
    return bool(found and not found.base) or (found is None and bool(parse(name)))


def _quoted(value: Any) -> str:
    if not isinstance(value, str):
        return str(value)
    return '"' + value.replace('"', '\\"').replace("\n", "\\n") + '"'
