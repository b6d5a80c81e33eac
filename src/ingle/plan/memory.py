"""Owns the plan of memory: bytes by category for a model, a context and a number of sequences.

The categories add up to what the engine takes from the system. It does not know the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingle.errors import IngleError
from ingle.plan.anatomy import WEIGHT_CATEGORIES, Anatomy, kv_bytes

CATEGORIES = (
    *WEIGHT_CATEGORIES,
    "kv_full",
    "kv_sliding",
    "activations",
    "prefix_snapshots",
    "runtime",
)


@dataclass(frozen=True)
class MemoryPlan:
    """categories: bytes by name, in the order of CATEGORIES.

    attention, mlp (routers too), experts_resident, experts_streamed (on disk until used: not
    counted in the total), embeddings, head: weights. kv_full, kv_sliding: keys and values.
    activations: of a chunk, and a token's logits per sequence. runtime: program and rotary tables.
    experts_streamed and prefix_snapshots are 0 wherever the engine keeps every expert in memory and
    no prefixes beside the sequences that run.
    """

    categories: Mapping[str, int]
    context_tokens: int
    batch: int

    @property
    def total_bytes(self) -> int:
        """Bytes of memory."""
        return sum(n for name, n in self.categories.items() if name != "experts_streamed")

    @property
    def weights_bytes(self) -> int:
        """Bytes of weights in memory."""
        return sum(self.categories[n] for n in WEIGHT_CATEGORIES if n != "experts_streamed")

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values."""
        return self.categories["kv_full"] + self.categories["kv_sliding"]


def plan_memory(model: Anatomy, context_tokens: int, batch: int = 1) -> MemoryPlan:
    """The plan for `batch` sequences of `context_tokens` each.

    IngleError when the model was made for fewer tokens, or the batch is below 1 or absurd.
    """
    if not 1 <= context_tokens <= model.max_context_tokens:
        rule = f"context must be from 1 to the model's {model.max_context_tokens} tokens"
        raise IngleError("--context", f"{rule}, but got {context_tokens}")
    if not 1 <= batch <= 1 << 16:
        raise IngleError("--batch", f"must be from 1 to 65536 sequences, but got {batch}")
    kv = {False: 0, True: 0}
    for attention in model.attention:
        one = kv_bytes(attention, context_tokens, model.kv_value_bytes)
        kv[bool(attention.window)] += batch * one
    categories = {
        **model.weights,
        "kv_full": kv[False],
        "kv_sliding": kv[True],
        "activations": model.scratch_bytes + batch * model.logits_bytes,
        "prefix_snapshots": 0,
        "runtime": model.runtime_bytes + model.header_bytes + context_tokens * model.rope_bytes,
    }
    return MemoryPlan(categories, context_tokens, batch)


def most_sequences(model: Anatomy, context_tokens: int, limit_bytes: int, most: int = 64) -> int:
    """Sequences of `context_tokens` each that fit at a time within a limit, at most `most`; 0: not
    even one. IngleError as of `plan_memory`."""
    one, two = (plan_memory(model, context_tokens, batch).total_bytes for batch in (1, 2))
    if one > limit_bytes:
        return 0
    return min(most, 1 + (limit_bytes - one) // (two - one))  # each needs as much as any other


def largest_context(model: Anatomy, limit_bytes: int, batch: int = 1) -> int:
    """Most tokens of context, a power of two or the model's own limit, within a limit; 0: none."""
    sizes = [model.max_context_tokens, *(1 << n for n in range(24, 7, -1))]
    fitting = (
        size
        for size in sizes
        if size <= model.max_context_tokens
        and plan_memory(model, size, batch).total_bytes <= limit_bytes
    )
    return next(fitting, 0)
