"""SmolLM2 held to formats at temperature 1: whatever it says is valid, or was cut and says so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ingle import LLM
from ingle.chat.tools import Tool
from ingle.errors import UnsupportedError

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "color": {"enum": ["red", "green", "blue"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 99},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 4},
    },
    "required": ["color", "count", "tags"],
    "additionalProperties": False,
}
ASK = "Describe a bird as JSON."


@pytest.fixture(scope="module")
def llm(smollm2_path: Path) -> Iterator[LLM]:
    with LLM(smollm2_path, context=512) as opened:
        yield opened


def test_a_bounded_schema_is_followed_at_temperature_one(llm: LLM) -> None:
    for seed in range(12):
        done = llm.chat(ASK, format=SCHEMA, temperature=1.0, seed=seed)
        jsonschema.validate(json.loads(done.text), SCHEMA)
        assert done.finish_reason == "stop"
        assert done.constraint_cost is not None and done.constraint_cost.masks > 0


def test_one_that_runs_into_max_tokens_says_so(llm: LLM) -> None:
    done = llm.chat(ASK, format=SCHEMA, temperature=1.0, seed=1, max_tokens=6)
    assert done.finish_reason == "length"
    assert done.usage.completion_tokens == 6
    with pytest.raises(ValueError):
        json.loads(done.text)


def test_log_probabilities_do_not_change_what_is_said(llm: LLM) -> None:
    """With them nothing is fed ahead: forced tokens are drawn one by one."""
    told = llm.chat(ASK, format=SCHEMA, temperature=1.0, seed=3, logprobs=0)
    assert told.logprobs is not None and len(told.logprobs) == len(told.token_ids)
    assert told.token_ids == llm.chat(ASK, format=SCHEMA, temperature=1.0, seed=3).token_ids


def test_a_regex_in_raw_text_and_a_stream_that_says_the_same(llm: LLM) -> None:
    wish = {"type": "regex", "pattern": "[A-Z][a-z]{2,9}, [0-9]{4}"}
    done = llm.generate("Born in ", format=wish, temperature=1.0, seed=5)
    assert re.fullmatch(wish["pattern"], done.text)
    stream = llm.generate("Born in ", format=wish, temperature=1.0, seed=5, stream=True)
    assert "".join(stream) == done.text


def test_a_structured_answer(llm: LLM) -> None:
    done = llm.chat("Why is the sky blue?", style="structured", seed=2, max_tokens=400)
    assert done.text.startswith("## ")
    if done.finish_reason == "stop":
        assert "\n1. " in done.text and done.text.count("\n## ") in (2, 3)


def test_what_this_model_cannot_do_is_refused(llm: LLM) -> None:
    def now() -> str:
        return "noon"

    for options, where in (
        ({"tools": [now]}, "tools"),
        ({"reasoning_budget": 10}, "reasoning_budget"),
        ({"format": {"not": {}}}, "format"),
    ):
        with pytest.raises(UnsupportedError, match=rf"^\[{where}\]"):
            llm.chat(ASK, **options)  # type: ignore[arg-type]


def test_the_examples_of_the_guide_run(smollm2_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "guide" / "tools.md"
    examples = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(examples) == 2
    names: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, str(page), "exec"), names)
    assert names["answer"].finish_reason == "stop"
    assert Tool.of(names["weather"]).read('{"city": "Rome"}') == {"city": "Rome"}
