"""OpenAI's completions, and text as ids and back, over a scripted model."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

Script = Any
Ask = Callable[..., Any]

# What the scripted model answers: its prompts are turns of a chat.
PROMPT = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
PROMPT_BYTES = len("user\nhello\nassistant\n") + 3
ANSWER = "You said: hello"


def post(ask: Ask, path: str, body: dict[str, Any]) -> httpx.Response:
    async def run() -> httpx.Response:
        async with ask() as http:
            answer: httpx.Response = await http.post(path, json={"model": "scripted", **body})
        return answer

    return asyncio.run(run())


def complete(ask: Ask, prompt: Any = PROMPT, **more: Any) -> Any:
    answer = post(ask, "/v1/completions", {"prompt": prompt, "temperature": 0, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(ask: Ask, **more: Any) -> list[Any]:
    answer = post(ask, "/v1/completions", {"prompt": PROMPT, "stream": True, **more})
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_text_is_continued(ask: Ask) -> None:
    said = complete(ask, max_tokens=100)
    (choice,) = said["choices"]
    assert (choice["text"], choice["finish_reason"]) == (ANSWER, "stop")
    assert said["object"] == "text_completion" and choice["logprobs"] is None
    assert said["usage"]["prompt_tokens"] == PROMPT_BYTES
    assert complete(ask)["choices"][0]["text"] == ANSWER  # 16 tokens, as is usual
    assert complete(ask, max_tokens=3)["choices"][0] == {
        "text": "You", "index": 0, "logprobs": None, "finish_reason": "length",
    }  # fmt: skip


def test_ids_and_lists_are_prompts_too(ask: Ask, script: Script) -> None:
    ids = script.llm.encode(PROMPT, with_specials=True)
    assert complete(ask, ids)["choices"][0]["text"] == ANSWER
    many = complete(ask, [ids, ids], n=2)
    assert [one["index"] for one in many["choices"]] == [0, 1, 2, 3]
    assert {one["text"] for one in many["choices"]} == {ANSWER}
    assert many["usage"]["prompt_tokens"] == 2 * PROMPT_BYTES
    assert len(complete(ask, [PROMPT] * 3)["choices"]) == 3


def test_a_prompt_is_echoed_with_its_scores(ask: Ask, script: Script) -> None:
    (choice,) = complete(ask, echo=True, logprobs=1, max_tokens=1)["choices"]
    found, size = choice["logprobs"], PROMPT_BYTES + 1
    assert choice["text"] == PROMPT + "Y"
    assert {name: len(row) for name, row in found.items()} == dict.fromkeys(found, size)
    assert "".join(found["tokens"]) == choice["text"]
    assert found["token_logprobs"][0] is None and found["top_logprobs"][0] is None
    assert all(isinstance(one, float) for one in found["token_logprobs"][1:])
    likeliest, own = found["top_logprobs"][1:], found["tokens"][1:]
    assert all(token in one and len(one) <= 2 for one, token in zip(likeliest, own, strict=True))
    assert {len(one) for one in likeliest} == {1, 2}  # some tokens are not the likeliest
    places = zip(found["tokens"], found["text_offset"], strict=True)
    assert all(choice["text"][at:].startswith(token) for token, at in places)
    (bare,) = complete(ask, echo=True, logprobs=1, max_tokens=0)["choices"]
    assert bare["text"] == PROMPT and bare["finish_reason"] == "length"
    assert bare["logprobs"]["token_logprobs"] == found["token_logprobs"][:-1]
    (end,) = complete(ask, echo=True, logprobs=0, max_tokens=100)["choices"]
    assert end["logprobs"]["tokens"][-1] == "<|im_end|>"  # scored, though it is no text
    assert end["text"] == PROMPT + ANSWER


def test_a_stream_says_the_same(ask: Ask) -> None:
    more = {"echo": True, "logprobs": 2, "max_tokens": 100, "temperature": 0, "n": 2}
    whole = complete(ask, **more)
    chunks = events(ask, **more, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    for index in range(2):
        mine = [c["choices"][0] for c in chunks[:-1] if c["choices"][0]["index"] == index]
        assert "".join(one["text"] for one in mine) == whole["choices"][index]["text"]
        assert [one["finish_reason"] for one in mine if one["finish_reason"]] == ["stop"]
        joined = {
            name: [x for one in mine for x in one["logprobs"][name]] for name in mine[0]["logprobs"]
        }
        assert joined == whole["choices"][index]["logprobs"]


def test_stops_biases_and_the_best(ask: Ask) -> None:
    stopped = complete(ask, stop=" said", logprobs=0, max_tokens=50)["choices"][0]
    assert (stopped["text"], stopped["finish_reason"]) == ("You", "stop")
    assert stopped["logprobs"]["tokens"] == ["Y", "o", "u"]
    assert complete(ask, logit_bias={"65": 100}, max_tokens=2)["choices"][0]["text"] != ANSWER[:2]
    best = complete(ask, best_of=3, max_tokens=100)
    assert len(best["choices"]) == 1
    assert best["usage"]["completion_tokens"] == 3 * (len(ANSWER) + 1)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": True}, "prompt"),
    ({"prompt": {"a": 1}}, "prompt"),
    ({"prompt": [1, "a"]}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [1 << 40]}, "prompt"),
    ({"prompt": "x" * 1000}, "prompt"),
    ({"prompt": ["a"] * 2000}, "prompt"),
    ({"prompt": "a", "suffix": "b"}, "suffix"),
    ({"prompt": "a", "n": 3, "best_of": 2}, "best_of"),
    ({"prompt": "a", "best_of": 2, "stream": True}, "best_of"),
    ({"prompt": "a", "logprobs": 21}, "logprobs"),
    ({"prompt": "a", "logprobs": 21, "echo": True}, "logprobs"),
    ({"prompt": "a", "max_tokens": -2}, "max_tokens"),
    ({"prompt": "a", "temperature": "hot"}, "temperature"),
    ({"prompt": "a", "guided_regex": "x"}, "guided_regex"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG)
def test_what_is_wrong_is_named(ask: Ask, wrong: dict[str, Any], field: str) -> None:
    answer = post(ask, "/v1/completions", wrong)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == field


@pytest.mark.parametrize("prompt", ["", ["a", ""], [[]]])
def test_an_empty_prompt_is_not_too_long(ask: Ask, prompt: Any) -> None:
    told = post(ask, "/v1/completions", {"prompt": prompt}).json()["error"]
    assert told["code"] is None and "shorten" not in told["message"]
    assert "token to go on from" in told["message"]


def test_an_empty_prompt_is_the_beginning_token(
    ask: Ask, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = script.llm.tokenizer.special_tokens["<|im_start|>"]
    assert not script.llm.tokenizer.add_bos
    monkeypatch.setattr(script.llm.tokenizer, "bos_id", start)
    said = complete(ask, "", max_tokens=2, echo=True, logprobs=0)
    assert said["usage"]["prompt_tokens"] == 1
    assert said["choices"][0]["logprobs"]["text_offset"][:1] in ([0], [])


def test_a_prompt_that_is_scored_can_be_cancelled(ask: Ask, script: Script) -> None:
    script.gate = threading.Event()

    async def run() -> None:
        async with ask() as http:
            body = {"prompt": [PROMPT] * 40, "echo": True, "logprobs": 1, "max_tokens": 0}
            asked = asyncio.create_task(http.post("/v1/completions", json=body))
            while script.steps == 0:
                await asyncio.sleep(0.01)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            script.gate.set()
            scheduler = script.llm.engine.scheduler
            while scheduler.running or len(scheduler.line):
                await asyncio.sleep(0.01)

    asyncio.run(run())
    assert script.steps < 40


def test_text_as_ids_and_back(ask: Ask, script: Script) -> None:
    llamacpp = post(ask, "/tokenize", {"content": "grüße<|im_end|>"}).json()
    assert llamacpp["tokens"] == script.llm.encode("grüße<|im_end|>", with_specials=True)
    plain = post(ask, "/tokenize", {"content": "<|im_end|>", "parse_special": False}).json()
    assert plain["count"] == len("<|im_end|>")
    pieces = post(ask, "/tokenize", {"content": "ab", "with_pieces": True}).json()["tokens"]
    assert [one["piece"] for one in pieces] == ["a", "b"]
    vllm = post(ask, "/tokenize", {"prompt": "ab", "return_token_strs": True}).json()
    assert vllm["token_strs"] == ["a", "b"] and vllm["max_model_len"] == 256
    chat = {"messages": [{"role": "user", "content": "hello"}]}
    ids = post(ask, "/tokenize", chat).json()["tokens"]
    back = post(ask, "/detokenize", {"tokens": ids}).json()
    assert back == {"content": PROMPT, "prompt": PROMPT}
    for path, wrong in (
        ("/tokenize", {}),
        ("/tokenize", {"content": "a", "prompt": "b"}),
        ("/tokenize", {"prompt": 5}),
        ("/detokenize", {"tokens": [1 << 40]}),
        ("/detokenize", {"tokens": ["a"]}),
    ):
        assert post(ask, path, wrong).status_code == 400


def test_a_harness_learns_of_the_tokenizer(ask: Ask, script: Script) -> None:
    async def run() -> Any:
        async with ask() as http:
            return (await http.get("/tokenizer_info")).json()

    told = asyncio.run(run())
    assert told["eos_token"] == "<|im_end|>" and told["model_max_length"] == 256
    assert told["chat_template"] == script.llm.chat_template
