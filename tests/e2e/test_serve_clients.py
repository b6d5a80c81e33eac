"""SmolLM2 behind a server: what Ollama's and Anthropic's clients get is what the model says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import ollama
import pytest

from ingle import LLM
from ingle.serve.app import create_app
from ingle.serve.rack import Place, Rack

NAME = "smollm2:135m"
QUESTION = "What is the capital of Italy? Answer in one word."
MESSAGES: Any = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def llm(smollm2_path: Path) -> Iterator[LLM]:
    with LLM(smollm2_path, threads=2, context=1024, parallel=2) as model:
        yield model


@pytest.fixture
def url(llm: LLM, serve: Any) -> str:
    class Lent:
        """The model, which a server that ends leaves open."""

        def __getattr__(self, name: str) -> Any:
            return getattr(llm, name)

        def close(self) -> None:
            pass

    lent: Any = Lent()
    found: str = serve(create_app(Rack([Place(NAME, lambda: lent, lent)])))
    return found


def test_ollamas_client(url: str, llm: LLM) -> None:
    expected = llm.chat(MESSAGES, temperature=0, max_tokens=24)
    options = {"temperature": 0, "num_predict": 24}
    with ollama.Client(host=url) as client:
        whole = client.chat(NAME, messages=MESSAGES, options=options)
        pieces = list(client.chat(NAME, messages=MESSAGES, options=options, stream=True))
        asked = client.generate(NAME, QUESTION, options=options)
        raw = client.generate(NAME, "The capital of France is", raw=True, options=options)
        shown = client.show(NAME)
    assert "Rome" in expected.text
    assert whole.message.content == asked.response == expected.text
    assert "".join(piece.message.content or "" for piece in pieces) == expected.text
    assert whole.eval_count == expected.usage.completion_tokens
    assert whole.prompt_eval_count == expected.usage.prompt_tokens
    assert raw.response is not None and raw.response.startswith(" Paris.")
    assert shown.capabilities == ["completion"]


def test_anthropics_client(url: str, llm: LLM) -> None:
    expected = llm.chat(MESSAGES, temperature=0, max_tokens=24)
    ask: Any = {"model": NAME, "max_tokens": 24, "messages": MESSAGES}
    ask["extra_body"] = {"temperature": 0}
    with anthropic.Anthropic(base_url=url, api_key="none") as client:
        whole = client.messages.create(**ask)
        with client.messages.stream(**ask) as stream:
            streamed = stream.get_final_message()
        counted = client.messages.count_tokens(model=NAME, messages=MESSAGES)
    assert [block.to_dict()["text"] for block in whole.content] == [expected.text]
    assert [block.to_dict()["text"] for block in streamed.content] == [expected.text]
    assert counted.input_tokens == expected.usage.prompt_tokens


def test_a_format_is_kept(url: str) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Paris"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    with ollama.Client(host=url) as client:
        said = client.chat(NAME, messages=MESSAGES, format=schema, options={"temperature": 0})
    assert json.loads(said.message.content or "")["city"] in ("Rome", "Paris")
