"""Owns the native backend: weights in tiles, a thread pool, one tape per model.

It does not know sequences or sampling: a batch comes in, logits go out, one native call between.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ingle import _native, env
from ingle.backends.cpu.cores import usable_cores
from ingle.backends.cpu.memory import aligned_zeros
from ingle.backends.cpu.recorder import Recorder
from ingle.backends.cpu.weight import (
    CpuMatrix,
    CpuVector,
    export,
    make_matrix,
    make_vector,
    tiled_matrix,
)
from ingle.errors import IngleError
from ingle.formats.packed import PackedTiles
from ingle.numerics import Format
from ingle.ops import USUAL_KV_TYPE, Batch, KvLayout, Model, Weight
from ingle.ops.protocol import run_model

_THREADS_PER_CORE = 8  # beyond that a forward spends its time in changing threads
MAX_ROWS = 512  # tokens of one forward; longer prompts come in chunks


class CpuBackend:
    """Runs models with the best kernels of this CPU, or those INGLE_CPU names.

    exact: weights are multiplied as floats, activations are rounded only where a checkpoint of
    8-bit weights asks for it, keys and values not to 16 bits; slower.
    """

    name = "cpu"

    def __init__(self, threads: int | None = None, exact: bool = False) -> None:
        cores = usable_cores()
        count = cores if threads is None else threads
        most = cores * _THREADS_PER_CORE
        if not 1 <= count <= most:
            rule = f"count must be from 1 to {most} on {cores} usable cores, but got {count}"
            raise IngleError("threads", rule, "threads beyond the cores only wait for each other")
        self.kernels = choose_kernels()
        self.exact = exact
        self.kv_type = "f32" if exact else USUAL_KV_TYPE
        try:
            self.pool = _native.Pool(count)
        except RuntimeError as error:
            rule = f"the system must grant {count} threads, but got: {error}"
            raise IngleError("threads", rule, "ask for fewer with --threads") from None
        self._tapes: WeakKeyDictionary[Model, tuple[_native.Tape, KvLayout]] = WeakKeyDictionary()

    def matrix(self, name: str, fmt: Format, data: NDArray[np.uint8]) -> CpuMatrix:
        """A handle of encoded rows, repacked into tiles."""
        return make_matrix(name, fmt, data, self.exact)

    def tiled(self, name: str, fmt: Format, tiles: PackedTiles) -> CpuMatrix:
        """A handle of tiles in a packed file's map; nothing is copied."""
        return tiled_matrix(name, fmt, tiles, self.exact)

    def vector(self, name: str, values: NDArray[np.float32]) -> CpuVector:
        """A handle of float32 (n,)."""
        return make_vector(name, values)

    def export(self, weight: Weight) -> NDArray[np.uint8]:
        """The encoded rows a handle was made of."""
        assert isinstance(weight, (CpuMatrix, CpuVector))
        return export(weight)

    def forward(self, model: Model, batch: Batch) -> NDArray[np.float32]:
        """Logits (R, vocab_size): a view of an array whose rows are padded to whole tiles.

        A batch that is larger than a tape's slots runs in parts; the logits are the same bits.
        """
        tape, layout = self._tape(model)
        stride = -(-model.vocab_size // 16) * 16
        logits = aligned_zeros((len(batch.output_rows), stride), np.float32)
        limit = tape.max_rows(batch.num_experts_per_tok or 0)
        done = 0
        for part in batch.parts(limit):
            rows = slice(done, done + len(part.output_rows))
            self._run(tape, layout, part, logits[rows])
            done = rows.stop
        return logits[:, : model.vocab_size]

    def _run(
        self, tape: _native.Tape, layout: KvLayout, batch: Batch, logits: NDArray[np.float32]
    ) -> None:
        groups = [
            _native.KvArrays(batch.store.keys[g], batch.store.values[g], batch.page_tables(g))
            for g in range(len(layout.groups))
        ]
        tape.run(
            batch.ids,
            batch.positions,
            batch.sequences,
            batch.output_rows,
            groups,
            len(batch.views),
            logits,
            batch.num_experts_per_tok or 0,
        )

    def scratch_bytes(self, model: Model) -> int:
        """Bytes of activations that this model's forwards share."""
        return self._tape(model)[0].scratch_bytes

    def scratch_places(self, model: Model) -> list[tuple[int, int]]:
        """Address and bytes of each piece of it."""
        return self._tape(model)[0].scratch_places

    def _tape(self, model: Model) -> tuple[_native.Tape, KvLayout]:
        if model not in self._tapes:
            layout = KvLayout(model.attention_shapes)
            tape = _native.Tape(self.pool, self.kernels, MAX_ROWS)
            run_model(model, Recorder(tape, layout, self.exact))
            self._tapes[model] = tape, layout
        return self._tapes[model]


def choose_kernels() -> str:
    """Name of the instruction set to use; IngleError when INGLE_CPU names one that cannot run."""
    forced = env.forced_isa()
    if forced is None:
        return str(_native.best_instruction_set())
    runnable = [name for name, available, _ in _native.instruction_sets() if available]
    if forced not in runnable:
        raise IngleError(
            "INGLE_CPU",
            f"instruction set must be one of {', '.join(runnable)} on this CPU, but got {forced}",
            "unset INGLE_CPU to let ingle choose",
        )
    return forced
