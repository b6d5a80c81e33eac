"""Owns the one batch type: prefill, chunk and decode are the same call with other lengths.

It declares what it needs of the KV cache (`KvStore`, `KvView`); the runtime implements them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ingle.ops.kv_type import KvArray


class KvStore(Protocol):
    """The pages of all sequences, one pair of arrays per `KvGroup`, of one type (`kv_type`)."""

    @property
    def keys(self) -> Sequence[KvArray]:
        """Per group (layers, pages, kv_heads, head_dim, 64)."""

    @property
    def values(self) -> Sequence[KvArray]:
        """Per group (layers, pages, kv_heads, 64, head_dim)."""


class KvView(Protocol):
    """One sequence's place in the store."""

    def page_table(self, group: int) -> NDArray[np.int32]:
        """Page of positions [64 p, 64 p + 64) at index p."""


@dataclass(frozen=True)
class Batch:
    """Tokens to run together, T rows of them.

    ids, positions, sequences: int32 (T,); `sequences` indexes `views`.
    output_rows: int32 (R,), ascending, the rows whose logits are wanted.
    """

    ids: NDArray[np.int32]
    positions: NDArray[np.int32]
    sequences: NDArray[np.int32]
    output_rows: NDArray[np.int32]
    store: KvStore
    views: Sequence[KvView]
    num_experts_per_tok: int | None = None  # None: as many as the model says

    @classmethod
    def chunk(
        cls,
        ids: Sequence[int],
        start: int,
        store: KvStore,
        view: KvView,
        output_rows: Sequence[int],
        num_experts_per_tok: int | None = None,
    ) -> Batch:
        """Consecutive tokens of one sequence, the first at absolute position `start`."""
        count = len(ids)
        return cls(
            np.asarray(ids, np.int32),
            np.arange(start, start + count, dtype=np.int32),
            np.zeros(count, np.int32),
            np.asarray(output_rows, np.int32),
            store,
            (view,),
            num_experts_per_tok,
        )

    def parts(self, max_rows: int) -> Iterator[Batch]:
        """The batch cut into runs of at most `max_rows` tokens, in order."""
        if len(self.ids) <= max_rows:
            yield self
            return
        for start in range(0, len(self.ids), max_rows):
            rows = slice(start, start + max_rows)
            wanted = self.output_rows[
                (self.output_rows >= start) & (self.output_rows < start + max_rows)
            ]
            yield replace(
                self,
                ids=self.ids[rows],
                positions=self.positions[rows],
                sequences=self.sequences[rows],
                output_rows=(wanted - start).astype(np.int32),
            )

    def page_tables(self, group: int) -> NDArray[np.int32]:
        """int32 (sequences, pages), short tables filled with page 0."""
        tables = [view.page_table(group) for view in self.views]
        width = max(len(table) for table in tables)
        out = np.zeros((len(tables), width), np.int32)
        for row, table in zip(out, tables, strict=True):
            row[: len(table)] = table
        return out
