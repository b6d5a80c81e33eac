"""Owns which files of a repository make up one model: a quant, a split file, a folder.

Works on names and sizes alone, so that what is published and what lies on a disk follow one rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ingle.errors import ModelNotFoundError, UnsupportedError

# Without a wish, the first of these that is there; else the smallest GGUF file. MXFP4 is how
# gpt-oss was trained; Q4_K_M is what most people run.
PREFERRED = (
    *("MXFP4", "MXFP4_MOE", "Q4_K_M", "Q4_K_S", "IQ4_NL", "IQ4_XS", "Q4_1", "Q4_0"),
    *("Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q6_K", "Q8_0", "BF16", "F16", "FP16", "F32"),
)
_SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.I | re.S)
_QUANT = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d\w*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32))(?=$|[-._/])",
    re.I,
)
_NOT_WEIGHTS = re.compile(r"(^|/|[-._])(mmproj|imatrix|eagle3)", re.I)  # beside a model
_BESIDE = re.compile(  # of a safetensors folder, what belongs to the model
    r"[^/]+\.safetensors|[^/]+\.safetensors\.index\.json|config\.json|generation_config\.json"
    r"|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json"
    r"|vocab\.json|merges\.txt|chat_template\.jinja"
)


@dataclass(frozen=True)
class Choice:
    """One model of a repository: its files, and the one to open ("" for the folder itself)."""

    label: str  # the quant; "safetensors" for a folder
    files: tuple[str, ...]
    entry: str


def choose(sizes: Mapping[str, int], wish: str, where: str) -> Choice:
    """The model that `wish` means among the files `sizes` (path -> bytes) of `where`.

    wish: a quant ("Q4_K_M", in any case), a GGUF file's path or name, or "" for the rule above.
    Raises ModelNotFoundError when nothing answers to the wish, UnsupportedError when there is no
    GGUF or safetensors file at all.
    """
    models = _gguf_models(sizes)
    if wish.lower() == "safetensors" or (not wish and not models):
        return _folder(sizes, where)
    named = [
        model
        for model in models
        if wish.lower() in (model.label.lower(), *(f.lower() for f in model.files))
        or wish.lower() in (file.rpartition("/")[2].lower() for file in model.files)
    ]
    if wish and not named:
        labels = ", ".join(dict.fromkeys(model.label for model in models)) or "safetensors alone"
        rule = f"the repository must hold {wish[:80]}, but got {labels[:400]}"
        raise ModelNotFoundError(where, rule, "name one of those after a colon")
    return min(named or models, key=lambda model: _rank(model, sizes))


def quant_of(name: str) -> str:
    """The quant that a file's path names, upper case; the bare file name when it names none."""
    match = _QUANT.search(name.removesuffix(".gguf"))
    stem = name.rpartition("/")[2]
    while match and (later := _QUANT.search(name.removesuffix(".gguf"), match.end())):
        match = later  # the last one: "Q8-distilled-Q4_K_M"
    return match[1].upper() if match else stem.removesuffix(".gguf")


def _rank(model: Choice, sizes: Mapping[str, int]) -> tuple[int, int, str]:
    known = PREFERRED.index(model.label) if model.label in PREFERRED else len(PREFERRED)
    return known, sum(sizes[file] for file in model.files), model.entry


def _gguf_models(sizes: Mapping[str, int]) -> list[Choice]:
    """Every complete GGUF model, split ones as one."""
    parts: dict[tuple[str, int], dict[int, str]] = {}
    models = []
    for name in sorted(sizes):
        if not name.lower().endswith(".gguf") or _NOT_WEIGHTS.search(name):
            continue
        match = _SPLIT.fullmatch(name)
        if match is None:
            models.append(Choice(quant_of(name), (name,), name))
        else:
            parts.setdefault((match[1], int(match[3])), {})[int(match[2])] = name
    for (stem, count), found in parts.items():
        if sorted(found) == list(range(1, count + 1)):
            files = tuple(found[number] for number in range(1, count + 1))
            models.append(Choice(quant_of(stem), files, files[0]))
    return models


def _folder(sizes: Mapping[str, int], where: str) -> Choice:
    files = tuple(sorted(name for name in sizes if _BESIDE.fullmatch(name)))
    if not any(name.endswith(".safetensors") for name in files):
        raise UnsupportedError(
            where,
            "the repository must hold GGUF or safetensors files, but got neither",
            "look for the same model in GGUF",
        )
    return Choice("safetensors", files, "")
