"""Whatever a reply is told in, the events of a response are nested, in order, and whole."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ingle.llm import TokenLogprob
from ingle.llm.piece import CallBegun, CallText, Piece
from ingle.llm.reasoning import Part
from ingle.serve.openai.logprobs import shown_tokens
from ingle.serve.openai.scores import Scores, shown
from ingle.serve.responses.output import Output
from ingle.serve.responses.tools import Declared, as_arguments, as_text

TOOLS = Declared(
    custom=frozenset({"edit"}), spaces={"space__f": ("space", "f")}, functions=({"name": "g"},)
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


@st.composite
def replies(draw: st.DrawFn) -> list[Piece]:
    """Pieces as readers tell them: calls are numbered, their texts follow their beginnings."""
    pieces: list[Piece] = []
    for number in range(draw(st.integers(0, 6))):
        if draw(st.booleans()):
            is_reasoning = draw(st.booleans())
            pieces += [Part(text, is_reasoning) for text in draw(st.lists(TEXT, max_size=3))]
        else:
            name = draw(st.sampled_from(["g", "edit", "space__f"]))
            pieces.append(CallBegun(number, f"call_{number}", name))
            pieces += [CallText(number, text) for text in draw(st.lists(TEXT, max_size=3))]
    return pieces


def told(output: Output, pieces: list[Piece], complete: bool) -> list[dict[str, Any]]:
    events = [event for piece in pieces for event in output.piece(piece)]
    return [*events, *output.end(complete)]


@given(replies(), st.booleans(), st.booleans())
def test_events_are_nested_and_whole(pieces: list[Piece], summarizes: bool, complete: bool) -> None:
    output = Output(TOOLS, summarizes)
    events = told(output, pieces, complete)
    is_open, done, deltas = None, [], ""
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert is_open is None and event["output_index"] == len(done)
            is_open, deltas = event["item"]["id"], ""
        elif kind == "output_item.done":
            assert event["item"]["id"] == is_open
            done.append(event["item"])
            is_open = None
        else:
            assert event["item_id"] == is_open and event["output_index"] == len(done)
            deltas += event.get("delta", "")
            if kind.endswith((".done",)) and "part" not in kind:
                whole = event.get("text", event.get("arguments", event.get("input")))
                assert whole == deltas
    assert is_open is None and done == output.items
    assert [item["status"] for item in done[:-1]] == ["completed"] * len(done[:-1])
    if done:
        assert done[-1]["status"] == ("completed" if complete else "incomplete")


@given(replies())
def test_nothing_that_was_said_is_lost(pieces: list[Piece]) -> None:
    output = Output(TOOLS)
    told(output, pieces, True)
    kept = dict.fromkeys(("reasoning", "message", "function_call", "custom_tool_call"), "")
    for item in output.items:
        parts = [part["text"] for part in item.get("content", [])]
        kept[item["type"]] += "".join([*parts, item.get("arguments", ""), item.get("input", "")])
    said = {True: "", False: ""}
    for piece in pieces:
        if isinstance(piece, Part):
            said[piece.is_reasoning] += piece.text
    assert kept["reasoning"] == said[True]
    assert kept["message"].replace("\n", "") == said[False].replace("\n", "")
    names = [item.get("name") for item in output.items if "call_id" in item]
    begun = [piece.name for piece in pieces if isinstance(piece, CallBegun)]
    assert names == [name.removeprefix("space__") for name in begun]


@given(st.text())
def test_text_of_a_custom_tool_comes_back(text: str) -> None:
    assert as_text(as_arguments(text)) == text


@given(st.text(max_size=30), st.lists(st.integers(1, 4), max_size=40), st.integers(0, 30))
def test_scores_follow_their_text(text: str, sizes: list[int], cut: int) -> None:
    """Tokens cut anywhere, in the middle of characters too; a stop string may take the end away."""
    data = text.encode("utf-8", "replace")
    tokens, at = [], 0
    for size in [*sizes, *([4] * len(data))]:
        if at < len(data):
            piece = data[at : at + size]
            tokens.append(TokenLogprob(0, piece.decode("utf-8", "replace"), -1.0, (), piece))
            at += len(piece)
    whole = data.decode()
    assert shown_tokens(tokens, whole, False) == tokens
    kept = shown_tokens(tokens, whole[:cut], True)
    assert b"".join(token.data for token in kept).startswith(whole[:cut].encode())
    scores = Scores()
    scores.add(tokens)
    found = scores.taken()
    assert found["tokens"] == [shown(token) for token in tokens]
    assert found["text_offset"] == sorted(found["text_offset"])
    assert all(0 <= place <= len(whole) for place in found["text_offset"])
    assert scores.taken()["tokens"] == []
