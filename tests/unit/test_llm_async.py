"""Answers awaited, answers in one batch, answers that take turns: each as it would be alone."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ingle import LLM
from ingle.errors import IngleError
from ingle.llm import AsyncStream, Completion
from ingle.runtime import Terms

GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 6}
TINY = Path(__file__).parent.parent / "golden" / "tiny_gpt_oss" / "hf"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
PROMPTS = ["Hello", "Hello there", "Something else entirely"]


def write_model(path: Path) -> Path:
    """A tiny gpt-oss whose tokens are the 256 bytes."""
    shutil.copytree(TINY, path)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return path


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder = write_model(tmp_path_factory.mktemp("models") / "tiny-gpt-oss")
    with LLM(folder, threads=1, context=128) as model:
        yield model


@pytest.fixture(scope="module")
def alone(llm: LLM) -> list[Completion]:
    return [llm.generate(prompt, **GREEDY) for prompt in PROMPTS]


def same(found: Completion, expected: Completion) -> bool:
    return (found.text, found.token_ids) == (expected.text, expected.token_ids)


def test_a_batch_is_answered_in_order(llm: LLM, alone: list[Completion]) -> None:
    found = llm.generate(PROMPTS, **GREEDY)
    assert all(map(same, found, alone)) and len(found) == len(PROMPTS)
    assert all(map(same, llm.generate(tuple(PROMPTS), **GREEDY), alone))
    assert llm.generate([], **GREEDY) == []


def test_every_prompt_of_a_batch_is_checked_before_any_is_answered(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwards: list[Any] = []
    monkeypatch.setattr(llm.engine.backend, "forward", lambda *of: forwards.append(of))
    for wrong in (5, "", "long " * 100):
        with pytest.raises(IngleError, match=r"^\[prompt\] "):
            llm.generate(["Hello", wrong], **GREEDY)  # type: ignore[list-item]
    assert forwards == []


def test_a_batch_cannot_be_streamed(llm: LLM) -> None:
    with pytest.raises(IngleError, match=r"^\[stream\] one prompt"):
        llm.generate(PROMPTS, stream=True)  # type: ignore[call-overload]


def test_streams_that_take_turns_do_not_disturb_each_other(
    llm: LLM, alone: list[Completion]
) -> None:
    streams = [llm.generate(prompt, stream=True, **GREEDY) for prompt in PROMPTS]
    running = list(streams)
    while running:
        running = [stream for stream in running if next(stream, None) is not None]
    assert all(same(stream.completion, one) for stream, one in zip(streams, alone, strict=True))


def test_threads_may_ask_at_once(llm: LLM, alone: list[Completion]) -> None:
    found: dict[int, Completion] = {}

    def ask(place: int) -> None:
        found[place] = llm.generate(PROMPTS[place], **GREEDY)

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(PROMPTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(found[place], one) for place, one in enumerate(alone))


def test_awaited_answers_are_the_same(llm: LLM, alone: list[Completion]) -> None:
    async def ask() -> list[Completion]:
        return await asyncio.gather(*(llm.agenerate(prompt, **GREEDY) for prompt in PROMPTS))

    assert all(map(same, asyncio.run(ask()), alone))
    assert all(map(same, asyncio.run(llm.agenerate(PROMPTS, **GREEDY)), alone))
    chatted = asyncio.run(llm.achat("Hello", **GREEDY))
    assert same(chatted, llm.chat("Hello", **GREEDY))


def test_an_awaited_stream_gives_its_pieces(llm: LLM, alone: list[Completion]) -> None:
    async def ask() -> tuple[str, Completion]:
        stream = await llm.agenerate(PROMPTS[0], stream=True, **GREEDY)
        assert isinstance(stream, AsyncStream)
        pieces = [piece async for piece in stream]
        assert [piece async for piece in stream] == []
        return "".join(pieces), stream.completion

    text, completion = asyncio.run(ask())
    assert text == completion.text and same(completion, alone[0])


def test_the_event_loop_stays_free(llm: LLM) -> None:
    async def ask() -> int:
        task = asyncio.create_task(llm.agenerate("Hello", temperature=0, max_tokens=100))
        turns = 0
        while not task.done():
            turns += 1
            await asyncio.sleep(0)
        return turns

    assert asyncio.run(ask()) > 1


class Gate:
    """Lets the model compute a few steps, and then waits until it is opened."""

    def __init__(self, llm: LLM, monkeypatch: pytest.MonkeyPatch, steps: int = 3) -> None:
        self.entered, self._open, self.count = threading.Event(), threading.Event(), 0
        forward = llm.engine.backend.forward

        def gated(*args: Any) -> Any:
            self.count += 1
            if self.count > steps:
                self.entered.set()
                assert self._open.wait(60)
            return forward(*args)

        monkeypatch.setattr(llm.engine.backend, "forward", gated)

    def open(self) -> None:
        self._open.set()


def test_a_stream_left_early_is_cancelled(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(llm, monkeypatch)

    async def ask() -> tuple[Completion, Completion]:
        bias = {122: 100}  # a letter, so that each token is a piece
        stream = await llm.agenerate("Left", stream=True, temperature=0, logit_bias=bias)
        async with stream:
            async for _ in stream:
                break
            await asyncio.to_thread(gate.entered.wait, 60)
            stream.cancel()
            gate.open()
        return stream.completion, await llm.agenerate("Hello", **GREEDY)

    left, after = asyncio.run(ask())
    assert left.finish_reason == "cancelled" and 1 <= len(left.token_ids) <= 4
    assert after.finish_reason == "length"


def test_a_cancelled_task_ends_its_generation(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(llm, monkeypatch)

    async def ask() -> str:
        task = asyncio.create_task(llm.agenerate("Cancelled", temperature=0))
        await asyncio.to_thread(gate.entered.wait, 60)
        task.cancel()
        await asyncio.sleep(0)  # the task hears of it before the model goes on
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.count <= 5
        return (await llm.agenerate("Hello", **GREEDY)).finish_reason

    assert asyncio.run(ask()) == "length"


def test_what_fails_in_the_worker_is_raised_to_who_awaits(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError("no more")

    monkeypatch.setattr(llm.engine.backend, "forward", fail)
    with pytest.raises(MemoryError, match="no more"):
        asyncio.run(llm.agenerate("Something not cached", **GREEDY))


def test_mistakes_are_told_at_once(llm: LLM) -> None:
    with pytest.raises(IngleError, match=r"^\[temperature\] "):
        asyncio.run(llm.achat("Hello", temperature=-1))


def test_a_model_closes_with_an_answer_on_its_way(tmp_path: Path) -> None:
    async def ask() -> None:
        with LLM(write_model(tmp_path / "tiny-gpt-oss"), threads=1, context=64) as model:
            stream = await model.agenerate("Hello", stream=True, temperature=0)
            stream.cancel()

    asyncio.run(ask())


def test_a_prompt_is_scored_as_its_logits_say(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one step or in many, alone or beside others; an answer may follow."""
    ids = [(7 * i * i + 3) % 256 for i in range(40)]
    logits = llm.logits(ids).astype(np.float64)
    expected = logits - logits.max(axis=1, keepdims=True)
    expected -= np.log(np.exp(expected).sum(axis=1, keepdims=True))
    plain = llm.generate(llm.decode(ids[:3]), **GREEDY)

    async def ask(count: int) -> list[Completion]:
        options = {"temperature": 0, "max_tokens": count, "prompt_logprobs": 3}
        streams = [llm.awaited_continuation(ids, options, Terms(buffer=64)) for _ in range(2)]
        streams.append(llm.awaited_continuation(llm.decode(ids[:3]), GREEDY, Terms(buffer=64)))
        return [await stream.whole() for stream in streams]

    for most_bytes, count in ((1 << 20, 0), (4 * llm.engine.model.vocab_size * 7, 2)):
        monkeypatch.setattr("ingle.runtime.task._SCORED_BYTES", most_bytes)
        *scored, other = asyncio.run(ask(count))
        assert same(other, plain)
        for one in scored:
            assert one.usage.completion_tokens == len(one.token_ids) == count
            assert one.prompt_logprobs is not None and one.finish_reason == "length"
            assert [found.token_id for found in one.prompt_logprobs] == ids[1:]
            for row, found in zip(expected, one.prompt_logprobs, strict=False):
                assert found.logprob == pytest.approx(row[found.token_id], abs=1e-6)
                best = np.argsort(-row, kind="stable")[:3].tolist()
                assert [alternative.token_id for alternative in found.top] == best


def test_scoring_alone_needs_to_be_asked_for(llm: LLM) -> None:
    with pytest.raises(IngleError, match="max_tokens must be 1 or more, but got 0"):
        llm.generate("a", max_tokens=0)
    with pytest.raises(IngleError, match="prompt_logprobs must be"):
        llm.generate("a", prompt_logprobs=21)
    (one,) = llm.generate([[5]], max_tokens=0, prompt_logprobs=0)
    assert one.prompt_logprobs == () and one.text == ""


def test_prompts_are_counted_and_texts_are_ids(llm: LLM) -> None:
    turns = [{"role": "user", "content": "x" * 500}]
    assert llm.count_prompt(turns, {}) == len("user: \n") + 500  # more than the context holds
    assert llm.decode(llm.encode("grüße")) == "grüße"
