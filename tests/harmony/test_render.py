"""Rendering equals openai-harmony, token for token: on its vectors, and on random conversations.

The usual run draws 2,000 of them; `INGLE_EXAMPLES=50000 pytest tests/harmony/test_render.py` more.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingle.chat.harmony import AnalysisPolicy, HarmonyMessage, render
from ingle.chat.harmony.conversation_file import read_conversation
from ingle.chat.harmony.policy import kept
from ingle.errors import IngleError
from ingle.tokenizer import o200k_harmony

EXAMPLES = int(os.environ.get("INGLE_EXAMPLES", "2000"))

_FRAGMENTS = (
    "a", "Hello", " world", " ", "\n", "\n\n", "\r\n", "  ", "null", "é", "日本語", "🎉", "\t",
    "'s", "<|start|>", "<|end|>", "<|channel|>final", "<|constrain|>json", "<|message|>", "system",
    "//", '{"a": 1}', '"', "\\", "to=functions.f", "# Tools", "\u2028", "-", "main() {\n x;\n}\n",
)  # fmt: skip
texts = st.lists(st.sampled_from(_FRAGMENTS), max_size=4).map("".join) | st.text(max_size=12)
names = st.sampled_from(["f", "get_weather", "a-b", "x.y", "zeta", "functions", "é", ""])


def _sometimes(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


# Of longer numbers the library itself reads the last digit wrong.
_floats = st.builds(
    lambda digits, exponent: float(f"{digits}e{exponent}"),
    st.integers(-999_999, 999_999),
    st.integers(-16, 20),
)
_scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.integers(-9, 9) | _floats
    | texts
)  # fmt: skip
_values = _scalars | st.lists(_scalars, max_size=3) | st.dictionaries(texts, _scalars, max_size=3)
_odd = st.sampled_from([None, 1, "x", [], {}, True])
_enums = st.lists(texts | st.integers(0, 3), max_size=3)
_types = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object", "x"])
_notes: dict[str, st.SearchStrategy[Any]] = {
    "title": texts | _odd,
    "description": texts | _odd,
    "default": _values,
    "examples": st.lists(_scalars, max_size=3) | _odd,
    "nullable": st.booleans() | _odd,
}


def _deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(names | texts, inner, max_size=4)
    described = st.fixed_dictionaries({"type": st.just("object")}, optional={
        **_notes, "properties": properties, "required": st.lists(names, max_size=4) | _odd,
    })  # fmt: skip
    arrays = st.fixed_dictionaries({"type": st.just("array")}, optional={**_notes, "items": inner})
    choices = st.fixed_dictionaries(
        {"oneOf": st.lists(inner, max_size=3)}, optional={**_notes, "type": _types}
    )
    return described | arrays | choices


_leaves = (
    st.fixed_dictionaries({"type": _types}, optional={**_notes, "enum": _enums | _odd})
    | st.fixed_dictionaries({"type": st.lists(_types | _odd, max_size=3)}, optional=_notes)
    | _sometimes({**_notes, "anyOf": st.just([{"type": "string"}]), "type": _odd, "oneOf": _odd})
    | _odd
)
schemas = st.recursive(_leaves, _deeper, max_leaves=6)
tools = st.fixed_dictionaries(
    {"name": names, "description": texts}, optional={"parameters": schemas | st.none()}
)


@st.composite
def _namespaces(draw: st.DrawFn) -> dict[str, Any]:
    keys = draw(st.lists(names, max_size=2, unique=True))
    return {key: draw(_namespace(key)) for key in keys}


def _namespace(key: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"name": st.just(key) | names, "tools": st.lists(tools, max_size=2)},
        optional={"description": texts},
    )


_channels = st.sampled_from(["analysis", "commentary", "final"])
_system = st.fixed_dictionaries({"type": st.just("system_content")}, optional={
    "model_identity": texts,
    "reasoning_effort": st.sampled_from(["Low", "Medium", "High", None]),
    "conversation_start_date": texts | st.just("2025-06-28"),
    "knowledge_cutoff": texts,
    "channel_config": st.fixed_dictionaries(
        {"valid_channels": st.lists(_channels, max_size=3), "channel_required": st.booleans()}
    ),
    "tools": _namespaces(),
})  # fmt: skip
_developer = st.fixed_dictionaries(
    {"type": st.just("developer_content")}, optional={"instructions": texts, "tools": _namespaces()}
)
_text = st.fixed_dictionaries({"type": st.just("text"), "text": texts})
_said: dict[str, st.SearchStrategy[Any]] = {
    "name": names | st.none(),
    "channel": _channels | names,
    "recipient": st.sampled_from(["all", "assistant", "functions.f", "python", ""]) | texts,
    "content_type": st.sampled_from(["json", "<|constrain|>json", "<|constrain|>", "code"]) | texts,
}
_by_role = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "assistant", "developer"]),
        "content": texts | st.lists(_text, max_size=2),
    },
    optional=_said,
)
_by_tool = st.fixed_dictionaries(
    {"role": st.just("tool"), "content": texts, "name": names},
    optional={key: _said[key] for key in ("channel", "recipient", "content_type")},
)
_turns = st.fixed_dictionaries(
    {"role": st.just("assistant"), "channel": _channels, "content": texts}
)
_opening = st.fixed_dictionaries(
    {"role": st.just("system"), "content": st.lists(_system | _text, min_size=1, max_size=2)}
) | st.fixed_dictionaries(
    {"role": st.just("developer"), "content": st.lists(_developer | _text, min_size=1, max_size=2)}
)
talks = st.builds(
    lambda opening, said: [*opening, *said],
    st.lists(_opening, max_size=2),
    st.lists(_by_role | _turns | _turns | _by_tool, max_size=6),
)
misplaced = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "system", "developer", "tool"]),
        "content": st.lists(_system | _developer, max_size=1),
    }
)


def rendered(messages: Any, drop: bool, mode: str, opens: str | None = "assistant") -> list[int]:
    said = read_conversation(json.dumps({"messages": messages, "auto_drop_analysis": drop}))
    shown = kept(said.messages, said.policy)
    return render(shown, opens if mode == "completion" else None, mode == "training")


def of_library(library: Any, messages: Any, drop: bool, mode: str) -> list[int]:
    """Past the library's Python classes, which put defaults where the JSON has nothing."""
    said, config = json.dumps({"messages": messages}), {"auto_drop_analysis": drop}
    inner = library._inner
    if mode == "completion":
        found: list[int] = inner.render_conversation_for_completion(said, "assistant", config)
    elif mode == "training":
        found = inner.render_conversation_for_training(said, config)
    else:
        found = inner.render_conversation(said, config)
    return found


