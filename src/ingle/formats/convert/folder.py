"""Owns writing a model folder: weights, configuration and tokenizer, as Hugging Face's programs or
OpenAI's want them.

It does not know where tensors come from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ingle.errors import IngleError
from ingle.formats.convert import config as configs
from ingle.formats.convert import vocabulary
from ingle.formats.convert.lazy import LazyTensor
from ingle.formats.mapping import Bytes
from ingle.formats.text_file import write_text
from ingle.formats.writer import Progress, TensorSpec, write_safetensors

WEIGHTS = "model.safetensors"
# What else a folder holds that belongs to the tokenizer, to chats and to sampling.
COMPANIONS = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json"),
    *("merges.txt", "chat_template.jinja", "generation_config.json", "added_tokens.json"),
)

_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def huggingface_files(
    config: Mapping[str, Any], tensors: Mapping[str, LazyTensor], keys: Mapping[str, Any]
) -> dict[str, str]:
    """Name -> text of what lies beside the weights. keys: the tokenizer as GGUF has it.

    The configuration names the commonest type of the matrices, and MXFP4 only where experts are.
    """
    said = {key: value for key, value in config.items() if key not in ("torch_dtype", "dtype")}
    if not any(name.endswith("_proj_blocks") for name in tensors):
        said.pop("quantization_config", None)
    counts: dict[str, int] = {}
    for tensor in tensors.values():
        if tensor.format in _DTYPES and len(tensor.shape) > 1:
            counts[tensor.format] = counts.get(tensor.format, 0) + 1
    said["torch_dtype"] = _DTYPES[max(counts, key=lambda name: counts[name], default="BF16")]
    return {"config.json": json.dumps(said, indent=1), **vocabulary.folder_from_keys(keys)}


def openai_files(config: Mapping[str, Any], tensors: Mapping[str, LazyTensor]) -> dict[str, str]:
    """Name -> text of what lies beside OpenAI's weights."""
    dtypes = {name: _openai_dtype(name, tensor) for name, tensor in tensors.items()}
    return {
        "config.json": json.dumps(configs.to_openai(config), indent=1),
        "dtypes.json": json.dumps(dtypes),
    }


def write_folder(
    folder: Path,
    files: Mapping[str, str],
    tensors: Mapping[str, LazyTensor],
    read: Callable[[str], Iterable[Bytes]],
    *,
    job: str,
    progress: Progress | None = None,
) -> Path:
    """Write `files` and then the weights, journaled; returns the file of weights.

    Raises IngleError when the folder cannot be made, and as `write_safetensors`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = f"target must be a folder that can be made, but got {error.strerror}"
        raise IngleError(str(folder), rule) from None
    for name, text in files.items():
        write_text(folder / name, text)
    path = folder / WEIGHTS
    specs = [TensorSpec(name, tensor.format, tensor.shape) for name, tensor in tensors.items()]
    write_safetensors(path, {"format": "pt"}, specs, read, job=job, progress=progress)
    return path


def copy_companions(source: Path, target: Path) -> None:
    """The tokenizer's and chat's files of one folder into another, where there are any."""
    for name in COMPANIONS:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _openai_dtype(name: str, tensor: LazyTensor) -> str:
    """OpenAI's name of a stored type."""
    if tensor.format == "U8":
        return "FP4" if name.endswith(".blocks") else "UE8"
    return tensor.format
