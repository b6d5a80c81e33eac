"""Owns how long a model's steps take on a machine: bytes over bandwidth, work over arithmetic.

A step takes the longer of the two (Williams et al. 2009, "Roofline"), and a little per layer. It
does not know memory limits.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingle.plan.anatomy import Anatomy
from ingle.plan.hardware import Machine

PROMPT_TOKENS = 512  # of the prompt that time to the first token is told for


@dataclass(frozen=True)
class Speed:
    """Forecasts: seconds, and tokens of all sequences together per second.

    ttft_s: to the first token of a prompt of `prompt_tokens`. limited_by: what decode waits for,
    "memory bandwidth" or "arithmetic".
    """

    load_s: float
    ttft_s: float
    prompt_tokens: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    limited_by: str


def forecast(model: Anatomy, machine: Machine, context_tokens: int, batch: int = 1) -> Speed:
    """Speed with `batch` sequences that have filled `context_tokens`."""
    prompt = min(PROMPT_TOKENS, context_tokens)
    first = prefill_s(model, machine, prompt)
    reading, working = _decode_parts(model, machine, context_tokens, batch)
    return Speed(
        load_s=model.file_bytes / machine.disk_bytes_per_s,
        ttft_s=first,
        prompt_tokens=prompt,
        prefill_tokens_per_s=prompt / first,
        decode_tokens_per_s=batch / decode_s(model, machine, context_tokens, batch),
        limited_by="memory bandwidth" if reading >= working else "arithmetic",
    )


def decode_s(model: Anatomy, machine: Machine, context_tokens: int, batch: int = 1) -> float:
    """Seconds of one token for each of `batch` sequences."""
    overhead = model.num_hidden_layers * machine.layer_overhead_s
    return max(_decode_parts(model, machine, context_tokens, batch)) + overhead


def prefill_s(model: Anatomy, machine: Machine, tokens: int) -> float:
    """Seconds of a prompt, up to the logits of its last token."""
    chunks = -(-tokens // machine.chunk_tokens)
    flops = tokens * model.layer_flops + model.head_flops + attention_flops(model, tokens)
    read = chunks * weights_read_bytes(model, min(tokens, machine.chunk_tokens))
    working = flops / (machine.ops_per_s * machine.prefill_efficiency)
    reading = read / (machine.read_bytes_per_s * machine.decode_efficiency)
    return max(working, reading) + chunks * model.num_hidden_layers * machine.layer_overhead_s


def weights_read_bytes(model: Anatomy, tokens: int) -> float:
    """Bytes of weights of a step of so many tokens. Each goes to experts of its own choosing: of E
    experts, k per token, E (1 - (1 - k/E)^tokens) are expected to be met."""
    experts = model.num_local_experts
    share = 0.0
    if experts:
        share = 1.0 - (1.0 - model.num_experts_per_tok / experts) ** tokens
    return model.dense_read_bytes + model.experts_bytes * share + tokens * model.embedding_row_bytes


def kv_read_bytes(model: Anatomy, context_tokens: int) -> int:
    """Bytes of keys and values that a token at the end of a context sees."""
    return sum(
        a.layers
        * a.token_values
        * model.kv_value_bytes
        * (min(context_tokens, a.window) if a.window else context_tokens)
        for a in model.attention
    )


def attention_flops(model: Anatomy, tokens: int) -> int:
    """Of a prompt from the beginning: each token with those it sees."""
    return sum(a.flops_per_pair * _pairs(tokens, a.window) for a in model.attention)


def _pairs(tokens: int, window: int) -> int:
    seen = min(tokens, window) if window else tokens
    return seen * (seen + 1) // 2 + (tokens - seen) * window


def _decode_parts(
    model: Anatomy, machine: Machine, context_tokens: int, batch: int
) -> tuple[float, float]:
    """Seconds of reading, seconds of arithmetic."""
    read = weights_read_bytes(model, batch) + batch * kv_read_bytes(model, context_tokens)
    pairs = sum(
        a.flops_per_pair * (min(context_tokens, a.window) if a.window else context_tokens)
        for a in model.attention
    )
    flops = batch * (model.layer_flops + model.head_flops + pairs)
    return (
        read / (machine.read_bytes_per_s * machine.decode_efficiency),
        flops / (machine.ops_per_s * machine.prefill_efficiency),
    )
