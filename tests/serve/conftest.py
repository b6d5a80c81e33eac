"""A server over a true engine whose model follows a script, spoken to through ASGI."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from ingle import LLM
from ingle.ops import PAGE_TOKENS, Batch
from ingle.serve.app import create_app
from ingle.serve.rack import Place, Rack

TINY = Path(__file__).parent.parent / "golden" / "tiny_gpt_oss" / "hf"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OPENING = "assistant\n"


@dataclass
class Script:
    """Plays replies: token ids by the text of the last message, else "You said: " and that text.

    It takes the place of a backend's forward. What was said so far it reads out of the pages, so
    a reply is right only if the engine's pages are.
    """

    llm: LLM
    replies: dict[str, Sequence[int]] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)  # sequences in each
    gate: threading.Event | None = None  # steps wait for it
    steps: int = 0

    def forward(self, model: Any, batch: Batch) -> np.ndarray:
        self.steps += 1
        self.batches.append(len(batch.views))
        if self.gate is not None:
            assert self.gate.wait(60)
        keys = batch.store.keys[self._full]
        for row, position in enumerate(batch.positions):
            table = batch.views[batch.sequences[row]].page_table(self._full)
            keys[0, table[position // PAGE_TOKENS], 0, 0, position % PAGE_TOKENS] = batch.ids[row]
        logits = np.zeros((len(batch.output_rows), model.vocab_size), np.float32)
        for out, row in enumerate(batch.output_rows):
            table = batch.views[batch.sequences[row]].page_table(self._full)
            last = int(batch.positions[row])
            pages = keys[0, table[: last // PAGE_TOKENS + 1], 0, 0].reshape(-1)
            logits[out, self._next(pages[: last + 1].astype(int).tolist())] = 100
        return logits

    @property
    def _full(self) -> int:
        groups = self.llm.engine.store.layout.groups
        return next(i for i, group in enumerate(groups) if not group.window)

    def _next(self, ids: list[int]) -> int:
        (start,) = [self.llm.tokenizer.special_tokens["<|im_start|>"]]
        (end,) = [self.llm.tokenizer.special_tokens["<|im_end|>"]]
        turns = [i for i, token in enumerate(ids) if token == start]
        if len(turns) < 2:  # a prompt whose own tokens are scored
            return end
        asked = self.llm.tokenizer.decode(ids[turns[-2] + 1 : turns[-1] - 2])
        text = asked.partition("\n")[2]
        reply = self.replies.get(text) or self.llm.tokenizer.encode(f"You said: {text}")
        said = len(ids) - turns[-1] - 1 - len(self.llm.tokenizer.encode(OPENING))
        return reply[said] if 0 <= said < len(reply) else end


@pytest.fixture(scope="session")
def scripted_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose tokens are the 256 bytes and ChatML's two."""
    path = tmp_path_factory.mktemp("models") / "scripted"
    shutil.copytree(TINY, path)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True) for text in ("<|im_start|>", "<|im_end|>")]
    made.add_special_tokens(special)
    made.save(str(path / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>", "chat_template": TEMPLATE}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


@pytest.fixture
def script(scripted_folder: Path) -> Iterator[Script]:
    """The script of the model that `client` talks to."""
    with LLM(scripted_folder, threads=1, context=256, parallel=4) as llm:
        made = Script(llm)
        llm.engine.backend.forward = made.forward  # type: ignore[method-assign, assignment]
        yield made


@pytest.fixture
def app(script: Script) -> Any:
    """The application over the scripted model, which is called "scripted"."""
    return create_app(Rack([Place("scripted", lambda: script.llm, script.llm)]))


Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(app: Any) -> Iterator[Callable[..., Any]]:
    """An httpx client of the application: ``async with ask() as http``."""

    def make() -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app)
        return httpx.AsyncClient(transport=transport, base_url="http://ingle", timeout=60)

    yield make
