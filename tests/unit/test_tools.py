"""Tools: declared in any shape, their arguments checked, their errors told and not raised."""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from ingle.chat.message import ToolCall
from ingle.chat.tools import Tool, Toolbox, ToolChoice, tools_of
from ingle.chat.tools.annotation import schema_of, value_of
from ingle.errors import IngleError, UnsupportedError


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.0


class Place(TypedDict, total=False):
    city: str
    zip: int


def google(city: str, days: int = 3, unit: Literal["c", "f"] = "c") -> str:
    """Forecast the weather.

    Looks at the sky.

    Args:
        city: Where, as a name
            or a code.
        days: How many days.
        unit: Of temperatures.

    Returns:
        A sentence.
    """
    return f"{city} {days} {unit}"


def numpy(city: str, days: int = 3, unit: Literal["c", "f"] = "c") -> str:
    """Forecast the weather.

    Looks at the sky.

    Parameters
    ----------
    city : str
        Where, as a name
        or a code.
    days : int, optional
        How many days.
    unit : {"c", "f"}
        Of temperatures.
    """
    return google(city, days, unit)


def sphinx(city: str, days: int = 3, unit: Literal["c", "f"] = "c") -> str:
    """Forecast the weather.

    Looks at the sky.

    :param city: Where, as a name
        or a code.
    :param days: How many days.
    :param unit: Of temperatures.
    :returns: A sentence.
    """
    return google(city, days, unit)


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_a_function_declares_itself_in_three_styles(function: Any) -> None:
    tool = Tool.of(function)
    assert tool.name == function.__name__
    assert tool.description == "Forecast the weather.\n\nLooks at the sky."
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "city": {"description": "Where, as a name or a code.", "type": "string"},
            "days": {"description": "How many days.", "type": "integer", "default": 3},
            "unit": {"description": "Of temperatures.", "enum": ["c", "f"], "default": "c"},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    assert tool.run(tool.read('{"city": "Rome", "unit": "f"}')) == "Rome 3 f"


def test_a_function_without_parameters_and_a_callable_object() -> None:
    class Clock:
        """Tells the time."""

        def __call__(self, zone: Annotated[str, "a time zone"]) -> dict[str, str]:
            return {"zone": zone}

    def now() -> int:
        return 12

    assert Tool.of(now) == Tool("now", "", None, now)
    assert Tool.of(now).run({}) == "12"
    clock = Tool.of(Clock())
    assert clock.parameters is not None
    assert clock.parameters["properties"]["zone"]["description"] == "a time zone"
    assert json.loads(clock.run(clock.read('{"zone": "UTC"}'))) == {"zone": "UTC"}


HINTS = [
    str, int, float, bool, None, list[int], dict[str, float], tuple[int, str], tuple[int, ...],
    Literal["a", 3], Color, Point, Place, int | None, list[Point], dict[str, list[Color]],
    Annotated[str, "told"], set[int], str | list[str],
]  # fmt: skip


