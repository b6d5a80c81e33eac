"""Owns a conversion from start to end: which layout is read, which is written, and the files.

Memory stays at a few MiB whatever the model's size, and a killed conversion resumes. It does not
know the tensors of any model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingle.errors import IngleError, UnsupportedError
from ingle.formats.container import Container
from ingle.formats.convert import config as configs
from ingle.formats.convert import dense, gpt_oss, vocabulary
from ingle.formats.convert.dense_folder import folder_config, folder_tensors
from ingle.formats.convert.folder import (
    WEIGHTS,
    copy_companions,
    huggingface_files,
    openai_files,
    write_folder,
)
from ingle.formats.convert.lazy import LazyTensor, require, stored
from ingle.formats.facts import ModelFacts, open_model
from ingle.formats.gguf import GgufFile
from ingle.formats.gguf_values import typed_metadata
from ingle.formats.mapping import Bytes, quoted
from ingle.formats.packed import PackedFile, unpack
from ingle.formats.safetensors import SafetensorsFile
from ingle.formats.writer import Progress, TensorSpec, write_gguf

Tensors = dict[str, LazyTensor]
TARGETS = ("gguf", "hf", "openai")

_LAYOUTS = {"GGUF": "gguf", "Hugging Face": "hf", "OpenAI": "openai"}
_DENSE: dict[str, Callable[[Container, configs.Config], Tensors]] = {
    "llama": dense.llama_tensors,
    "qwen3": dense.qwen3_tensors,
    "qwen3_moe": dense.qwen3_tensors,
    "gpt2": dense.gpt2_tensors,
}
_VOCAB_O200K = 201088
# Value of general.file_type by the format that gives a file its name, in order of precedence.
_FILE_TYPES = {"MXFP4": 38, "BF16": 32, "F16": 1, "F32": 0}


def convert(
    source: str | Path, target: str | Path, layout: str = "", progress: Progress | None = None
) -> Path:
    """Write the model at `source` to `target` in another layout; returns the file of weights.

    layout: "gguf" (target is a file), "hf" or "openai" (a folder); "" takes GGUF for a target
    ending in .gguf, else hf. gpt-oss goes between all three; llama, qwen3, qwen3_moe and gpt2 go
    between Hugging Face and GGUF. Raises UnsupportedError for other pairs and for anything that
    would lose information, FileFormatError for damaged sources.
    """
    target = Path(target)
    layout = layout or ("gguf" if target.suffix == ".gguf" else "hf")
    container, facts = open_model(source)
    if isinstance(container, PackedFile) and layout == "gguf":
        _check_target(container, target, layout)
        return unpack(container, target, progress)
    read_as = _LAYOUTS.get(facts.layout, facts.layout)
    if layout not in TARGETS or read_as == layout:
        raise IngleError(
            str(target),
            f"target layout must be another one of {', '.join(TARGETS)}, but got {layout}",
        )
    _check_target(container, target, layout)
    model = _read(container, facts, read_as, layout)
    if layout == "gguf":
        return _write_gguf(target, model, facts.architecture, progress)
    if layout == "openai":
        files = openai_files(model.config, model.tensors)
    else:
        files = huggingface_files(model.config, model.tensors, model.keys)
    job = model.identity
    return write_folder(target, files, model.tensors, model.read, job=job, progress=progress)


@dataclass(frozen=True)
class GgufModel:
    """A model of any layout as a GGUF file would hold it; tensors are read when asked for.

    identity: changes when a source file does.
    """

    container: Container
    facts: ModelFacts
    metadata: Mapping[str, Any]
    tensors: Mapping[str, LazyTensor]
    identity: str


def as_gguf(source: str | Path) -> GgufModel:
    """The model at `source` under GGUF's names, whatever its layout. Errors as `convert`."""
    container, facts = open_model(source)
    identity = json.dumps([_identity(path) for path in container.files])
    if isinstance(container, GgufFile):
        return _gguf_model(container, facts)
    model = _read(container, facts, _LAYOUTS.get(facts.layout, facts.layout), "gguf")
    name = container.path.stem
    metadata = _gguf_metadata(model, facts.architecture, name)
    return GgufModel(container, facts, metadata, model.tensors, identity)


def write_huggingface(
    source: GgufModel,
    tensors: Mapping[str, LazyTensor],
    folder: Path,
    *,
    job: str,
    progress: Progress | None = None,
) -> Path:
    """Write a folder as transformers loads it; returns its file of weights.

    tensors: takes the place of the source's, under GGUF's names and in types that safetensors has,
    or MXFP4 for the experts of gpt-oss. Errors as `convert`.
    """
    facts, container = source.facts, source.container
    _check_target(container, folder, "hf")
    in_folder = facts.layout == "Hugging Face"
    config: configs.Config = dict(facts.config) if in_folder else _folder_config(source)
    if facts.architecture == "gpt_oss":
        config = {**config, "quantization_config": configs.MXFP4_EXPERTS}
        sizes = configs.gpt_oss_sizes(config)
        found = gpt_oss.read_gguf(container, sizes, dict(tensors))
    else:
        found = folder_tensors(facts.architecture, tensors, facts.sizes)
    keys = {} if in_folder else source.metadata
    model = _Model(container, found, config, keys)
    files = huggingface_files(config, found, keys)
    path = write_folder(folder, files, found, model.read, job=job, progress=progress)
    if in_folder:
        copy_companions(_folder_path(container), folder)
    return path


def _gguf_model(container: GgufFile, facts: ModelFacts) -> GgufModel:
    tensors = {name: stored(container, name) for name in container.tensors}
    identity = json.dumps([_identity(path) for path in container.files])
    return GgufModel(container, facts, typed_metadata(container), tensors, identity)


