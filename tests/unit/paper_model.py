"""A model on paper: its answers depend on every key that it can see, and on nothing else.

The backend writes each token's id into the pages, reads what is visible back out of them, and the
next token follows from that. A page that is lost, stale or shared by mistake changes the answer.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ingle.ops import PAGE_TOKENS, AttentionShape, Batch, KvLayout

VOCAB = 97


def paper_model(windows: Sequence[int] = (0, 100), context: int = 512) -> Any:
    """Layers with the given windows (0: full attention)."""
    return SimpleNamespace(
        vocab_size=VOCAB,
        max_position_embeddings=context,
        attention_shapes=[AttentionShape(i, 1, 1, 1, window) for i, window in enumerate(windows)],
        config=SimpleNamespace(num_local_experts=8),
    )


def next_token(windows: Sequence[int], ids: Sequence[int], experts: int | None = None) -> int:
    """What must follow `ids`."""
    seen = [tuple(ids[-window:] if window else ids) for window in sorted(set(windows))]
    return zlib.crc32(repr((seen, experts)).encode()) % VOCAB


def answer(
    windows: Sequence[int], ids: Sequence[int], count: int, experts: int | None = None
) -> list[int]:
    """The `count` tokens that must follow `ids`."""
    said = list(ids)
    for _ in range(count):
        said.append(next_token(windows, said, experts))
    return said[len(ids) :]


class PaperBackend:
    """Keeps the sizes of its batches."""

    name = kernels = "paper"
    kv_type = "f16"

    def __init__(self) -> None:
        self.batches: list[list[int]] = []  # tokens of each sequence of a batch

    def forward(self, model: Any, batch: Batch) -> np.ndarray:
        counts = np.bincount(batch.sequences, minlength=len(batch.views)).tolist()
        self.batches.append(counts)
        layout = KvLayout(model.attention_shapes)
        for g in range(len(layout.groups)):
            for row, position in enumerate(batch.positions):
                page = batch.views[batch.sequences[row]].page_table(g)[position // PAGE_TOKENS]
                batch.store.keys[g][:, page, :, :, position % PAGE_TOKENS] = batch.ids[row] + 1
                batch.store.values[g][:, page, :, position % PAGE_TOKENS] = batch.ids[row] + 1
        logits = np.zeros((len(batch.output_rows), VOCAB), np.float32)
        for out, row in enumerate(batch.output_rows):
            view, position = batch.views[batch.sequences[row]], int(batch.positions[row])
            seen = [
                (g.window, _read(batch, i, view.page_table(i), g.window, position))
                for i, g in enumerate(layout.groups)
            ]
            ids = [tuple(tokens) for _, tokens in sorted(seen)]
            token = zlib.crc32(repr((ids, batch.num_experts_per_tok)).encode()) % VOCAB
            logits[out, token] = 1
        return logits


def _read(batch: Batch, group: int, table: Any, window: int, last: int) -> list[int]:
    """The tokens whose keys a token at `last` sees; keys and values must agree."""
    first = max(0, last - window + 1) if window else 0
    tokens = []
    for position in range(first, last + 1):
        page, slot = table[position // PAGE_TOKENS], position % PAGE_TOKENS
        key = batch.store.keys[group][0, page, 0, 0, slot]
        assert key == batch.store.values[group][0, page, 0, slot, 0]
        tokens.append(int(key) - 1)
    return tokens
