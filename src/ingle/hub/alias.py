"""Owns by which other names a model is asked for. It does not know whether it is here."""

from __future__ import annotations

from pathlib import PurePath

from ingle.hub import registry

_ENDINGS = (":latest", "-gguf", ".gguf", ".safetensors", ".packed")


def also_called(name: str) -> frozenset[str]:
    """Names, in lower case, under which clients ask for the model `name`, that one among them.

    A known model goes by its repositories too, and by what those are called without their owner.

    >>> sorted(also_called("gpt-oss:20b"))[:3]
    ['ggml-org/gpt-oss-20b', 'ggml-org/gpt-oss-20b-gguf', 'gpt-oss']
    """
    full = registry.full_name(name)
    names = {name, full, full.replace(":", "-"), _bare(name)}
    names |= {family for family, usual in registry.FAMILIES.items() if usual == full}
    for known in registry.REPOSITORIES.values():
        repos = [reference.repo for reference in (known.reference, *known.also)]
        if known.name == full or full in map(str.lower, repos):
            names |= {known.name, *repos, *(repo.rpartition("/")[2] for repo in repos)}
    lower = {one.lower() for one in names}
    return frozenset(lower | {_stripped(one) for one in lower})


def _bare(name: str) -> str:
    """A path's last part, without what tells the kind of file."""
    return _stripped(PurePath(name).name.lower()) if name.endswith(_ENDINGS[2:]) else name


def _stripped(name: str) -> str:
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name
