"""OpenAI's APIs over the real model, by OpenAI's own client."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
import uvicorn
from pydantic import BaseModel

from ingle import LLM
from ingle.serve.app import create_app
from ingle.serve.rack import Place, Rack

PROMPT = "The capital of France is Paris. The capital of Italy is Rome."
ASKED = "What is the capital of Italy? Answer in one word."


class Animal(BaseModel):
    name: str
    legs: int


@pytest.fixture(scope="module")
def llm(smollm2_path: Path) -> Iterator[LLM]:
    with LLM(smollm2_path, threads=2, context=1024, parallel=4) as model:
        yield model


@pytest.fixture(scope="module")
def client(llm: LLM) -> Iterator[openai.OpenAI]:
    app = create_app(Rack([Place("smollm2:135m", lambda: llm, llm)]))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
            yield made
        server.should_exit = True
        thread.join()


def test_a_chat_says_what_the_model_says(client: openai.OpenAI, llm: LLM) -> None:
    expected = llm.chat(ASKED, temperature=0, max_tokens=24)
    messages = [{"role": "user", "content": ASKED}]
    asked = {"model": "smollm2:135m", "messages": messages, "temperature": 0, "max_tokens": 24}
    said = client.chat.completions.create(**asked)  # type: ignore[call-overload]
    assert said.choices[0].message.content == expected.text and "Rome" in expected.text
    chunks = list(client.chat.completions.create(**asked, stream=True, logprobs=True))  # type: ignore[call-overload]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == expected.text
    tokens = [t for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert "".join(one.token for one in tokens) == expected.text
    assert all(one.logprob <= 0 for one in tokens)


def test_a_text_is_scored_as_its_logits_say(client: openai.OpenAI, llm: LLM) -> None:
    ids = llm.encode(PROMPT)
    logits = llm.logits(ids).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = [row[token] for row, token in zip(logits, ids[1:], strict=False)]
    for prompt in (PROMPT, ids):
        said = client.completions.create(
            model="smollm2:135m", prompt=prompt, echo=True, logprobs=1, max_tokens=1, temperature=0
        )
        found = said.choices[0].logprobs
        assert found is not None and found.token_logprobs is not None
        assert found.token_logprobs[1:-1] == pytest.approx(expected, abs=1e-6)
        assert "".join(found.tokens or []) == said.choices[0].text
        assert said.choices[0].text.startswith(PROMPT)


def test_a_schema_is_kept(client: openai.OpenAI) -> None:
    said = client.chat.completions.parse(
        model="smollm2:135m",
        messages=[{"role": "user", "content": "Tell me of a dog, as JSON."}],
        response_format=Animal,
        temperature=0,
        max_tokens=100,
    )
    assert isinstance(said.choices[0].message.parsed, Animal)


def test_a_response_goes_on(client: openai.OpenAI, llm: LLM) -> None:
    first = client.responses.create(
        model="smollm2:135m", input=ASKED, temperature=0, max_output_tokens=24
    )
    second = client.responses.create(
        model="smollm2:135m",
        input="And of France?",
        previous_response_id=first.id,
        temperature=0,
        max_output_tokens=24,
    )
    turns = [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "And of France?"},
    ]
    assert second.output_text == llm.chat(turns, temperature=0, max_tokens=24).text
    assert second.usage is not None
    assert second.usage.input_tokens_details.cached_tokens > 0


def test_a_model_without_tools_says_so(client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(
            model="smollm2:135m",
            messages=[{"role": "user", "content": "hi"}],
            tools=[tool],  # type: ignore[list-item]
        )
    assert told.value.param == "tools"


def test_a_seed_repeats(client: openai.OpenAI) -> None:
    def ask(seed: int) -> str:
        said = client.completions.create(
            model="smollm2:135m", prompt="A poem:", max_tokens=12, seed=seed, temperature=1
        )
        return said.choices[0].text

    assert ask(1) == ask(1) != ask(2)
    body = json.loads(client.models.with_raw_response.list().text)
    assert body["data"][0]["id"] == "smollm2:135m"
