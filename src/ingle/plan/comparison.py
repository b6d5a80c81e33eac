"""Owns what models are compared by: sizes, costs and the parts they are built of, as plain facts.

Known models are counted on their own descriptions, others on their published sizes. It does not
know how a comparison is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ingle.errors import IngleError
from ingle.models import load_model
from ingle.models.decoder import Decoder
from ingle.numerics import FORMATS
from ingle.ops import Linear, Norm
from ingle.ops.count import Counter, CountingBackend, Rows
from ingle.plan.anatomy import Anatomy, anatomy
from ingle.plan.catalog import KNOWN, find
from ingle.plan.sketch import SKETCHES, Sketch
from ingle.plan.speed import kv_read_bytes
from ingle.plan.subject import Subject, open_subject, payload_bytes

KV_CONTEXTS = tuple(1024 * k for k in (1, 32, 128))
FORMATS_SHOWN = ("BF16", "Q8_0", "MXFP4", "Q4_0")
_KV_BYTES = 2  # bfloat16, as most engines keep it


@dataclass(frozen=True)
class Parts:
    """What a block is built of, in words; one vocabulary for all models."""

    positions: str
    norms: str
    activation: str
    attention: str
    biases: str


_PARTS = {
    "gpt2": Parts("learned", "LayerNorm before", "GELU", "every token", "everywhere"),
    "gpt_oss": Parts(
        "RoPE, YaRN",
        "RMSNorm before",
        "SwiGLU, clamped",
        "128 and all in turn; sinks",
        "everywhere",
    ),
    "llama": Parts("RoPE", "RMSNorm before", "SwiGLU", "every token", "none"),
    "qwen3": Parts("RoPE", "RMSNorm before, of q and k", "SwiGLU", "every token", "none"),
    "qwen3_moe": Parts("RoPE", "RMSNorm before, of q and k", "SwiGLU", "every token", "none"),
}


@dataclass(frozen=True)
class Facts:
    """One model. Numbers of parameters, bytes and FLOPs are exact for models that ingle runs.

    kv_bytes: of one sequence at each of KV_CONTEXTS that the model reaches, in bfloat16.
    matrix_flops: of one token. weights_bytes: by format of all matrices; those a model's widths
    do not fit are left out. experts_total, experts_active: per layer, 0 without any.
    """

    name: str
    title: str
    licence: str
    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    experts_total: int
    experts_active: int
    parameters: int
    active_parameters: int
    kv_bytes: Mapping[int, int]
    matrix_flops: int
    weights_bytes: Mapping[str, int]
    parts: Parts
    max_context_tokens: int
    vocab_size: int

    @property
    def kv_bytes_per_token(self) -> dict[int, float]:
        """Bytes of cache per token of context."""
        return {context: nbytes / context for context, nbytes in self.kv_bytes.items()}


def compare(names: list[str]) -> list[Facts]:
    """The facts of each; IngleError for a name that is neither known nor a file."""
    return [facts(name) for name in names]


def comparable() -> tuple[str, ...]:
    """Every name that can be compared without a file."""
    return (*KNOWN, *SKETCHES)


def facts(name: str) -> Facts:
    """Of a known model, a sketch, or a file."""
    sketch = SKETCHES.get(name.lower())
    if sketch is not None:
        return _of_sketch(sketch)
    subject = open_subject(name)
    counted = anatomy(subject, gpu=True)
    model = load_model(subject.container, CountingBackend(), 64)
    known = find(name)
    return _of_model(subject, counted, model, known.title if known else subject.name)


def mlp_parameters(hidden_size: int, intermediate_size: int, gated: bool) -> int:
    """Weights of an MLP's matrices, counted by running it; a gate is a third matrix."""
    backend = CountingBackend()

    def linear(rows: int, columns: int) -> Linear:
        data = np.broadcast_to(np.zeros(1, np.uint8), (rows, 2 * columns))
        return Linear(backend.matrix("", FORMATS["BF16"], data))

    counter = Counter()
    counter.mlp(
        Rows(1, hidden_size),
        Norm(backend.vector("", np.empty(hidden_size, np.float32)), 0.0),
        linear(intermediate_size, hidden_size) if gated else None,
        linear(intermediate_size, hidden_size),
        linear(hidden_size, intermediate_size),
    )
    return counter.cost.parameters - hidden_size


def _of_model(subject: Subject, counted: Anatomy, model: Decoder, title: str) -> Facts:
    config, known = model.config, find(subject.name)
    experts = counted.num_local_experts
    inner = getattr(config, "moe_intermediate_size", 0) if experts else 0
    return Facts(
        name=subject.name,
        title=title,
        licence=known.licence if known else "see the file",
        num_hidden_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        intermediate_size=inner or int(getattr(config, "intermediate_size", 0)),
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        experts_total=experts,
        experts_active=counted.num_experts_per_tok,
        parameters=counted.parameters,
        active_parameters=counted.active_parameters,
        kv_bytes={
            context: kv_read_bytes(counted, context)
            for context in KV_CONTEXTS
            if context <= counted.max_context_tokens
        },
        matrix_flops=counted.layer_flops + counted.head_flops,
        weights_bytes=_weights(subject) if known else {"as stored": payload_bytes(subject)},
        parts=_PARTS[_architecture(model)],
        max_context_tokens=counted.max_context_tokens,
        vocab_size=config.vocab_size,
    )


def _architecture(model: Decoder) -> str:
    module = type(model).__module__
    return module.rsplit(".", 1)[-1]


def _weights(subject: Subject) -> dict[str, int]:
    found = {}
    for name in FORMATS_SHOWN:
        try:
            found[name] = payload_bytes(open_subject(subject.name, name))
        except IngleError:  # its rows are no whole blocks
            continue
    return found


def _of_sketch(sketch: Sketch) -> Facts:
    pattern = "every token"
    if sketch.window:
        pattern = f"{sketch.window:,} in {sketch.full_every - 1} of {sketch.full_every} layers"
    if sketch.latent is not None:
        pattern = f"every token, latent of {sketch.latent.kv_rank + sketch.latent.rope_dim}"
    shared = sketch.shared_experts
    return Facts(
        name=sketch.name,
        title=sketch.title,
        licence=sketch.licence,
        num_hidden_layers=sketch.num_hidden_layers,
        hidden_size=sketch.hidden_size,
        intermediate_size=sketch.moe_intermediate_size or sketch.intermediate_size,
        num_attention_heads=sketch.num_attention_heads,
        num_key_value_heads=sketch.num_key_value_heads,
        head_dim=sketch.head_dim,
        experts_total=sketch.num_local_experts + shared,
        experts_active=sketch.num_experts_per_tok + shared,
        parameters=sketch.parameters,
        active_parameters=sketch.active_parameters,
        kv_bytes={
            context: _KV_BYTES * sketch.kv_values(context)
            for context in KV_CONTEXTS
            if context <= sketch.max_position_embeddings
        },
        matrix_flops=sketch.matrix_flops,
        weights_bytes={
            name: round(sketch.parameters * FORMATS[name].bits_per_weight / 8)
            for name in FORMATS_SHOWN
        },
        parts=Parts("RoPE", sketch.norms, sketch.activation, pattern, "none"),
        max_context_tokens=sketch.max_position_embeddings,
        vocab_size=sketch.vocab_size,
    )
