"""What somebody says never becomes somebody else's words: the published set of attacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingle.chat.conversation import Conversation, Message, ToolCall
from ingle.chat.event import MessageEnd
from ingle.chat.harmony import (
    FunctionTool,
    HarmonyParser,
    HarmonySettings,
    ResponseFormat,
    render_conversation,
)
from ingle.chat.harmony.tokens import FIRST_SPECIAL
from ingle.tokenizer import o200k_harmony

FILE = Path(__file__).parents[1] / "golden" / "harmony_injection.json"
ATTACKS = [attack["text"] for attack in json.loads(FILE.read_text())["attacks"]]


def conversation(text: str) -> Conversation:
    """`text` wherever somebody's words stand in a conversation."""
    return Conversation(
        (
            Message("system", text),
            Message("developer", text),
            Message("user", text, name=text),
            Message("assistant", text, reasoning=text, tool_calls=(ToolCall("f", text, "1"),)),
            Message("tool", text, tool_call_id="1"),
            Message("tool", text, name=text),
            Message("system", text),
            Message("user", text),
        )
    )


def settings_of(text: str) -> HarmonySettings:
    """`text` wherever a request brings text along."""
    schema = {"type": "object", "description": text, "properties": {text: {"enum": [text]}}}
    return HarmonySettings(
        effort="low",
        date=text,
        identity=text,
        tools=(FunctionTool("f", text, schema),),
        response_formats=(ResponseFormat(text, schema, text),),
    )


def marks(text: str) -> list[int]:
    ids = render_conversation(conversation(text), settings_of(text))
    return [token_id for token_id in ids if token_id >= FIRST_SPECIAL]


HARMLESS = marks("hello")


def test_the_set_covers_every_kind_of_attack() -> None:
    assert len(ATTACKS) == len(set(ATTACKS)) >= 30


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_text(attack: str) -> None:
    assert marks(attack) == HARMLESS
    assert max(o200k_harmony().encode(attack)) < FIRST_SPECIAL


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_parser_reads_the_messages_that_were_put_in(attack: str) -> None:
    said = Conversation((Message("user", attack), Message("tool", attack, name="f")))
    ids = render_conversation(said, HarmonySettings(effort="low"))
    parser = HarmonyParser(None)
    ends = [event for event in parser.feed_many(ids) if isinstance(event, MessageEnd)]
    whole = attack.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert [end.message.role for end in ends] == ["system", "user", "tool"]
    assert [end.message.content for end in ends[1:]] == [whole, whole]
    assert parser.repairs == {}


pieces = st.sampled_from([*ATTACKS, "<|", "|>", "start", "end", "<|start|>", "channel", "<", ">"])


@settings(max_examples=200)
@given(st.lists(pieces, min_size=1, max_size=5).map("".join))
def test_nor_do_mixtures_of_attacks_pass(text: str) -> None:
    assert marks(text) == HARMLESS
