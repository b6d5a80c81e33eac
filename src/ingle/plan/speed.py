"""Owns how long a model's steps take on a machine: bytes over bandwidth, work over arithmetic.

A step takes the longer of the two (Williams et al. 2009, "Roofline"), and a little per layer. Where
kernels were measured, the same is said of each kind of matrix and of attention, and added up. It
does not know memory limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ingle.plan.anatomy import Anatomy, Attention
from ingle.plan.hardware import Machine
from ingle.plan.kernels import ATTENTION, EXPERTS, WINDOWED, Kernel, Kernels

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


def forecast(
    model: Anatomy,
    machine: Machine,
    context_tokens: int,
    batch: int = 1,
    cold_bytes: int | None = None,
) -> Speed:
    """Speed with `batch` sequences that have filled `context_tokens`. cold_bytes: of the file, what
    is not in memory yet; None: all."""
    prompt = min(PROMPT_TOKENS, context_tokens)
    first = prefill_s(model, machine, prompt)
    reading, working = _decode_parts(model, machine, context_tokens, batch)
    return Speed(
        load_s=load_s(model, machine, model.file_bytes if cold_bytes is None else cold_bytes),
        ttft_s=first,
        prompt_tokens=prompt,
        prefill_tokens_per_s=prompt / first,
        decode_tokens_per_s=batch / decode_s(model, machine, context_tokens, batch),
        limited_by="memory bandwidth" if reading >= working else "arithmetic",
    )


def load_s(model: Anatomy, machine: Machine, disk_bytes: int) -> float:
    """Seconds until a model is ready and its weights are in memory, of whose file so many bytes
    still lie on the disk: to read those, to read through its header, to copy weights into the
    kernel layout, or to map them page by page."""
    reading = disk_bytes / machine.disk_bytes_per_s
    reading += model.metadata_bytes / machine.header_bytes_per_s
    reading += model.mapped_bytes / machine.touch_bytes_per_s
    if machine.kernels is None:
        return reading
    found = ((machine.kernels.find(name), n) for name, n in model.copied_bytes.items())
    copying = sum(n / k.repack_bytes_per_s for k, n in found if k and k.repack_bytes_per_s)
    return reading + copying


def decode_s(model: Anatomy, machine: Machine, context_tokens: int, batch: int = 1) -> float:
    """Seconds of one token for each of `batch` sequences."""
    if machine.kernels is not None:
        return sum(_decode_parts(model, machine, context_tokens, batch))
    overhead = model.num_hidden_layers * machine.layer_overhead_s
    return max(_decode_parts(model, machine, context_tokens, batch)) + overhead


def prefill_s(model: Anatomy, machine: Machine, tokens: int) -> float:
    """Seconds of a prompt, up to the logits of its last token."""
    if machine.kernels is not None:
        return _measured_prefill_s(model, machine, machine.kernels, tokens)
    chunks = -(-tokens // machine.chunk_tokens)
    flops = tokens * model.layer_flops + model.head_flops + attention_flops(model, tokens)
    read = chunks * weights_read_bytes(model, min(tokens, machine.chunk_tokens))
    working = flops / (machine.ops_per_s * machine.prefill_efficiency)
    reading = read / (machine.read_bytes_per_s * machine.decode_efficiency)
    return max(working, reading) + chunks * model.num_hidden_layers * machine.layer_overhead_s


def weights_read_bytes(model: Anatomy, tokens: int) -> float:
    """Bytes of weights of a step of so many tokens. Each goes to experts of its own choosing: of E
    experts, k per token, E (1 - (1 - k/E)^tokens) are expected to be met."""
    read = model.dense_read_bytes + model.experts_bytes * _met(model, tokens)
    return read + tokens * model.embedding_row_bytes


def _met(model: Anatomy, tokens: int) -> float:
    experts = model.num_local_experts
    return 1.0 - (1.0 - model.num_experts_per_tok / experts) ** tokens if experts else 0.0


def kv_read_bytes(model: Anatomy, context_tokens: int) -> int:
    """Bytes of keys and values that a token at the end of a context sees."""
    return sum(
        a.layers * a.token_values * model.kv_value_bytes * _seen(a, context_tokens)
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
    """Seconds of reading, seconds of arithmetic; measured ones are of what waits for which."""
    if machine.kernels is not None:
        return _measured_parts(model, machine, machine.kernels, context_tokens, batch)
    read = weights_read_bytes(model, batch) + batch * kv_read_bytes(model, context_tokens)
    pairs = sum(a.flops_per_pair * _seen(a, context_tokens) for a in model.attention)
    flops = batch * (model.layer_flops + model.head_flops + pairs)
    return (
        read / (machine.read_bytes_per_s * machine.decode_efficiency),
        flops / (machine.ops_per_s * machine.prefill_efficiency),
    )


def _seen(attention: Attention, tokens: int) -> int:
    return min(tokens, attention.window) if attention.window else tokens


def _measured_parts(
    model: Anatomy, machine: Machine, kernels: Kernels, context_tokens: int, batch: int
) -> tuple[float, float]:
    """Seconds of a token for each sequence in what waits for memory, and in all the rest."""
    pieces = [*_matrix_parts(model, machine, kernels, batch, batch)]
    for attention in model.attention:
        kernel = _kernel(machine, kernels, WINDOWED if attention.window else ATTENTION)
        seen = batch * _seen(attention, context_tokens)
        nbytes = attention.layers * attention.token_values * model.kv_value_bytes * seen
        flops = attention.flops_per_pair * seen
        pieces.append((nbytes / kernel.read_bytes_per_s, flops / kernel.ops_per_s))
    reading = sum(read for read, work in pieces if read >= work)
    working = sum(work for read, work in pieces if read < work)
    overhead = model.num_hidden_layers * kernels.layer_s + kernels.step_s
    slower = 1.0 / machine.decode_efficiency
    return slower * reading, slower * (working + overhead)


def _measured_prefill_s(model: Anatomy, machine: Machine, kernels: Kernels, tokens: int) -> float:
    chunks, rest = divmod(tokens, machine.chunk_tokens)
    steps = [(chunks, machine.chunk_tokens), (1, rest)]
    seconds = sum(
        count * max(parts)
        for count, size in steps
        if count and size
        for parts in _matrix_parts(model, machine, kernels, size, 1)
    )
    for attention in model.attention:
        kernel = _kernel(machine, kernels, WINDOWED if attention.window else ATTENTION)
        pairs = _pairs(tokens, attention.window)
        seconds += attention.flops_per_pair * pairs / kernel.ops_per_s
    number = chunks + (1 if rest else 0)
    seconds += number * (model.num_hidden_layers * kernels.layer_s + kernels.step_s)
    return seconds / machine.prefill_efficiency


def _matrix_parts(
    model: Anatomy, machine: Machine, kernels: Kernels, tokens: int, outputs: int
) -> Iterator[tuple[float, float]]:
    """Seconds of reading and of arithmetic, kernel by kernel, in a step of so many tokens."""
    for matrices in model.matrices:
        kernel = _kernel(machine, kernels, matrices.kernel)
        rows = outputs if matrices.once else tokens
        share = _met(model, rows) if matrices.kernel.endswith(EXPERTS) else 1.0
        yield (
            matrices.nbytes * share / kernel.read_bytes_per_s,
            matrices.flops * rows / kernel.ops_per_s,
        )


def _kernel(machine: Machine, kernels: Kernels, name: str) -> Kernel:
    """Of a kind that was not measured: the machine's peaks."""
    return kernels.find(name) or Kernel(machine.read_bytes_per_s, machine.ops_per_s)
