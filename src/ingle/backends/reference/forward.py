"""Owns the reference forward pass: every primitive in numpy, composites inherited.

It does not know how sums are ordered (`arithmetic`) nor where pages come from (`Batch`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingle.backends.reference.arithmetic import Arithmetic, ReferenceWeight
from ingle.backends.reference.fma import Floats
from ingle.ops import (
    PAGE_TOKENS,
    Activation,
    AttentionShape,
    Batch,
    Experts,
    KvArray,
    KvLayout,
    Linear,
    Moe,
    Norm,
    PrimitiveOps,
    RopeTable,
    Routing,
    ScannedHead,
)
from ingle.ops import Weight as OpaqueWeight
from ingle.ops.kv_type import kept
from ingle.ops.protocol import RESCORED, SCANNED_ROWS


def _held(weight: OpaqueWeight) -> ReferenceWeight:
    assert isinstance(weight, ReferenceWeight)
    return weight


def _floats(stored: KvArray) -> Floats:
    return stored.astype(np.float32, copy=False)


@dataclass(frozen=True)
class Routed:
    """Experts of each row in the router's order, and their weights: (T, ranks)."""

    ids: NDArray[np.intp]
    weights: Floats


class ReferenceOps(PrimitiveOps[Floats, Routed]):
    """Activations are float32 arrays (rows, columns)."""

    def __init__(self, batch: Batch, layout: KvLayout, arithmetic: Arithmetic) -> None:
        self.batch = batch
        self.layout = layout
        self.arithmetic = arithmetic

    def embed(self, table: OpaqueWeight, positions: OpaqueWeight | None = None) -> Floats:
        """Rows of the tables for the batch's ids and positions."""
        x: Floats = _held(table).values[self.batch.ids]
        return x if positions is None else x + _held(positions).values[self.batch.positions]

    def norm(self, x: Floats, norm: Norm) -> Floats:
        """RMSNorm, or LayerNorm with a bias."""
        gain = _held(norm.weight).values
        if norm.bias is None:
            return self.arithmetic.norm(x, gain, norm.eps)
        return self.arithmetic.layer_norm(x, gain, _held(norm.bias).values, norm.eps)

    def head_norm(self, x: Floats, norm: Norm, head_dim: int) -> Floats:
        """RMSNorm of each head."""
        return self.norm(x.reshape(-1, head_dim), norm).reshape(x.shape)

    def linear(self, x: Floats, linear: Linear, precise: bool = False) -> Floats:
        """x W^T + bias."""
        weight = _held(linear.weight)
        if linear.rounding is None:
            y = self.arithmetic.linear(x, weight, precise)
        else:
            y = self.arithmetic.rounded_linear(x, weight, linear.rounding)
        return y if linear.bias is None else y + _held(linear.bias).values

    def rescore(self, x: Floats, scanned: Floats, head: ScannedHead) -> Floats:
        """Every row again; the most promising are taken."""
        again = self.linear(x, head, precise=True)
        runs = -(-scanned.shape[1] // SCANNED_ROWS)
        padded = np.full((len(x), runs * SCANNED_ROWS), -np.inf, np.float32)
        padded[:, : scanned.shape[1]] = scanned
        largest = padded.reshape(len(x), runs, SCANNED_ROWS).max(axis=-1)
        best = np.argsort(-largest, axis=-1, kind="stable")[:, :RESCORED]
        chosen = np.zeros((len(x), runs), np.bool_)
        np.put_along_axis(chosen, best, True, axis=-1)
        return np.where(
            np.repeat(chosen, SCANNED_ROWS, axis=-1)[:, : scanned.shape[1]], again, scanned
        )

    def rope(self, x: Floats, shape: AttentionShape, rope: RopeTable) -> Floats:
        """Each product and each sum rounded once, as the native step does."""
        heads = x.reshape(len(x), -1, shape.head_dim)
        cos = rope.cos[self.batch.positions][:, None, :]
        sin = rope.sin[self.batch.positions][:, None, :]
        half = shape.head_dim // 2
        first = slice(0, None, 2) if rope.interleaved else slice(0, half)
        second = slice(1, None, 2) if rope.interleaved else slice(half, None)
        out = np.empty_like(heads)
        a, b = heads[..., first], heads[..., second]
        out[..., first] = a * cos - b * sin
        out[..., second] = b * cos + a * sin
        return out.reshape(x.shape)

    def attend(
        self, q: Floats, k: Floats, v: Floats, shape: AttentionShape, sinks: OpaqueWeight | None
    ) -> Floats:
        """Writes k and v into their pages, then attends sequence by sequence, head by head."""
        heads = (len(k), shape.num_key_value_heads, shape.head_dim)
        self._store(k.reshape(heads), v.reshape(heads), shape)
        group_size = shape.num_attention_heads // shape.num_key_value_heads
        queries = q.reshape(len(q), shape.num_key_value_heads, group_size, shape.head_dim)
        sink_values = None if sinks is None else _held(sinks).values.reshape(-1, group_size)
        out = np.empty_like(queries)
        for sequence in range(len(self.batch.views)):
            rows = np.flatnonzero(self.batch.sequences == sequence)
            if len(rows) == 0:
                continue
            visible, keys, values = self._cached(sequence, rows, shape)
            for head in range(shape.num_key_value_heads):
                out[rows, head] = self.arithmetic.attend(
                    queries[rows, head],
                    keys[:, head],
                    values[:, head],
                    visible,
                    shape.scale,
                    None if sink_values is None else sink_values[head],
                )
        return out.reshape(q.shape)

    def _store(self, k: Floats, v: Floats, shape: AttentionShape) -> None:
        group, layer = self.layout.place[shape.layer]
        tables = self.batch.page_tables(group)
        pages = tables[self.batch.sequences, self.batch.positions // PAGE_TOKENS]
        slots = self.batch.positions % PAGE_TOKENS
        keys, values = self.batch.store.keys[group], self.batch.store.values[group]
        keys[layer, pages, :, :, slots] = kept(k, keys.dtype)
        values[layer, pages, :, slots, :] = kept(v, values.dtype)

    def _cached(
        self, sequence: int, rows: NDArray[np.intp], shape: AttentionShape
    ) -> tuple[NDArray[np.bool_], Floats, Floats]:
        """visible (T, positions), keys and values (positions, kv_heads, head_dim)."""
        group, layer = self.layout.place[shape.layer]
        last = self.batch.positions[rows].astype(np.int64)
        table = self.batch.views[sequence].page_table(group)[: last.max() // PAGE_TOKENS + 1]
        keys = self.batch.store.keys[group][layer, table].transpose(0, 3, 1, 2)
        values = self.batch.store.values[group][layer, table].transpose(0, 2, 1, 3)
        flat = (len(table) * PAGE_TOKENS, shape.num_key_value_heads, shape.head_dim)
        position = np.arange(len(table) * PAGE_TOKENS)
        visible = position[None, :] <= last[:, None]
        if shape.window:
            visible &= position[None, :] > last[:, None] - shape.window
        return visible, _floats(keys).reshape(flat), _floats(values).reshape(flat)

    def add(self, x: Floats, y: Floats) -> Floats:
        """x + y."""
        return x + y

    def activate(self, activation: Activation, gate: Floats | None, up: Floats) -> Floats:
        """The hidden state of an MLP."""
        return self.arithmetic.activate(activation, gate, up)

    def route(self, logits: Floats, moe: Moe) -> Routed:
        """Top experts by logit, ties to the lower index, and their weights."""
        ranks = self.num_ranks(moe)
        ids = np.argsort(-logits, axis=-1, kind="stable")[:, :ranks]
        chosen = np.take_along_axis(logits, ids, axis=-1)
        exponentials = self.arithmetic.exp(chosen - chosen[:, :1])
        if moe.routing is Routing.TOP_K_OF_SOFTMAX:
            every = self.arithmetic.exp(logits - chosen[:, :1])
            exponentials = exponentials / self.arithmetic.row_sum(every)[:, None]
            if not moe.renormalize:
                return Routed(ids, exponentials)
        total = exponentials[:, 0]
        for rank in range(1, ranks):
            total = total + exponentials[:, rank]
        return Routed(ids, exponentials / total[:, None])

    def expert_linear(self, x: Floats, experts: Experts, choice: Routed, rank: int) -> Floats:
        """Rows grouped by expert, each group through its matrix."""
        weight, ids = _held(experts.weight), choice.ids[:, rank]
        out = np.empty((len(x), weight.meta.shape[1]), np.float32)
        for expert in np.unique(ids):
            rows = np.flatnonzero(ids == expert)
            out[rows] = self.arithmetic.linear(x[rows], weight.expert(int(expert)))
        return out if experts.bias is None else out + _held(experts.bias).values[ids]

    def add_weighted(self, total: Floats | None, y: Floats, choice: Routed, rank: int) -> Floats:
        """total + weight * y."""
        start = np.zeros_like(y) if total is None else total
        return self.arithmetic.multiply_add(choice.weights[:, rank, None], y, start)

    def num_ranks(self, moe: Moe) -> int:
        """Experts per token: the batch's wish, else the model's."""
        return self.batch.num_experts_per_tok or moe.num_experts_per_tok

    def select_outputs(self, x: Floats) -> Floats:
        """The rows whose logits the batch asks for."""
        return x[self.batch.output_rows]