@pytest.mark.parametrize("hint", HINTS, ids=str)
@settings(max_examples=20)
@given(data=st.data())
def test_schemas_accept_what_pydantic_accepts(hint: Any, data: st.DataObject) -> None:
    adapter = TypeAdapter(hint)
    python = data.draw(st.from_type(hint) if hint is not None else st.none())
    try:
        value = json.loads(adapter.dump_json(python))
    except ValueError:  # NaN and infinity are no JSON
        return
    schema = schema_of(hint, "test")
    if "float" in str(hint) or hint in (Point, list[Point]):
        value = json.loads(json.dumps(value).replace("null", "1.5"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(value, schema)
    assert value_of(hint, value) == adapter.validate_python(value_of(hint, value))


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "red", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("hint", [int, Color, Literal["a", 3], list[int], tuple[int, str]], ids=str)
@given(value=junk)
def test_schemas_refuse_what_pydantic_refuses(hint: Any, value: Any) -> None:
    try:
        TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
        theirs = True
    except ValueError:
        theirs = False
    ours = jsonschema.Draft202012Validator(schema_of(hint, "test")).is_valid(value)
    assert ours == theirs


@pytest.mark.parametrize(
    ("declared", "rule"),
    [
        (lambda: 3, "1 to 64 letters"),
        (3, "a function or an object"),
        ({"type": "retrieval"}, "type must be function"),
        ({"type": "function"}, "must have a name"),
        ({"name": "a b"}, "1 to 64 letters"),
        ({"name": "f", "description": 3}, "description is text"),
        ({"name": "f", "parameters": {"type": "array"}}, "describe an object"),
        ({"name": "f", "parameters": {"type": "objekt"}}, "must be a JSON Schema"),
        ({"name": "f", "parameters": {"properties": {1: object()}}}, "must be JSON"),
        ({"name": "f", "parameters": [1]}, "JSON Schema object"),
    ],
)
def test_a_wrong_declaration_is_refused(declared: Any, rule: str) -> None:
    with pytest.raises(IngleError, match=rule):
        Tool.of(declared)


def test_a_parameter_that_json_cannot_say_is_refused() -> None:
    def no_hint(x) -> int:  # type: ignore[no-untyped-def]
        return 1

    def odd(x: complex) -> int:
        return 1

    def star(*args: int) -> int:
        return 1

    with pytest.raises(IngleError, match="must have a type hint, but got x"):
        Tool.of(no_hint)
    with pytest.raises(UnsupportedError, match=r"a type that JSON can say, but got .*complex"):
        Tool.of(odd)
    with pytest.raises(UnsupportedError, match=r"handed over by name, but got \*args"):
        Tool.of(star)


def test_the_three_shapes_of_http_declare_the_same_tool() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    chat = {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}
    responses = {"type": "function", "name": "f", "description": "d", "parameters": schema}
    anthropic = {"name": "f", "description": "d", "input_schema": schema}
    assert Tool.of(chat) == Tool.of(responses) == Tool.of(anthropic)
    assert Tool.of(Tool.of(chat).as_openai()) == Tool.of(chat)
    with pytest.raises(IngleError, match="must differ, but got f twice"):
        tools_of([chat, anthropic])


F, G = Tool("f"), Tool("g")


@pytest.mark.parametrize(
    ("choice", "mode", "names"),
    [
        (None, "auto", "fg"),
        ("auto", "auto", "fg"),
        ("none", "none", ""),
        ("required", "required", "fg"),
        ({"type": "any"}, "required", "fg"),
        ({"type": "function", "function": {"name": "g"}}, "required", "g"),
        ({"type": "function", "name": "g"}, "required", "g"),
        ({"type": "tool", "name": "f"}, "required", "f"),
        ("g", "required", "g"),
    ],
)
def test_tool_choice_in_every_spelling(choice: Any, mode: str, names: str) -> None:
    found = ToolChoice.of(choice, (F, G))
    assert (found.mode, [tool.name for tool in found.tools]) == (mode, list(names))


@pytest.mark.parametrize("choice", ["h", 3, {"type": "function"}, {"type": "x"}, [], {}])
def test_a_wrong_tool_choice_is_refused(choice: Any) -> None:
    with pytest.raises(IngleError, match="must be auto, none, required or a declared tool"):
        ToolChoice.of(choice, (F, G))
    with pytest.raises(IngleError, match="there must be tools to choose"):
        ToolChoice.of("required", ())


def divide(a: int, b: int) -> float:
    """Divide."""
    return a / b


@pytest.mark.parametrize(
    ("name", "arguments", "said", "failed"),
    [
        ("divide", '{"a": 6, "b": 3}', "2.0", False),
        ("divide", '{"a": 6, "b": 0}', "Error: ZeroDivisionError: division by zero", True),
        ("divide", '{"a": "six", "b": 3}', "Error: $.a must follow the schema", True),
        ("divide", '{"a": 6}', "Error: $ must follow the schema, but got: 'b' is a requ", True),
        ("divide", '{"a": 6, "b": 3, "c": 1}', "Error: $ must follow the schema", True),
        ("divide", '{"a": 6,', "Error: arguments must be JSON", True),
        ("divide", "[1]", "Error: arguments must be an object", True),
        ("multiply", "{}", "Error: there is no tool 'multiply'; declared tools: divide", True),
    ],
)
def test_every_call_becomes_a_message(name: str, arguments: str, said: str, failed: bool) -> None:
    result = Toolbox([Tool.of(divide)]).answer(ToolCall(name, arguments, "call_1"))
    assert result.failed == failed
    assert result.content.startswith(said)
    message = result.message
    assert (message.role, message.name, message.tool_call_id) == ("tool", name, "call_1")


@given(st.text(max_size=200) | junk.map(json.dumps))
def test_no_arguments_crash_a_toolbox(arguments: str) -> None:
    result = Toolbox([Tool.of(divide)]).answer(ToolCall("divide", arguments))
    assert result.failed


def test_declined_and_long_and_deep() -> None:
    asked: list[ToolCall] = []

    def refuse(call: ToolCall) -> bool:
        asked.append(call)
        return False

    def shout() -> str:
        return "a" * 200_000

    call = ToolCall("divide", '{"a": 1, "b": 1}')
    assert Toolbox([Tool.of(divide)], refuse).answer(call).content == "The user declined this call."
    assert asked == [call]
    long = Toolbox([Tool.of(shout)]).answer(ToolCall("shout", "")).content
    assert long.endswith("[68928 more characters left out]")
    deep = Toolbox([Tool.of(divide)]).answer(ToolCall("divide", "[" * 100_000))
    assert deep.content.startswith("Error: arguments must be JSON")


def test_references_lead_nowhere_else() -> None:
    schema = {"type": "object", "properties": {"x": {"$ref": "http://example.invalid/s.json"}}}
    tool = Tool("f", "", schema, lambda x: x)
    assert "comparable" in Toolbox([tool]).answer(ToolCall("f", '{"x": 1}')).content
