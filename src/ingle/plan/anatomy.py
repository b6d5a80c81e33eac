"""Owns the few numbers of a model that bytes and times follow from: its anatomy.

They are taken once from the model's own description, so that plans, tables and the page in a
browser do the same small sums. It does not know machines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ingle.models import load_model
from ingle.models.decoder import Decoder
from ingle.ops import (
    USUAL_KV_TYPE,
    Activation,
    AttentionShape,
    KvLayout,
    Linear,
    Moe,
    Norm,
    Ops,
    RopeTable,
    Rotation,
    ScannedHead,
    Weight,
    kv_dtype,
)
from ingle.ops.count import CountingBackend, count
from ingle.ops.protocol import RESCORED, SCANNED_ROWS, run_model
from ingle.plan.kernels import EXPERTS
from ingle.plan.kv import group_bytes, token_values
from ingle.plan.subject import Subject
from ingle.plan.tape import TileBackend, scratch_bytes

_SHORT_CONTEXT = 64  # tokens: rotary tables of the models that are only looked at


@dataclass(frozen=True)
class Attention:
    """Layers that see the same positions.

    window: 0 sees all. token_values: numbers a token leaves per layer, key and value.
    flops_per_pair: multiply-adds times 2 of a query with one position, in all these layers.
    """

    window: int
    layers: int
    token_values: int
    flops_per_pair: int


@dataclass(frozen=True)
class Matrices:
    """What one kernel does. kernel: its name, see `ingle.plan.kernels`. nbytes: of the weights,
    experts all of them. flops: of a token. once: for a step's last token alone, as the output."""

    kernel: str
    nbytes: int
    flops: int
    once: bool


@dataclass(frozen=True)
class Anatomy:
    """weights: bytes by category, as the engine holds them. matrices: the same by kernel.
    copied_bytes: of those brought into the kernel layout at load, by kernel; packed files: none.

    experts_bytes: of all layers' experts, of which each token reads num_experts_per_tok of
    num_local_experts. dense_read_bytes: what every step reads besides. embedding_row_bytes: read
    per token. layer_flops: of a token through all layers' matrices; head_flops: to its logits.
    scratch_bytes: activations of a chunk. logits_bytes: of a token. rope_bytes: tables per
    position of context. runtime_bytes: program, libraries. header_bytes: of the file, vocabulary
    and all, that stay in memory. metadata_bytes: of it that loading reads through. mapped_bytes: of
    weights that are not copied, and come into memory when they are touched.
    kv_value_bytes: of a number in the cache. file_bytes: on disk.
    """

    name: str
    recipe: str
    weights: Mapping[str, int]
    matrices: tuple[Matrices, ...]
    copied_bytes: Mapping[str, int]
    attention: tuple[Attention, ...]
    experts_bytes: int
    num_local_experts: int
    num_experts_per_tok: int
    dense_read_bytes: int
    embedding_row_bytes: int
    layer_flops: int
    head_flops: int
    scratch_bytes: int
    logits_bytes: int
    rope_bytes: int
    runtime_bytes: int
    header_bytes: int
    metadata_bytes: int
    mapped_bytes: int
    kv_value_bytes: int
    file_bytes: int
    max_context_tokens: int
    parameters: int
    active_parameters: int
    num_hidden_layers: int


CPU_RUNTIME_BYTES = 64 << 20  # interpreter, libraries, vocabulary: measured, 50 to 70 MiB
GPU_RUNTIME_BYTES = 600 << 20  # a CUDA context and its libraries' workspaces
GPU_KV_BYTES = 2  # bfloat16
_TABLE_BYTES = 16  # per angle: cosine and sine in float32, the angle in float64


