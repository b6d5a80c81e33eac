"""An answer of Anthropic's has the same blocks at once and as events."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.llm.piece import CallBegun, CallText, Piece
from ingle.llm.reasoning import Part
from ingle.serve.anthropic.reply import Reply

USAGE = SimpleNamespace(prompt_tokens=3, cached_tokens=0, completion_tokens=5, reasoning_tokens=0)


def done(cut: bool = False) -> Any:
    return SimpleNamespace(stop=None, finish_reason="stop", usage=USAGE, cut_call=cut)


def streamed(pieces: list[Piece], **how: Any) -> list[dict[str, Any]]:
    """The blocks that a client builds of the events."""
    reply = Reply("m", **how)
    raw = [*reply.start(), *(event for piece in pieces for event in reply.told(piece))]
    raw += reply.end(done())
    blocks: list[dict[str, Any]] = []
    for event in (json.loads(one.decode().partition("data: ")[2]) for one in raw):
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(event["content_block"] | {"_json": ""})
        elif event["type"] == "content_block_delta":
            delta, block = dict(event["delta"]), blocks[event["index"]]
            del delta["type"]
            ((name, text),) = delta.items()
            block[{"partial_json": "_json"}.get(name, name)] += text
    for block in blocks:
        written = block.pop("_json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(written or "{}")
    return blocks


def at_once(pieces: list[Piece], cut: bool = False, **how: Any) -> list[dict[str, Any]]:
    reply = Reply("m", **how)
    for piece in pieces:
        reply.note(piece)
    found: list[dict[str, Any]] = reply.whole(done(cut))["content"]
    return found


def call(index: int, city: str) -> list[Piece]:
    written = json.dumps({"city": city})
    return [CallBegun(index, f"call_{index}", "look"), *(CallText(index, c) for c in written)]


PARTS = st.one_of(
    st.builds(lambda text: [Part(text, False)], st.text("a \n", min_size=1)),
    st.builds(lambda text: [Part(text, True)], st.text("b \n", min_size=1)),
    st.builds(lambda city: call(0, city), st.text("c")),
)


@given(st.lists(PARTS), st.booleans(), st.booleans())
def test_blocks_are_the_same(parts: list[list[Piece]], shows: bool, omits: bool) -> None:
    pieces = [piece for part in parts for piece in part]
    how = {"shows_thinking": shows, "omits_thinking": omits}
    assert at_once(pieces, **how) == streamed(pieces, **how)


def test_text_stays_where_it_was_written() -> None:
    pieces = [Part("I look.", False), *call(0, "Rome"), Part("\n", False), *call(1, "Ulm")]
    found = at_once([*pieces, Part("\n", False), Part("Done.", False)])
    assert [(one["type"], one.get("text")) for one in found] == [
        ("text", "I look."),
        ("tool_use", None),
        ("tool_use", None),
        ("text", "\nDone."),
    ]


@pytest.mark.parametrize("after", [[], [Part("x", False)]])
def test_a_call_that_was_cut_is_text(after: list[Piece]) -> None:
    pieces = [*call(0, "Rome"), CallBegun(1, "call_1", "look"), CallText(1, '{"ci'), *after]
    found = at_once(pieces, cut=True)
    assert [one["type"] for one in found[:2]] == ["tool_use", "text"]
    assert found[1]["text"] == 'look {"ci'
