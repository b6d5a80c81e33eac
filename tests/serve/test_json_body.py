"""What is sent is JSON in UTF-8, whatever was said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.errors import IngleError
from ingle.serve.json_body import JsonBody, written

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner)
)


@given(VALUES)
def test_it_is_json_in_utf_8(value: Any) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(written(value).decode("utf-8"), parse_constant=refuse)


def test_what_json_cannot_hold_is_replaced() -> None:
    assert written({"a": [float("nan"), "\ud800", "ü"]}) == '{"a":[null,"?","ü"]}'.encode()
    assert JsonBody({"a": 1}).body == b'{"a":1}'


def test_what_is_nested_too_deeply_is_told() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(IngleError, match="nested"):
        written(deep)
