"""Owns the tensors of gpt-oss in its layouts: Hugging Face, OpenAI's original, GGUF (and Ollama's).

Hugging Face's names are the middle: every layout is read into them and written from them. MXFP4
codes and exponents are moved bit for bit, and so are experts in floats, as fine-tunes have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ingle.errors import FileFormatError, UnsupportedError
from ingle.formats.container import Container
from ingle.formats.convert.float_experts import as_columns, as_rows
from ingle.formats.convert.lazy import (
    LazyTensor,
    as_f32,
    every_other_column,
    gguf_blocks,
    interleaved_columns,
    joined,
    narrowed,
    openai_blocks,
    require,
    sliced,
    stored,
)
from ingle.formats.mapping import Bytes, quoted
from ingle.numerics.mxfp4 import interleaved_to_gguf

Tensors = dict[str, LazyTensor]

# (Hugging Face, OpenAI, GGUF, Ollama where it differs)
_TOP = [
    ("model.embed_tokens.weight", "embedding.weight", "token_embd.weight"),
    ("model.norm.weight", "norm.scale", "output_norm.weight"),
    ("lm_head.weight", "unembedding.weight", "output.weight"),
]
_LAYER = [
    ("input_layernorm.weight", "attn.norm.scale", "attn_norm.weight"),
    ("self_attn.sinks", "attn.sinks", "attn_sinks.weight"),
    ("self_attn.o_proj.weight", "attn.out.weight", "attn_output.weight"),
    ("self_attn.o_proj.bias", "attn.out.bias", "attn_output.bias"),
    ("post_attention_layernorm.weight", "mlp.norm.scale", "post_attention_norm.weight"),
    ("mlp.router.weight", "mlp.gate.weight", "ffn_gate_inp.weight"),
    ("mlp.router.bias", "mlp.gate.bias", "ffn_gate_inp.bias"),
    ("mlp.experts.down_proj_bias", "mlp.mlp2_bias", "ffn_down_exps.bias"),
]
_OLLAMA = {
    "attn_sinks.weight": "attn_sinks",
    "attn_output.weight": "attn_out.weight",
    "attn_output.bias": "attn_out.bias",
    "post_attention_norm.weight": "ffn_norm.weight",
}
_QKV = ("q", "k", "v")
_FLOATS = ("F32", "F16", "BF16")
_HF, _OPENAI = "model.layers.{}.", "block.{}."
_GATE_UP, _DOWN = "mlp.experts.gate_up_proj", "mlp.experts.down_proj"


class _Source:
    """A container whose tensors must all be used: none may be dropped silently.

    computed: takes the place of what the container stores.
    """

    def __init__(self, container: Container, computed: Tensors | None = None) -> None:
        self.container = container
        self.names = set(container.tensors if computed is None else computed)
        self.unused = set(self.names)
        self._computed = computed or {}

    def has(self, name: str) -> bool:
        return name in self.names

    def take(self, *names: str) -> LazyTensor:
        """The first of these names that exists."""
        name = next((name for name in names if self.has(name)), names[0])
        self.unused.discard(name)
        return self._computed.get(name) or stored(self.container, name)

    def dense(self, *names: str) -> LazyTensor:
        """The same in a type that safetensors has, values unchanged; computed ones are in one."""
        return self.take(*names) if self._computed else _dense(self.take(*names))

    def finish(self) -> None:
        if self.unused:
            name = quoted(min(self.unused))
            raise UnsupportedError(
                str(self.container.path),
                f"every tensor must be known, but got {name} ({len(self.unused)} such)",
                "adapters must be merged first",
            )


def read_huggingface(container: Container, config: Mapping[str, int]) -> Tensors:
    """The tensors of a Hugging Face folder, checked to be exactly those of gpt-oss."""
    source = _Source(container)
    packed = not source.has(_HF.format(0) + _GATE_UP)
    found = {name: source.take(name) for name in _huggingface_names(config, packed)}
    source.finish()
    return found


def read_openai(container: Container, config: Mapping[str, int]) -> Tensors:
    """The tensors of OpenAI's folder under Hugging Face's names; qkv is split."""
    source = _Source(container)
    found = {hf: source.take(openai) for hf, openai, _ in _TOP}
    for n in range(config["num_hidden_layers"]):
        hf, openai = _HF.format(n), _OPENAI.format(n)
        found |= {hf + name: source.take(openai + theirs) for name, theirs, _ in _LAYER}
        for kind in ("weight", "bias"):
            fused = source.take(f"{openai}attn.qkv.{kind}")
            found |= _split_qkv(fused, config, f"{hf}self_attn.", kind)
        for name, theirs in ((_GATE_UP, "mlp.mlp1"), (_DOWN, "mlp.mlp2")):
            found[f"{hf}{name}_blocks"] = source.take(f"{openai}{theirs}_weight.blocks")
            found[f"{hf}{name}_scales"] = source.take(f"{openai}{theirs}_weight.scales")
        found[f"{hf}{_GATE_UP}_bias"] = source.take(f"{openai}mlp.mlp1_bias")
    source.finish()
    return found


def read_gguf(
    container: Container, config: Mapping[str, int], computed: Tensors | None = None
) -> Tensors:
    """The tensors of a GGUF file (llama.cpp's or Ollama's) under Hugging Face's names.

    float32 tensors become BF16 again when that loses nothing; Q8_0 becomes F32. computed: tensors
    of the same names that are read instead.
    """
    source = _Source(container, computed)
    found = {hf: source.dense(gguf) for hf, _, gguf in _TOP}
    for n in range(config["num_hidden_layers"]):
        hf, gguf = _HF.format(n), f"blk.{n}."
        for name, _, theirs in _LAYER:
            others = (gguf + _OLLAMA[theirs],) if theirs in _OLLAMA else ()
            found[hf + name] = source.dense(gguf + theirs, *others)
        for kind in ("weight", "bias"):
            if source.has(f"{gguf}attn_qkv.{kind}"):
                fused = source.dense(f"{gguf}attn_qkv.{kind}")
                found |= _split_qkv(fused, config, f"{hf}self_attn.", kind)
                continue
            for part in _QKV:
                tensor = source.dense(f"{gguf}attn_{part}.{kind}")
                found[f"{hf}self_attn.{part}_proj.{kind}"] = tensor
        found |= _gguf_experts(source, hf, gguf)
    source.finish()
    return found


def has_packed_experts(tensors: Tensors) -> bool:
    """Whether experts (under Hugging Face's names) are MXFP4, not floats."""
    return f"{_HF.format(0)}{_DOWN}_blocks" in tensors


def write_openai(tensors: Tensors, config: Mapping[str, int]) -> Tensors:
    """OpenAI's names; q, k and v are joined. UnsupportedError for experts that are not MXFP4."""
    if not has_packed_experts(tensors):
        rule = "experts of OpenAI's layout must be MXFP4, but got floats"
        raise UnsupportedError("model", rule, "ingle quantize SRC DST MXFP4 makes them")
    found = {openai: tensors[hf] for hf, openai, _ in _TOP}
    for n in range(config["num_hidden_layers"]):
        hf, openai = _HF.format(n), _OPENAI.format(n)
        found |= {openai + theirs: tensors[hf + name] for name, theirs, _ in _LAYER}
        for kind in ("weight", "bias"):
            parts = [tensors[f"{hf}self_attn.{part}_proj.{kind}"] for part in _QKV]
            found[f"{openai}attn.qkv.{kind}"] = joined(_alike(parts))
        for name, theirs in ((_GATE_UP, "mlp.mlp1"), (_DOWN, "mlp.mlp2")):
            found[f"{openai}{theirs}_weight.blocks"] = tensors[f"{hf}{name}_blocks"]
            found[f"{openai}{theirs}_weight.scales"] = tensors[f"{hf}{name}_scales"]
        found[f"{openai}mlp.mlp1_bias"] = tensors[f"{hf}{_GATE_UP}_bias"]
    return found


def write_gguf(tensors: Tensors, config: Mapping[str, int]) -> Tensors:
    """llama.cpp's names and types: matrices as stored, MXFP4 experts, everything else float32."""
    found = {gguf: tensors[hf] for hf, _, gguf in _TOP}
    found["output_norm.weight"] = as_f32(found["output_norm.weight"])
    for n in range(config["num_hidden_layers"]):
        hf, gguf = _HF.format(n), f"blk.{n}."
        for name, _, theirs in _LAYER:
            tensor = tensors[hf + name]
            found[gguf + theirs] = tensor if theirs == "attn_output.weight" else as_f32(tensor)
        for part in _QKV:
            found[f"{gguf}attn_{part}.weight"] = tensors[f"{hf}self_attn.{part}_proj.weight"]
            found[f"{gguf}attn_{part}.bias"] = as_f32(tensors[f"{hf}self_attn.{part}_proj.bias"])
        bias = as_f32(tensors[f"{hf}{_GATE_UP}_bias"])
        for first, half in enumerate(("gate", "up")):
            found[f"{gguf}ffn_{half}_exps.weight"] = _expert_rows(tensors, hf + _GATE_UP, first, 2)
            found[f"{gguf}ffn_{half}_exps.bias"] = every_other_column(bias, first)
        found[f"{gguf}ffn_down_exps.weight"] = _expert_rows(tensors, hf + _DOWN, 0, 1)
    return found


def _expert_rows(tensors: Tensors, name: str, first: int, step: int) -> LazyTensor:
    """Rows first, first + step, ... of every expert, as GGUF stores them."""
    if name in tensors:
        return as_rows(tensors[name], first, step)
    return gguf_blocks(tensors[f"{name}_blocks"], tensors[f"{name}_scales"], first, step)


def _huggingface_names(config: Mapping[str, int], packed: bool) -> Iterator[str]:
    yield from (hf for hf, _, _ in _TOP)
    for n in range(config["num_hidden_layers"]):
        hf = _HF.format(n)
        yield from (hf + name for name, _, _ in _LAYER)
        for part in _QKV:
            yield from (f"{hf}self_attn.{part}_proj.{kind}" for kind in ("weight", "bias"))
        for name in (_GATE_UP, _DOWN):
            yield from (f"{hf}{name}_{part}" for part in ("blocks", "scales") if packed)
            yield from (() if packed else (f"{hf}{name}",))
        yield f"{hf}{_GATE_UP}_bias"


def _dense(tensor: LazyTensor) -> LazyTensor:
    """A GGUF float or Q8_0 tensor in a type that safetensors has, values unchanged."""
    return tensor if tensor.format in ("BF16", "F16") else narrowed(as_f32(tensor))


def _alike(parts: list[LazyTensor]) -> list[LazyTensor]:
    """Parts to be joined in one format: float32 unless they already agree."""
    same = len({part.format for part in parts}) == 1
    return parts if same else [as_f32(part) for part in parts]


def _split_qkv(
    fused: LazyTensor, config: Mapping[str, int], prefix: str, kind: str
) -> dict[str, LazyTensor]:
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    require(fused, (queries + 2 * keys, *fused.shape[1:]))
    ends = (0, queries, queries + keys, queries + 2 * keys)
    return {
        f"{prefix}{part}_proj.{kind}": sliced(fused, ends[i], ends[i + 1])
        for i, part in enumerate(_QKV)
    }


def _gguf_experts(source: _Source, hf: str, gguf: str) -> Tensors:
    found = _columns_or_blocks(hf + _DOWN, [source.take(f"{gguf}ffn_down_exps.weight")])
    if source.has(f"{gguf}ffn_gate_up_exps.weight"):  # Ollama's first dialect: already interleaved
        weights = [source.take(f"{gguf}ffn_gate_up_exps.weight")]
        bias = source.dense(f"{gguf}ffn_gate_up_exps.bias")
    else:
        weights = [source.take(f"{gguf}ffn_{half}_exps.weight") for half in ("gate", "up")]
        both = [source.take(f"{gguf}ffn_{half}_exps.bias") for half in ("gate", "up")]
        bias = _dense(interleaved_columns(*(as_f32(half) for half in both)))
    found |= _columns_or_blocks(hf + _GATE_UP, weights)
    found[f"{hf}{_GATE_UP}_bias"] = bias
    return found


def _columns_or_blocks(name: str, halves: list[LazyTensor]) -> Tensors:
    """Floats as one tensor (E, in, out), MXFP4 as OpenAI's blocks and scales."""
    if halves[0].format in _FLOATS:
        return {name: as_columns(halves)}
    blocks, scales = openai_blocks([_in_gguf_order(half) for half in halves])
    return {f"{name}_blocks": blocks, f"{name}_scales": scales}


def _in_gguf_order(tensor: LazyTensor) -> LazyTensor:
    """Experts (E, R, C) in GGUF's MXFP4, whatever nibble order they are stored in."""
    if len(tensor.shape) != 3 or tensor.format not in ("MXFP4", "MXFP4_OLLAMA"):
        raise FileFormatError(
            f"tensor {quoted(tensor.name)}",
            f"experts must be MXFP4 or floats of three dimensions, but got {tensor.format} "
            f"{tensor.shape}",
            "a requantized model does not convert without loss; ingle quantize SRC DST MXFP4",
        )
    if tensor.format == "MXFP4":
        return tensor

    def rows(a: int, b: int) -> Bytes:
        return interleaved_to_gguf(tensor.rows(a, b))

    return LazyTensor(tensor.name, "MXFP4", tensor.shape, rows)
