"""A gpt-oss that follows a script, many conversations at a time, for servers to be tested with.

All is real but the weights: prompts are rendered, batches scheduled, prefixes reused, tokens drawn
under their constraint and parsed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingle.llm.prompt import turn_ids
from ingle.ops import PAGE_TOKENS, Batch
from ingle.runtime import Engine
from ingle.tokenizer import o200k_harmony

sys.path.insert(0, str(Path(__file__).parents[1] / "harmony"))
from scripted_harmony import FAVOUR, ScriptedLLM, ScriptedModel

_DIGITS = 3  # of an id, to base 256: few enough for any kind of float that keys are stored as
encode = o200k_harmony().encode_with_specials
START, END, MESSAGE = (encode(mark)[0] for mark in ("<|start|>", "<|end|>", "<|message|>"))

Reply = Callable[[str, str], str]
"""What is said to a prompt's last message that is not the assistant's, and to the whole prompt."""


class HarmonyBackend:
    """Logits that favour the next id of a reply. What was said it reads out of the pages."""

    name = "scripted"
    kernels = "scripted"
    kv_type = "f32"

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.engine: Engine | None = None
        self.gate: threading.Event | None = None  # steps wait for it
        self.steps = 0
        self.prompts: list[str] = []  # that were answered, in order
        self._replies: dict[tuple[int, ...], list[int]] = {}

    def forward(self, model: Any, batch: Batch) -> NDArray[np.float32]:
        self.steps += 1
        if self.gate is not None:
            assert self.gate.wait(60)
        keys = batch.store.keys[0]
        for row, position in enumerate(batch.positions):
            page = self._table(batch, row)[position // PAGE_TOKENS]
            for digit in range(_DIGITS):
                value = int(batch.ids[row]) >> 8 * digit & 255
                keys[0, page, 0, digit, position % PAGE_TOKENS] = value
        logits = np.zeros((len(batch.output_rows), model.vocab_size), np.float32)
        for out, row in enumerate(batch.output_rows):
            last = int(batch.positions[row])
            pages = keys[0, self._table(batch, row)[: last // PAGE_TOKENS + 1], 0]
            digits = np.concatenate(list(pages[:, :_DIGITS].astype(int)), axis=1)[:, : last + 1]
            ids = (digits * [[1], [256], [65536]]).sum(axis=0).tolist()
            logits[out, self._next(ids)] = FAVOUR
        return logits

    def _table(self, batch: Batch, row: int) -> NDArray[np.int32]:
        return batch.views[batch.sequences[row]].page_table(0)

    def _next(self, ids: list[int]) -> int:
        assistant = encode("assistant")
        starts = [i for i, token in enumerate(ids) if token == START]
        others = [i for i in starts if ids[i + 1 : i + 2] not in (assistant, [])]
        begins = ids.index(END, others[-1]) + 3  # <|end|><|start|>assistant
        said = self._said(ids, begins)
        prompt = tuple(ids[: len(ids) - len(said)])
        if not said:
            text = o200k_harmony().decode(prompt)
            asked = text.rpartition("<|end|>")[0].rpartition("<|message|>")[2]
            self.prompts.append(text)
            self._replies[prompt] = encode(self.reply(asked, text))
        script = self._replies[prompt]
        return script[len(said)] if len(said) < len(script) else encode("<|return|>")[0]

    def _said(self, ids: list[int], begins: int) -> list[int]:
        """What was said of the reply: the longest beginning of one that is known."""
        for start in range(begins, len(ids) + 1):
            known = self._replies.get(tuple(ids[:start]))
            if known is not None and known[: len(ids) - start] == ids[start:]:
                return ids[start:]
        return []


class ServedHarmony(ScriptedLLM):
    """An LLM without a file, for a rack."""

    system = None

    def __init__(self, replies: Mapping[str, str] | Reply, context: int = 8192) -> None:
        super().__init__(replies=["unused"])
        reply = replies if callable(replies) else lambda asked, _: replies[asked]
        self.script = HarmonyBackend(reply)
        self.backend = self.script  # type: ignore[assignment]
        self.engine = Engine(ScriptedModel(), self.script, context, 4)  # type: ignore[arg-type]
        self.engine.turn_ids = turn_ids(self.tokenizer)
