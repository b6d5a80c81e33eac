"""Owns the summary of a model on disk: parameters, formats, vocabulary, and what would not run.

It reads headers only, whatever the size of the model. It does not know how a summary is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingle.formats import compressed_tensors
from ingle.formats.container import TensorInfo
from ingle.formats.facts import ModelFacts, model_facts, mxfp4_part
from ingle.formats.gguf import GgufFile
from ingle.formats.gguf_strings import StringArray
from ingle.formats.safetensors import SafetensorsFile
from ingle.formats.support import why_not
from ingle.numerics import FORMATS

_EXPERTS = re.compile(r"\.ffn_\w+_exps\.|\.mlp\.experts\.|\.mlp\.mlp[12]_")
_EMBEDDINGS = {
    "token_embd.weight",
    "model.embed_tokens.weight",
    "embedding.weight",
    "transformer.wte.weight",
    "wte.weight",
}
_OUTPUTS = {"output.weight", "lm_head.weight", "unembedding.weight"}
_INTEGERS = {"U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64", "BOOL"}


@dataclass(frozen=True)
class FormatShare:
    """How much of a model one number format holds; OpenAI's blocks and scales count as MXFP4."""

    format: str
    num_tensors: int
    num_weights: int
    nbytes: int

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight, scales included."""
        return 8 * self.nbytes / self.num_weights if self.num_weights else 0.0


@dataclass(frozen=True)
class Vocabulary:
    """What is known of the tokenizer without building it; special: role -> (id, text)."""

    kind: str
    num_tokens: int
    num_merges: int
    special: Mapping[str, tuple[int, str]]
    template_characters: int


@dataclass(frozen=True)
class Summary:
    """A model on disk at a glance; `problems` are reasons why it would not run."""

    path: Path
    container: str
    files: tuple[Path, ...]
    file_bytes: int
    facts: ModelFacts
    num_parameters: int
    num_active_parameters: int
    shares: tuple[FormatShare, ...]
    vocabulary: Vocabulary | None
    metadata: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]
    problems: tuple[str, ...]

    @property
    def weights_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(share.nbytes for share in self.shares)

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per parameter over the whole model."""
        return 8 * self.weights_bytes / self.num_parameters if self.num_parameters else 0.0


def summarize(container: GgufFile | SafetensorsFile) -> Summary:
    """Summarize an opened model. Raises FileFormatError for a damaged `config.json`."""
    facts = model_facts(container)
    tensors = tuple(container.tensors.values())
    shares = _shares(tensors)
    vocabulary = _vocabulary(container, facts)
    return Summary(
        path=container.path,
        container=_kind(container),
        files=container.files,
        file_bytes=sum(file.stat().st_size for file in container.files),
        facts=facts,
        num_parameters=sum(share.num_weights for share in shares),
        num_active_parameters=_num_active(tensors, facts),
        shares=shares,
        vocabulary=vocabulary,
        metadata=container.metadata,
        tensors=tensors,
        problems=_problems(container, facts, shares, vocabulary),
    )


def _kind(container: GgufFile | SafetensorsFile) -> str:
    if isinstance(container, GgufFile):
        return f"GGUF v{container.version}"
    return "safetensors"


def _stored_weights(tensor: TensorInfo) -> tuple[str, int]:
    """Format and number of weights: a block byte holds two, a scale none of its own."""
    if tensor.name.rpartition(".")[2] in compressed_tensors.PARTS:
        return "I8", 0
    part = mxfp4_part(tensor.name) if tensor.format == "U8" else None
    if part is None:
        return tensor.format, tensor.num_elements
    return "MXFP4", 2 * tensor.num_elements if part[1] == "blocks" else 0


def _shares(tensors: tuple[TensorInfo, ...]) -> tuple[FormatShare, ...]:
    totals: dict[str, list[int]] = {}
    for tensor in tensors:
        name, num_weights = _stored_weights(tensor)
        row = totals.setdefault(name, [0, 0, 0])
        row[0] += 1
        row[1] += num_weights
        row[2] += tensor.nbytes
    shares = (FormatShare(name, *row) for name, row in totals.items())
    return tuple(sorted(shares, key=lambda share: -share.nbytes))


def _num_active(tensors: tuple[TensorInfo, ...], facts: ModelFacts) -> int:
    """Weights used for one token: the chosen experts, and the embedding only when it is tied."""
    num_experts = facts.sizes.get("num_local_experts", 0)
    used = facts.sizes.get("num_experts_per_tok", 0)
    untied = any(tensor.name in _OUTPUTS for tensor in tensors)
    total = 0
    for tensor in tensors:
        _, num_weights = _stored_weights(tensor)
        if tensor.name in _EMBEDDINGS and untied:
            continue
        if num_experts and _EXPERTS.search(tensor.name):
            num_weights = num_weights * used // num_experts
        total += num_weights
    return total


def _vocabulary(container: GgufFile | SafetensorsFile, facts: ModelFacts) -> Vocabulary | None:
    if isinstance(container, SafetensorsFile):
        folder = container.path if container.path.is_dir() else container.path.parent
        size = facts.sizes.get("vocab_size", 0)
        if (
            facts.layout == "OpenAI"
        ):  # its folders hold no tokenizer: the vocabulary is a public one
            return Vocabulary("o200k_harmony, built in", size, 0, {}, 0)
        known = (folder / "tokenizer.json").is_file()
        return Vocabulary("tokenizer.json", size, 0, {}, 0) if known else None
    prefix, metadata = "tokenizer.ggml.", container.metadata
    tokens, merges = metadata.get(prefix + "tokens"), metadata.get(prefix + "merges")
    if not isinstance(tokens, StringArray):
        return None
    names = [metadata.get(prefix + key) for key in ("model", "pre")]
    template = metadata.get("tokenizer.chat_template")
    return Vocabulary(
        kind=" ".join(name for name in names if isinstance(name, str)),
        num_tokens=len(tokens),
        num_merges=len(merges) if isinstance(merges, StringArray) else 0,
        special=_special_tokens(metadata, tokens),
        template_characters=len(template) if isinstance(template, str) else 0,
    )


def _special_tokens(metadata: Mapping[str, Any], tokens: StringArray) -> dict[str, tuple[int, str]]:
    special: dict[str, tuple[int, str]] = {}
    for role in ("bos", "eos", "padding", "unknown"):
        token_id = metadata.get(f"tokenizer.ggml.{role}_token_id")
        if isinstance(token_id, int) and 0 <= token_id < len(tokens):
            special[role] = (token_id, tokens.raw(token_id).decode("utf-8", "replace"))
    return special


def _problems(
    container: GgufFile | SafetensorsFile,
    facts: ModelFacts,
    shares: tuple[FormatShare, ...],
    vocabulary: Vocabulary | None,
) -> tuple[str, ...]:
    if container.metadata.get("general.type") == "imatrix":
        return ("this is an importance matrix, not a model",)
    found = [why_not(facts.architecture, facts.layout)]
    known = ("", "mxfp4", compressed_tensors.METHOD)
    if facts.quantization not in known:
        rule = f"quantization must be none, {known[1]} or {known[2]}"
        found.append(f"{rule}, but got {facts.quantization}")
    for share in shares:
        if share.format not in FORMATS and share.format not in _INTEGERS:
            found.append(
                f"tensors of {share.format} can be copied but not computed with "
                f"({share.num_tensors} of them)"
            )
    if not container.tensors:
        found.append("there are no tensors: a vocabulary alone cannot run")
    if vocabulary is None:
        found.append("there is no tokenizer beside the weights")
    return tuple(problem for problem in found if problem)