def _folder_config(source: GgufModel) -> dict[str, Any]:
    """The configuration of a model that has none in Hugging Face's spelling."""
    facts, metadata = source.facts, source.container.metadata
    if facts.layout == "OpenAI":
        return configs.from_openai(facts.config)
    embedding = source.tensors.get("token_embd.weight")
    vocab_size = embedding.shape[0] if embedding is not None else 0
    if facts.architecture == "gpt_oss":
        return configs.from_gguf(metadata, vocab_size)
    tied = "output.weight" not in source.tensors
    return folder_config(facts.architecture, metadata, vocab_size, tied)


def _read(
    container: GgufFile | SafetensorsFile, facts: ModelFacts, read_as: str, layout: str
) -> _Model:
    if facts.architecture == "gpt_oss":
        return _read_gpt_oss(container, facts, layout)
    if facts.architecture in _DENSE and (read_as, layout) == ("hf", "gguf"):
        tensors = _DENSE[facts.architecture](container, facts.config)
        keys = _folder_keys(container, facts.config, tensors["token_embd.weight"])
        return _Model(container, tensors, facts.config, keys)
    if facts.architecture in _DENSE and isinstance(container, GgufFile) and layout == "hf":
        source = _gguf_model(container, facts)
        tensors = folder_tensors(facts.architecture, source.tensors, facts.sizes)
        return _Model(container, tensors, _folder_config(source), container.metadata)
    raise UnsupportedError(
        str(container.path),
        f"conversion must be of gpt_oss, or of {', '.join(_DENSE)} between hf and gguf, "
        f"but got {quoted(facts.architecture or 'no architecture')} from {read_as} to {layout}",
    )


def _check_target(container: Container, target: Path, layout: str) -> None:
    """Nothing that exists is overwritten, least of all the source."""
    weights = target if layout == "gguf" else target / WEIGHTS
    folders = {file.resolve().parent for file in container.files}
    if weights.exists() or (layout != "gguf" and target.resolve() in folders):
        raise IngleError(
            str(target), "target must not exist yet, but got one that does", "name another place"
        )


@dataclass(frozen=True)
class _Model:
    """A model on its way: tensors under the target's names, the configuration in Hugging Face's
    spelling, the tokenizer as GGUF keys."""

    container: Container
    tensors: Tensors
    config: configs.Config
    keys: Mapping[str, Any]

    @property
    def specs(self) -> list[TensorSpec]:
        return [TensorSpec(name, t.format, t.shape) for name, t in self.tensors.items()]

    @property
    def identity(self) -> str:
        """Changes when a source file does, so that only the same work is resumed."""
        return json.dumps([_identity(path) for path in self.container.files])

    def read(self, name: str) -> Iterator[Bytes]:
        """Bytes of a tensor, letting go of the source's memory after every piece."""
        for piece in self.tensors[name].pieces():
            yield piece
            self.container.release()


def _read_gpt_oss(container: GgufFile | SafetensorsFile, facts: ModelFacts, layout: str) -> _Model:
    keys: Mapping[str, Any]
    read: Callable[[Container, Mapping[str, int]], Tensors]
    if facts.layout == "GGUF":
        embedding = container.tensors.get("token_embd.weight")
        config = configs.from_gguf(container.metadata, embedding.shape[0] if embedding else 0)
        keys, read = container.metadata, gpt_oss.read_gguf
    elif facts.layout == "OpenAI":
        config = configs.from_openai(facts.config)
        full = config["vocab_size"] == _VOCAB_O200K
        keys = vocabulary.keys_of_o200k_harmony() if full and layout != "openai" else {}
        read = gpt_oss.read_openai
    else:
        config, keys, read = dict(facts.config), {}, gpt_oss.read_huggingface
    sizes = configs.gpt_oss_sizes(config)
    tensors = read(container, sizes)
    if layout == "gguf":
        if facts.layout == "Hugging Face":
            keys = _folder_keys(container, config, tensors["model.embed_tokens.weight"])
        return _Model(container, gpt_oss.write_gguf(tensors, sizes), config, keys)
    if layout == "openai":
        return _Model(container, gpt_oss.write_openai(tensors, sizes), config, keys)
    return _Model(container, tensors, config, keys)


def _folder_keys(
    container: Container, config: configs.Config, embedding: LazyTensor
) -> dict[str, Any]:
    vocab_size = configs.integer(config, "vocab_size")
    require(embedding, (vocab_size, *embedding.shape[1:]))
    return vocabulary.keys_from_folder(_folder_path(container), vocab_size)


def _folder_path(container: Container) -> Path:
    return container.path if container.path.is_dir() else container.path.parent


def _write_gguf(target: Path, model: _Model, architecture: str, progress: Progress | None) -> Path:
    metadata = _gguf_metadata(model, architecture, target.stem)
    write_gguf(target, metadata, model.specs, model.read, job=model.identity, progress=progress)
    return target


def _gguf_metadata(model: _Model, architecture: str, name: str) -> dict[str, Any]:
    of = configs.gpt_oss_metadata if architecture == "gpt_oss" else dense.metadata
    formats = {tensor.format for tensor in model.tensors.values() if len(tensor.shape) > 1}
    found = next((name for name in _FILE_TYPES if name in formats), "F32")
    return {
        **of(model.config),
        "general.type": "model",
        "general.name": name,
        "general.file_type": _FILE_TYPES[found],
        "general.quantization_version": 2,
        **{key: value for key, value in model.keys.items() if key.startswith("tokenizer.")},
    }


def _identity(path: Path) -> list[str | int]:
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
