"""What clients leave out of turns that called tools comes back; what they changed does not."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ingle.chat.message import Message, ToolCall
from ingle.serve.recall import Recall

CALL = ToolCall("weather", '{"city": "Rome"}', "call_1")
SAID = (
    Message("assistant", "Hm.", channel="analysis"),
    Message("assistant", "I look.", channel="commentary"),
    Message(
        "assistant", CALL.arguments, "call_1", channel="commentary", recipient="functions.weather"
    ),
)
TOLD = Message("assistant", "I look.", tool_calls=(CALL,))
USER = Message("user", "weather?")


def remembering(limit: int = 10_000) -> Recall:
    recall = Recall(limit)
    recall.keep(SAID, (CALL,))
    return recall


def test_a_turn_comes_back_as_it_was_said() -> None:
    recall = remembering()
    assert recall.restored([USER, TOLD]) == (USER, *SAID)
    spaced = replace(CALL, arguments='{"city":"Rome"}')
    for same in (
        replace(TOLD, content=""),
        replace(TOLD, tool_calls=(spaced,)),
        replace(TOLD, reasoning="Hm."),
    ):
        assert recall.restored([same]) == SAID


def test_what_a_client_changed_stays_and_gets_its_reasoning() -> None:
    recall = remembering()
    for changed in (
        replace(TOLD, content="Other words."),
        replace(TOLD, tool_calls=(replace(CALL, arguments='{"city": "Oslo"}'),)),
        replace(TOLD, tool_calls=(CALL, replace(CALL, id="call_2"))),
    ):
        assert recall.restored([changed]) == (replace(changed, reasoning="Hm."),)
    own = replace(TOLD, reasoning="My own.")
    assert recall.restored([own]) == (own,)


def test_what_is_not_known_is_left_alone() -> None:
    recall = remembering()
    unknown = replace(TOLD, tool_calls=(replace(CALL, id="call_9"),))
    nameless = replace(TOLD, tool_calls=(replace(CALL, id=None),))
    for message in (USER, unknown, nameless, Message("assistant", "Done."), SAID[2]):
        assert recall.restored([message]) == (message,)


def test_a_turn_of_a_template_comes_back_with_its_reasoning() -> None:
    recall = Recall()
    whole = Message("assistant", "I look.", tool_calls=(CALL,), reasoning="Hm.")
    recall.keep([whole], [CALL])
    assert recall.restored([TOLD]) == (whole,)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 400)), max_size=60))
def test_what_is_kept_is_bounded_and_the_latest(turns: list[tuple[int, int]]) -> None:
    recall = Recall(limit_chars=3000)
    for number, size in turns:
        call = ToolCall("f", "{}", f"call_{number}")
        recall.keep([Message("assistant", "x" * size, tool_calls=(call,))], [call])
        assert recall.restored([Message("assistant", "", tool_calls=(call,))])[0].content == (
            "x" * size
        )
    assert len(recall) * 256 <= 3000
