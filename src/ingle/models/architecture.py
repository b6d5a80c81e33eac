"""Owns which file implements which architecture, by the name the checkpoint itself states."""

from __future__ import annotations

from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.formats import GgufFile, SafetensorsFile
from ingle.formats.compressed_tensors import METHOD, CompressedFile
from ingle.formats.compressed_tensors import read_config as read_int8_config
from ingle.formats.facts import ModelFacts, model_facts
from ingle.models.checkpoint import Checkpoint
from ingle.models.config import read_config
from ingle.models.decoder import Decoder, Options
from ingle.models.gpt2 import Gpt2
from ingle.models.gpt_oss import GptOss
from ingle.models.llama import Llama
from ingle.models.names import Layout
from ingle.models.qwen3 import Qwen3
from ingle.models.qwen3_moe import Qwen3Moe
from ingle.ops import Backend

# Hugging Face's model_type -> model; GGUF's names are told by `ingle.formats.facts`.
ARCHITECTURES: dict[str, type[Decoder]] = {
    "gpt2": Gpt2,
    "gpt_oss": GptOss,
    "llama": Llama,
    "qwen3": Qwen3,
    "qwen3_moe": Qwen3Moe,
}


def load_model(
    container: GgufFile | SafetensorsFile,
    backend: Backend,
    context_tokens: int,
    *,
    num_experts_per_tok: int | None = None,
    truncate_yarn: bool | None = None,
) -> Decoder:
    """A model with its weights in `backend`, for sequences of up to `context_tokens` tokens.

    num_experts_per_tok: experts chosen per token, where the file's number is not wanted.
    truncate_yarn: round YaRN's range (True gives llama.cpp's numbers for gpt-oss), or do not.
    Raises UnsupportedError when the model is not built, FileFormatError when the file is damaged,
    IngleError when an option does not fit the model.
    """
    facts = model_facts(container)
    kind = _architecture(container, facts)
    if num_experts_per_tok is not None and not kind.has_experts:
        rule = f"model must have experts to choose from, but {facts.architecture} has none"
        raise IngleError("num_experts_per_tok", rule, "leave it out")
    if truncate_yarn is not None and kind is Gpt2:
        raise IngleError("truncate_yarn", "model must scale its context by yarn, but it is gpt2")
    layout = Layout(facts.layout)
    if (
        facts.quantization == METHOD
        and isinstance(container, SafetensorsFile)
        and not isinstance(container, CompressedFile)
    ):
        said = read_int8_config(facts.config["quantization_config"], container.path.name)
        container = CompressedFile(container, said)
    config = read_config(container, facts, kind.keys[layout])
    checkpoint = Checkpoint(container, backend, layout, kind.names[layout], config)
    return kind(checkpoint, Options(context_tokens, num_experts_per_tok, truncate_yarn))


def _architecture(container: GgufFile | SafetensorsFile, facts: ModelFacts) -> type[Decoder]:
    where = container.path.name
    if facts.layout == "safetensors":
        rule = "a config.json must lie beside the tensors, but got none"
        raise FileFormatError(where, rule, "name the model's folder")
    if not facts.architecture:
        raise FileFormatError(where, "architecture must be stated, but got none")
    kind = ARCHITECTURES.get(facts.architecture)
    if kind is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedError(
            where, f"architecture must be one of {known}, but got {facts.architecture!a:.80}"
        )
    if facts.quantization == METHOD:
        read_int8_config(facts.config["quantization_config"], where)
    elif facts.quantization not in ("", "mxfp4"):
        rule = f"quantization must be none, mxfp4 or {METHOD}"
        raise UnsupportedError(where, f"{rule}, but got {facts.quantization!a:.80}")
    return kind