modes = st.sampled_from(["completion", "plain", "training"])


def test_the_librarys_vectors(vectors: dict[str, Any]) -> None:
    assert len(vectors["render"]) == 29
    for vector in vectors["render"]:
        asked = vector["messages"], vector["auto_drop_analysis"], vector["mode"]
        if "expected_error" in vector:
            with pytest.raises(IngleError, match="messages"):
                rendered(*asked)
            continue
        ids = rendered(*asked, vector["next_role"])
        assert ids == vector["expected_tokens"], vector["name"]
        assert o200k_harmony().decode(ids) == vector["expected_text"]


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(talks, st.booleans(), modes)
def test_random_conversations(library: Any, talk: Any, drop: bool, mode: str) -> None:
    assert rendered(talk, drop, mode) == of_library(library, talk, drop, mode)


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(st.lists(misplaced, min_size=1, max_size=2))
def test_what_the_library_refuses_is_refused(library: Any, talk: Any) -> None:
    try:
        expected = of_library(library, talk, True, "plain")
    except Exception:
        with pytest.raises(IngleError):
            rendered(talk, True, "plain")
    else:
        assert rendered(talk, True, "plain") == expected


@settings(max_examples=200)
@given(talks, st.integers(0, 6))
def test_a_conversation_begins_as_its_beginning_does(talk: Any, num: int) -> None:
    whole = read_conversation(json.dumps({"messages": talk})).messages
    head = [m for m in talk if isinstance(m["content"], list)]
    num = max(num, max((i + 1 for i, m in enumerate(talk) if m in head), default=0))
    ids = render(whole, opens=None)
    first = render(whole[:num], opens=None)
    assert ids[: len(first)] == first


def said(role: str, channel: str | None = None) -> HarmonyMessage:
    return HarmonyMessage(role, (f"{role} {channel}",), channel=channel)


def test_which_reasoning_is_shown_again() -> None:
    thought, call, answer = (said("assistant", c) for c in ("analysis", "commentary", "final"))
    asked = said("user")
    two_turns = (asked, thought, answer, asked, thought, call, thought)
    policy = AnalysisPolicy
    assert kept(two_turns, policy.KEEP_ALL) == two_turns
    assert kept(two_turns, policy.LIBRARY) == two_turns  # the last said is no answer
    since = (asked, answer, asked, thought, call, thought)
    assert kept(two_turns, policy.SINCE_LAST_FINAL) == since
    over = (asked, thought, answer, asked, thought, answer)
    assert kept(over, policy.LIBRARY) == (asked, answer, asked, thought, answer)
    assert kept(over, policy.SINCE_LAST_FINAL) == (asked, answer, asked, answer)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{", "conversation"),
        ("[]", "conversation"),
        ("{}", "messages"),
        ("[" * 100_000, "conversation"),
        ('{"messages": [], "auto_drop_analysis": 1}', "auto_drop_analysis"),
        ('{"messages": [5]}', "messages[0]"),
        ('{"messages": [{"role": "king", "content": ""}]}', "messages[0].role"),
        ('{"messages": [{"role": "user"}]}', "messages[0].content"),
        ('{"messages": [{"role": "user", "content": [{"type": "x"}]}]}',
         "messages[0].content[0].type"),
        ('{"messages": [{"role": "user", "content": "", "channel": 1}]}', "messages[0].channel"),
        ('{"messages": [{"role": "system", "content": [{"type": "system_content", '
         '"reasoning_effort": "Most"}]}]}', "messages[0].content[0].reasoning_effort"),
        ('{"messages": [{"role": "developer", "content": [{"type": "developer_content", '
         '"tools": {"a": {"name": "a", "tools": [{}]}}}]}]}',
         "messages[0].content[0].tools.a.tools[0].name"),
    ],
)  # fmt: skip
def test_wrong_files_are_told(text: str, where: str) -> None:
    with pytest.raises(IngleError) as caught:
        read_conversation(text)
    assert caught.value.where == where


def test_a_schema_too_deep_is_refused() -> None:
    schema: Any = {}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    tools = {"functions": {"name": "functions", "tools": [{"name": "f", "parameters": schema}]}}
    content = [{"type": "developer_content", "tools": tools}]
    with pytest.raises(IngleError, match="levels deep"):
        rendered([{"role": "developer", "content": content}], True, "plain")
