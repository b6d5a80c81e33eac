"""Owns a model opened to be measured: its text as ids, its logits window by window.

It does not know what is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ingle import hub
from ingle.backends import make_backend
from ingle.errors import IngleError
from ingle.llm.source import Source
from ingle.models import load_model
from ingle.ops import Backend, Batch, KvLayout
from ingle.runtime.kv import KvPool, KvSequence, check_context
from ingle.tokenizer import Tokenizer

CHUNK_TOKENS = 512  # of one forward

Floats = NDArray[np.float32]


class Subject:
    """A model with room for windows of up to `context_tokens`, each from an empty context.

    name: as the person called it. kv_type: what keys and values are kept as; None: as the backend
    has it. Raises IngleError for what cannot be found, read or run.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        backend: Backend,
        context_tokens: int,
        kv_type: str | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.backend = backend
        self.context_tokens = context_tokens
        self.source = Source(path)
        self.tokenizer: Tokenizer = self.source.tokenizer()
        self.model = load_model(self.source.container, backend, context_tokens)
        self.source.container.release()
        check_context(context_tokens, self.model.max_position_embeddings)
        layout = KvLayout(self.model.attention_shapes)
        self.kv_type = kv_type or backend.kv_type
        self._pool = KvPool(layout, context_tokens, CHUNK_TOKENS, kv_type=self.kv_type)
        self._sequence = KvSequence(self._pool)

    @classmethod
    def open(
        cls,
        name: str,
        context_tokens: int,
        *,
        backend: str = "cpu",
        threads: int | None = None,
        exact: bool = False,
        emulate: str | None = None,
        kv_type: str | None = None,
    ) -> Self:
        """A model by path or known name. exact: activations stay float32 (cpu)."""
        made = make_backend(backend, threads, emulate, exact)
        return cls(name, hub.resolve(name), made, context_tokens, kv_type)

    @property
    def vocab_size(self) -> int:
        """Columns of the logits."""
        return self.model.vocab_size

    def ids(self, text: str) -> list[int]:
        """Ids of ordinary text, after the model's beginning token if it wants one."""
        ids = self.tokenizer.encode(text)
        return ids if self.beginning is None else [self.beginning, *ids]

    @property
    def beginning(self) -> int | None:
        """The token that every text begins with, if the model wants one."""
        return self.tokenizer.bos_id if self.tokenizer.add_bos else None

    def scan(self, ids: Sequence[int], rows: range) -> Iterator[tuple[range, Floats]]:
        """Logits after positions `rows` of a window, in pieces: (positions, (R, vocab_size)).

        Pieces lie within chunks of `CHUNK_TOKENS` positions, so two models give the same ones.
        """
        if len(ids) > self.context_tokens:
            rule = f"window must have at most {self.context_tokens} tokens, but got {len(ids)}"
            raise IngleError("context", rule)
        for start in range(0, min(len(ids), rows.stop), CHUNK_TOKENS):
            chunk = ids[start : start + CHUNK_TOKENS]
            piece = _overlap(rows, start, start + len(chunk))
            wanted = [position - start for position in piece]
            batch = Batch.chunk(chunk, start, self._pool, self._sequence, wanted)
            logits = self.backend.forward(self.model, batch)
            if piece:
                yield piece, logits

    def run(
        self, ids: Sequence[int], outputs: bool = False, num_experts_per_tok: int | None = None
    ) -> None:
        """A window for its effects on a backend that watches; outputs: also of its last matrix."""
        for start in range(0, len(ids), CHUNK_TOKENS):
            chunk = ids[start : start + CHUNK_TOKENS]
            rows = range(len(chunk)) if outputs else range(0)
            self.backend.forward(
                self.model,
                Batch.chunk(chunk, start, self._pool, self._sequence, rows, num_experts_per_tok),
            )

    def step(self, token_id: int, position: int) -> Floats:
        """Logits (vocab_size,) after one id at `position`, behind what ran before."""
        batch = Batch.chunk([token_id], position, self._pool, self._sequence, [0])
        logits: Floats = self.backend.forward(self.model, batch)[0]
        return logits


def pieces(rows: range) -> Iterator[range]:
    """The pieces that `Subject.scan` gives."""
    for start in range(0, rows.stop, CHUNK_TOKENS):
        piece = _overlap(rows, start, start + CHUNK_TOKENS)
        if piece:
            yield piece


def _overlap(rows: range, start: int, stop: int) -> range:
    """The part of `rows` inside [start, stop)."""
    low = max(rows.start, start)
    return range(low, max(min(rows.stop, stop), low))
