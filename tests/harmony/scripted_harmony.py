"""`ingle` with a gpt-oss that follows a script: ``python scripted_harmony.py run "a prompt"``.

All is real but the weights: prompts are rendered, batches scheduled, tokens drawn under their
constraint and parsed; the logits favour the next id of the script, a JSON list of replies in the
file named by SCRIPTED_HARMONY, in Harmony's text with its marks.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

import ingle.llm
from ingle.cli.main import main
from ingle.llm.named import Named
from ingle.ops import AttentionShape, Batch
from ingle.runtime import Engine
from ingle.tokenizer import o200k_harmony

FAVOUR = 60.0  # nats: one draw in 10^20 is another
_TURN = o200k_harmony().encode_with_specials("<|start|>assistant")


class ScriptedModel:
    """As large as gpt-oss in its vocabulary, and in nothing else."""

    vocab_size = 201_088
    num_hidden_layers = 1
    max_position_embeddings = 131_072
    attention_shapes = (AttentionShape(0, 1, 1, 8),)
    num_local_experts = 32


class ScriptedBackend:
    """Logits by a script. A prompt that ends where an assistant's turn begins is the next reply's.

    It remembers the ids at each position, as keys and values do.
    """

    name = "scripted"
    kernels = "scripted"
    kv_type = "f32"

    def __init__(self, replies: Sequence[Sequence[int]]) -> None:
        self.replies, self.reply, self.begins = replies, -1, 0
        self.seen: list[int] = []
        self.begun_anew = False  # what stood before the reply at hand was written over
        self.prompts: list[list[int]] = []

    def forward(self, model: Any, batch: Batch) -> NDArray[np.float32]:
        logits = np.zeros((len(batch.output_rows), model.vocab_size), np.float32)
        start = int(batch.positions[0])
        self.begun_anew |= start < self.begins
        self.seen[start:] = batch.ids.tolist()
        if len(logits):
            logits[-1, self._next()] = FAVOUR
        return logits

    def _next(self) -> int:
        said = self.seen[self.begins :]
        script = self.replies[self.reply] if self.reply >= 0 else []
        goes_on = list(script[: len(said)]) == said and len(said) < len(script)
        if self.reply < 0 or self.begun_anew or not goes_on:
            assert self.seen[-len(_TURN) :] == _TURN, "the script was left"
            self.begun_anew = False
            self.reply, self.begins = self.reply + 1, len(self.seen)
            self.prompts.append(list(self.seen))
            return self.replies[self.reply][0]
        return script[len(said)]


class ScriptedLLM(ingle.llm.LLM):
    """An LLM without a file."""

    def __init__(self, model: str | Path = "", **settings: Any) -> None:
        replies = settings.pop("replies", None) or json.loads(
            Path(os.environ["SCRIPTED_HARMONY"]).read_text()
        )
        self.path = Path(model)
        self.tokenizer = o200k_harmony()
        self.backend = ScriptedBackend([self.tokenizer.encode_with_specials(r) for r in replies])
        self.engine = Engine(ScriptedModel(), self.backend, settings.get("context") or 4096)
        self.load_s = 0.0
        self._prefixes = None
        self._meter = None
        self._named = Named(None, None, None, None, {}, {})
        self._given_template = None
        self._running = WeakSet()
        self._source = SimpleNamespace(
            recommended={},
            facts=SimpleNamespace(architecture="gpt_oss"),
            chat_template=lambda: None,
            container=SimpleNamespace(metadata={}),
        )


if __name__ == "__main__":
    ingle.llm.LLM = ScriptedLLM  # type: ignore[misc]
    sys.modules["ingle.llm"] = ingle.llm
    main()
