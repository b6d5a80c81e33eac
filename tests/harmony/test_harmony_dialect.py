"""gpt-oss in `LLM`'s terms: prompts in Harmony, replies told apart, by a script of true ids."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ingle.chat.message import Message, ToolCall
from ingle.chat.tools import ToolChoice, tools_of
from ingle.errors import IngleError
from ingle.llm import harmony_dialect
from ingle.llm.dialect import Wishes
from ingle.llm.harmony_dialect import ConversationDates, HarmonyDialect, speaks_harmony
from ingle.llm.harmony_reader import HarmonyReader
from ingle.llm.piece import CallBegun, CallText, Place, parts_of
from ingle.llm.reader import Reply
from ingle.tokenizer import o200k_harmony

encode = o200k_harmony().encode_with_specials
HI = [{"role": "user", "content": "hi"}]
THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"


def prompt(wishes: Wishes, turns: Any = HI) -> str:
    return o200k_harmony().decode(HarmonyDialect().prepare(turns, wishes).ids)


def read(text: str, ended: bool = True, **options: Any) -> tuple[list[tuple[str, bool]], Reply]:
    """Parts, joined where they are of one kind, and the reply."""
    reader = HarmonyReader(**options)
    parts = [part for token_id in encode(text) for part in reader.feed(token_id)]
    joined: list[tuple[str, bool]] = []
    for part in parts_of([*parts, *reader.finish(ended)]):
        if joined and joined[-1][1] == part.is_reasoning:
            joined[-1] = (joined[-1][0] + part.text, part.is_reasoning)
        else:
            joined.append((part.text, part.is_reasoning))
    return joined, reader.reply()


def test_analysis_is_reasoning_and_final_the_answer() -> None:
    parts, reply = read(f"{THOUGHT}<|channel|>final<|message|>Two.")
    assert parts == [("Hm.", True), ("Two.", False)]
    assert (reply.text, reply.answer, reply.reasoning) == ("Two.", "Two.", "Hm.")
    assert [(m.channel, m.content) for m in reply.messages] == [
        ("analysis", "Hm."), ("final", "Two."),
    ]  # fmt: skip
    assert reply.repairs == {} and not reply.tool_calls


def test_a_note_before_the_answer_is_shown_apart() -> None:
    text = "<|channel|>commentary<|message|>A plan.<|end|><|start|>assistant"
    parts, reply = read(f"{text}{THOUGHT}<|channel|>final<|message|>Two.")
    assert parts == [("A plan.", False), ("Hm.", True), ("\n\nTwo.", False)]
    assert (reply.text, reply.answer) == ("A plan.\n\nTwo.", "Two.")


def test_a_call_is_told_and_goes_on_as_it_was_said() -> None:
    call = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}'
    parts, reply = read(THOUGHT + call, calls=True, first_id=3)
    assert parts == [("Hm.", True)]
    assert reply.tool_calls == (ToolCall("f", '{"a": 1}', "call_3"),)
    assert not reply.cut_call and reply.repairs == {}
    answer = Message("tool", "r", name="f", tool_call_id="call_3")
    again = prompt(Wishes(), [*HI, *reply.messages, answer])
    assert again.endswith(
        f"<|start|>assistant{THOUGHT} to=functions.f<|channel|>commentary <|constrain|>json"
        '<|message|>{"a": 1}<|call|><|start|>functions.f to=assistant<|channel|>commentary'
        "<|message|>r<|end|><|start|>assistant"
    )


def test_a_call_is_told_while_it_is_written() -> None:
    call = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}'
    reader = HarmonyReader((), True, 3, id_prefix="call_x_")
    places, pieces = [], []
    for token_id in encode(THOUGHT + call):
        pieces += reader.feed(token_id)
        places.append(reader.place)
    pieces += reader.finish()
    begun = pieces.index(CallBegun(0, "call_x_3", "f"))
    assert parts_of(pieces[:begun]) == pieces[:begun] and begun < len(pieces) - 2
    rest = pieces[begun + 1 :]
    assert all(isinstance(one, CallText) and one.index == 0 for one in rest)
    assert "".join(one.text for one in rest if isinstance(one, CallText)) == '{"a": 1}'
    assert reader.reply().tool_calls[0].id == "call_x_3"
    assert places.count(Place.REASONING) == len(encode("Hm."))
    assert Place.ANSWER not in places


def test_a_call_cut_off_is_told_so() -> None:
    _, reply = read('<|channel|>commentary to=functions.f<|message|>{"a', ended=False, calls=True)
    assert reply.cut_call
    assert reply.tool_calls == (ToolCall("f", '{"a', "call_0"),)


def test_code_for_python_is_wrapped_as_json() -> None:
    _, reply = read("<|channel|>analysis to=python code<|message|>print('é')", calls=True)
    assert reply.tool_calls[0].arguments == '{"code": "print(\'é\')"}'


def test_without_tools_what_is_called_is_text() -> None:
    parts, reply = read("<|channel|>commentary to=functions.f<|message|>{}")
    assert parts == [("{}", False)]
    assert (reply.text, reply.tool_calls) == ("{}", ())


def test_others_words_are_not_shown() -> None:
    parts, reply = read("<|channel|>final<|message|>a<|end|><|start|>user<|message|>b<|end|>")
    assert parts == [("a", False)]
    assert [m.role for m in reply.messages] == ["assistant"]


def test_stop_strings_end_the_answer_alone() -> None:
    text = f"{THOUGHT.replace('Hm.', 'END')}<|channel|>final<|message|>one END two"
    parts, reply = read(text, stops=("END",))
    assert parts == [("END", True), ("one ", False)]
    assert (reply.text, reply.answer) == ("one ", "one ")


def test_an_answer_that_is_cancelled_keeps_what_was_said() -> None:
    reader = HarmonyReader()
    for token_id in encode(f"{THOUGHT}<|channel|>final<|message|>Tw"):
        reader.feed(token_id)
    reply = reader.reply()
    assert (reply.answer, reply.reasoning, reply.messages[-1].content) == ("Tw", "Hm.", "Tw")


@pytest.mark.parametrize(
    ("wish", "shown"),
    [(None, "medium"), ("low", "low"), ("high", "high"), (True, "medium"), ("on", "medium")],
)
def test_the_effort_is_said(wish: Any, shown: str) -> None:
    assert f"Reasoning: {shown}\n" in prompt(Wishes(reasoning=wish))


@pytest.mark.parametrize("wish", ["none", False, "off"])
def test_without_reasoning_the_answer_is_opened(wish: Any) -> None:
    ready = HarmonyDialect().prepare(HI, Wishes(reasoning=wish))
    assert o200k_harmony().decode(ready.ids).endswith("assistant<|channel|>final<|message|>")
    parts = [p for token_id in encode("Two.") for p in ready.reader.feed(token_id)]
    assert [*parts, *ready.reader.finish()] and ready.reader.reply().answer == "Two."


def test_tools_are_declared() -> None:
    def f(city: str) -> str:
        """Does f."""
        return city

    choice = ToolChoice.of(None, tools_of([f]))
    text = prompt(Wishes(choice=choice))
    assert "// Does f.\ntype f = (_: {\ncity: string,\n}) => any;" in text
    assert "commentary channel: 'functions'." in text


def test_variables_are_known_ones() -> None:
    text = prompt(Wishes(variables={"date": "2020-01-01", "model_identity": "You are Ingle."}))
    assert text.startswith("<|start|>system<|message|>You are Ingle.\nKnowledge")
    assert "Current date: 2020-01-01\n" in text
    for wrong in ({"dates": "x"}, {"date": 5}):
        with pytest.raises(IngleError, match="chat_template_kwargs"):
            prompt(Wishes(variables=wrong))
    with pytest.raises(IngleError, match="reasoning"):
        prompt(Wishes(reasoning="most"))
    with pytest.raises(IngleError, match="at least one"):
        prompt(Wishes(), [])


def test_a_conversation_keeps_the_day_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    class Day(datetime.date):
        now = "2025-01-01"

        @classmethod
        def today(cls) -> Day:
            return cls.fromisoformat(cls.now)

    monkeypatch.setattr(harmony_dialect, "date", Day)
    dates, begun = ConversationDates(), (Message("user", "a"),)
    assert dates.of(begun) == "2025-01-01"
    Day.now = "2025-01-02"
    longer = (*begun, Message("assistant", "b"), Message("user", "c"))
    assert dates.of(longer) == "2025-01-01"
    assert dates.of(longer) == "2025-01-01"
    assert dates.of((Message("user", "other"),)) == "2025-01-02"
    for i in range(300):
        dates.of((Message("user", str(i)),))
    assert dates.of(longer) == "2025-01-02"  # only the latest are kept
    Day.now = "2025-01-03"
    assert dates.of(begun) == "2025-01-03"  # it begins anew
    assert dates.of(longer) == "2025-01-03"


def test_who_speaks_harmony() -> None:
    tokenizer = o200k_harmony()
    theirs = "{{ '<|channel|>analysis<|message|>' }}"
    assert speaks_harmony("gpt_oss", None, tokenizer)
    assert speaks_harmony("llama", theirs, tokenizer)
    assert not speaks_harmony("llama", "{{ messages }}", tokenizer)
