"""Options become requests; stop strings cut answers wherever the pieces are cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.errors import IngleError
from ingle.llm.options import GenerateOptions, given_chat, request
from ingle.llm.options import given as given_options
from ingle.llm.stop import StopScanner, stop_strings
from ingle.runtime import Request
from ingle.runtime.presets import PRESETS

RECOMMENDED = {"temperature": 0.2, "top_p": 0.9}


def made(**options: Any) -> Request:
    return request([1], given_options(options), RECOMMENDED, frozenset({2}))


def test_what_is_not_given_is_as_recommended() -> None:
    sampling = made(temperature=None, seed=None).sampling
    assert (sampling.temperature, sampling.top_p, sampling.repetition_penalty) == (0.2, 0.9, 1.0)


def test_a_given_option_wins_even_if_it_is_zero() -> None:
    sampling = made(temperature=0, top_k=0).sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0, 0.9, 0)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_takes_the_place_of_what_is_recommended(name: str) -> None:
    sampling = made(preset=name).sampling
    assert {key: getattr(sampling, key) for key in PRESETS[name]} == PRESETS[name]
    others = {"top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}.items() - PRESETS[name].keys()
    for key, neutral in others:
        assert getattr(sampling, key) == neutral or key in PRESETS[name]


def test_options_win_over_the_preset() -> None:
    sampling = made(preset="creative", temperature=0.9, repetition_penalty=1.0).sampling
    assert (sampling.temperature, sampling.repetition_penalty) == (0.9, 1.0)
    assert sampling.min_p == PRESETS["creative"]["min_p"]


def test_every_option_has_its_place() -> None:
    values: dict[str, Any] = {
        "preset": "code",
        "temperature": 0.5,
        "top_p": 0.6,
        "top_k": 7,
        "min_p": 0.08,
        "typical_p": 0.9,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.12,
        "frequency_penalty": 0.13,
        "logit_bias": {1: 14.0},
        "seed": 15,
        "max_tokens": 16,
        "stop": "end",
        "stop_ids": [17],
        "logprobs": 18,
        "prompt_logprobs": 17,
        "num_experts_per_tok": 19,
    }
    assert {*values, "format"} == GenerateOptions.__annotations__.keys()
    r = made(**values)
    for name in values.keys() - {"preset", "stop", "stop_ids"}:
        holder = r if hasattr(r, name) else r.sampling
        assert getattr(holder, name) == values[name]
    assert r.stop_ids == {2, 17}


def test_stop_is_one_or_several_strings() -> None:
    assert stop_strings(None) == ()
    assert stop_strings("a") == ("a",)
    assert stop_strings(["a", "b"]) == ("a", "b")


def test_other_tools_names_of_options_are_understood() -> None:
    found = given_options({"max_new_tokens": 3, "repeat_penalty": 1.1, "stop_token_ids": [4]})
    assert found == {"max_tokens": 3, "repetition_penalty": 1.1, "stop_ids": [4]}
    with pytest.raises(IngleError, match="max_tokens must be said once"):
        given_options({"max_tokens": 3, "max_new_tokens": 3})


def test_options_of_a_chat_are_told_apart() -> None:
    options = {"seed": 1, "think": False, "chat_template_kwargs": {"a": 1}}
    assert given_chat(options) == (
        {"seed": 1},
        {"reasoning": False, "chat_template_kwargs": {"a": 1}},
    )
    with pytest.raises(IngleError, match="a known one, but got reasoning"):
        given_options({"reasoning": "low"})


@pytest.mark.parametrize("share", [0, 0.0])
def test_no_share_is_the_likeliest_alone(share: float) -> None:
    made = request([1], {"top_p": share, "top_k": 40}, RECOMMENDED, frozenset()).sampling
    assert (made.top_p, made.top_k) == (1.0, 1)
    with pytest.raises(IngleError, match="top_p"):
        request([1], {"top_p": False}, RECOMMENDED, frozenset())


letters = st.text(alphabet="abc", max_size=30)


@given(st.lists(letters, max_size=8), st.lists(st.text(alphabet="abc", max_size=4), max_size=3))
def test_an_answer_ends_before_the_first_stop_that_completes(
    pieces: list[str], stops: list[str]
) -> None:
    scanner, shown, stopped = StopScanner(stops), "", False
    for count, piece in enumerate(pieces, 1):
        text, stopped = scanner.feed(piece)
        shown += text
        if stopped:
            seen = "".join(pieces[:count])
            break
        assert not any(stop and stop in "".join(pieces[:count]) for stop in stops)
    if stopped:
        assert shown == seen[: min(seen.find(s) for s in stops if s and s in seen)]
    else:
        assert shown + scanner.finish() == "".join(pieces)