def anatomy(subject: Subject, gpu: bool = False, kv_type: str = USUAL_KV_TYPE) -> Anatomy:
    """Of a model on the native CPU engine, or as stored, on a GPU. kv_type: what keys and values
    are kept as on the CPU. Raises IngleError."""
    mapped = subject.mapped and not gpu
    backend = CountingBackend() if gpu else TileBackend(mapped)
    model = load_model(subject.container, backend, _SHORT_CONTEXT)
    census = Census()
    run_model(model, census)
    cost = count(model)
    table = census.table
    head_flops = 2 * model.vocab_size * model.config.hidden_size
    config = model.config
    weights = census.bytes_in_memory(mapped)
    return Anatomy(
        name=subject.name,
        recipe=str(subject.recipe or "as stored"),
        weights=weights,
        matrices=census.matrices(),
        copied_bytes={} if gpu or mapped else census.copied_bytes(),
        attention=_attention(model),
        experts_bytes=weights["experts_resident"],
        num_local_experts=getattr(config, "num_local_experts", 0),
        num_experts_per_tok=getattr(config, "num_experts_per_tok", 0),
        dense_read_bytes=census.dense_read_bytes(),
        embedding_row_bytes=table.meta.nbytes // table.meta.shape[0],
        layer_flops=cost.matrix_flops - head_flops,
        head_flops=head_flops,
        scratch_bytes=_gpu_scratch(model) if gpu else scratch_bytes(model),
        logits_bytes=-(-model.vocab_size // 16) * 16 * 4,
        rope_bytes=census.rope_bytes(),
        runtime_bytes=GPU_RUNTIME_BYTES if gpu else CPU_RUNTIME_BYTES,
        header_bytes=subject.header_bytes,
        metadata_bytes=subject.metadata_bytes,
        mapped_bytes=sum(weights.values()) if mapped else 0,
        kv_value_bytes=GPU_KV_BYTES if gpu else kv_dtype(kv_type).itemsize,
        file_bytes=subject.file_bytes,
        max_context_tokens=model.max_position_embeddings,
        parameters=cost.parameters,
        active_parameters=cost.active_parameters,
        num_hidden_layers=model.num_hidden_layers,
    )


def _attention(model: Decoder) -> tuple[Attention, ...]:
    shapes = model.attention_shapes
    return tuple(
        Attention(
            group.window,
            len(group.layers),
            token_values(group),
            sum(
                4 * shapes[layer].num_attention_heads * shapes[layer].head_dim
                for layer in group.layers
            ),
        )
        for group in KvLayout(shapes).groups
    )


def kv_bytes(attention: Attention, context_tokens: int, value_bytes: int) -> int:
    """Bytes that the runtime allocates for one sequence in these layers."""
    per_layer = AttentionShape(0, 1, 1, attention.token_values // 2, attention.window)
    (group,) = KvLayout([per_layer]).groups
    return attention.layers * group_bytes(group, context_tokens, value_bytes)


def _gpu_scratch(model: Decoder) -> int:
    """Of chunks of 2048 tokens in bfloat16: the widest rows that live at a time."""
    config = model.config
    inner = getattr(config, "moe_intermediate_size", getattr(config, "intermediate_size", 0))
    ranks = getattr(config, "num_experts_per_tok", 1)
    row = (
        4 * config.hidden_size + sum(config.qkv_rows) + ranks * (2 * config.hidden_size + 3 * inner)
    )
    return 2048 * row * 2


class Census(Ops[None]):
    """Which weights serve what; each counts once, where it is met first."""

    def __init__(self) -> None:
        self._weights: dict[int, tuple[str, Weight]] = {}
        self._matrices: dict[tuple[str, bool], tuple[int, int]] = {}
        self._ropes: dict[int, RopeTable] = {}
        self._head: Weight | None = None
        self._passed_over = 0  # bytes of it
        self.table: Weight
        self._tables: list[Weight] = []

    def embed(self, table: Weight, positions: Weight | None = None) -> None:
        """The table, and the learned positions."""
        self.table = table
        self._tables = [table] if positions is None else [table, positions]
        self._add("embeddings", table, positions)

    def qkv(self, x: None, norm: Norm, q: Linear, k: Linear, v: Linear) -> tuple[None, None, None]:
        """Projections and their norm."""
        self._add("attention", *_of(norm, q, k, v))
        self._multiply(*(part.weight for part in (q, k, v)))
        return None, None, None

    def attention(
        self,
        q: None,
        k: None,
        v: None,
        shape: AttentionShape,
        rotation: Rotation,
        sinks: Weight | None = None,
    ) -> None:
        """Sinks, norms of heads, rotary tables."""
        self._add("attention", sinks, *_of(rotation.q_norm, rotation.k_norm))
        if rotation.rope is not None:
            self._ropes[id(rotation.rope)] = rotation.rope

    def attention_out(self, x: None, attended: None, out: Linear) -> None:
        """The output projection."""
        self._add("attention", *_of(out))
        self._multiply(out.weight)

    def mlp(
        self,
        x: None,
        norm: Norm,
        gate: Linear | None,
        up: Linear,
        down: Linear,
        activation: Activation = Activation.SILU,
    ) -> None:
        """A dense MLP and its norm."""
        self._add("mlp", *_of(norm, gate, up, down))
        self._multiply(*(part.weight for part in (gate, up, down) if part is not None))

    def moe(self, x: None, norm: Norm, moe: Moe) -> None:
        """Norm and router beside the experts."""
        self._add("mlp", *_of(norm, moe.router))
        for experts in (moe.gate, moe.up, moe.down):
            self._add("experts_resident", experts.weight, experts.bias)
            self._multiply(experts.weight, active=moe.num_experts_per_tok)
        self._multiply(moe.router.weight)

    def logits(self, x: None, norm: Norm, head: Linear) -> None:
        """The last norm and the output matrix; of one that is scanned, the scan and a few rows."""
        self._head = head.weight
        self._add("head", *_of(norm, head))
        if isinstance(head, ScannedHead) and head.scan is not None:
            self._add("head", head.scan)
            self._multiply(head.scan, once=True)
            read = self._multiply(head.weight, once=True, rows=RESCORED * SCANNED_ROWS)
            self._passed_over = head.weight.meta.nbytes - read
        else:
            self._multiply(head.weight, once=True)

    def bytes_by_category(self) -> dict[str, int]:
        """Bytes of handles; a tied output matrix is an embedding."""
        totals = dict.fromkeys(WEIGHT_CATEGORIES, 0)
        for category, weight in self._weights.values():
            totals[category] += weight.meta.nbytes
        return totals

    def bytes_in_memory(self, mapped: bool) -> dict[str, int]:
        """Of them, what is in memory: tables that are only looked up in stay in a packed file."""
        totals = self.bytes_by_category()
        if mapped:
            totals["embeddings"] -= sum(table.meta.nbytes for table in self.looked_up())
        return totals

    def dense_read_bytes(self) -> int:
        """Of what every step reads: all but experts, tables that are only looked up in, and the
        rows of a scanned output matrix that are not looked at again."""
        whole = sum(
            weight.meta.nbytes
            for category, weight in self._weights.values()
            if category in ("attention", "mlp", "head") or weight is self._head
        )
        return whole - self._passed_over

    def rope_bytes(self) -> int:
        """Of all tables, per position."""
        return sum(_TABLE_BYTES * len(rope.inverse_frequencies) for rope in self._ropes.values())

    def matrices(self) -> tuple[Matrices, ...]:
        """What each kernel does, in the order met."""
        return tuple(
            Matrices(kernel, nbytes, flops, once)
            for (kernel, once), (nbytes, flops) in self._matrices.items()
        )

    def copied_bytes(self) -> dict[str, int]:
        """Bytes of all matrices by kernel, tables that are only looked up in too."""
        totals: dict[str, int] = {}
        for _, weight in self._weights.values():
            if len(weight.meta.shape) > 1:
                kernel = _kernel(weight)
                totals[kernel] = totals.get(kernel, 0) + weight.meta.nbytes
        return totals

    def looked_up(self) -> list[Weight]:
        """Tables of which only the rows of tokens, or of positions, are read: the table of tokens
        first, unless it is the output matrix too."""
        return [table for table in self._tables if table is not self._head]

    def handles(self, mapped: bool = False) -> Iterator[tuple[str, Weight]]:
        """Every handle once, with its category; mapped: but those that stay in a packed file."""
        left = {id(table) for table in self.looked_up()} if mapped else set()
        yield from (pair for pair in self._weights.values() if id(pair[1]) not in left)

    def _multiply(
        self, *weights: Weight, active: int = 1, once: bool = False, rows: int | None = None
    ) -> int:
        """active: matrices of a stack that a token goes through. rows: of each, if not all. Bytes
        of them."""
        total = 0
        for weight in weights:
            stored, columns = weight.meta.shape[-2:]
            used = stored if rows is None else min(rows, stored)
            key = (_kernel(weight), once)
            nbytes, flops = self._matrices.get(key, (0, 0))
            read = weight.meta.nbytes * used // stored
            self._matrices[key] = (nbytes + read, flops + 2 * active * used * columns)
            total += read
        return total

    def _add(self, category: str, *weights: Weight | None) -> None:
        for weight in weights:
            if weight is not None:
                self._weights.setdefault(id(weight), (category, weight))


WEIGHT_CATEGORIES = (
    "attention",
    "mlp",
    "experts_resident",
    "experts_streamed",
    "embeddings",
    "head",
)


def _kernel(weight: Weight) -> str:
    stacked = len(weight.meta.shape) == 3
    return weight.meta.format + (EXPERTS if stacked else "")


def _of(*parts: Linear | Norm | None) -> list[Weight | None]:
    return [weight for part in parts if part is not None for weight in (part.weight, part.bias)]
