"""Modelfiles: what is read, what is refused, what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.errors import FileFormatError, IngleError, UnsupportedError
from ingle.hub.modelfile import PARAMETERS, parameters_of, parse, read

WHERE = Path("Modelfile")

# The example of Ollama's own documentation, shortened.
MARIO = '''\
FROM gpt-oss:20b
# sets the temperature to 1 [higher is more creative, lower is more coherent]
PARAMETER temperature 1
PARAMETER num_ctx 4096
parameter stop "<|end|>"
PARAMETER stop User:

SYSTEM You are Mario from Super Mario Bros, acting as an assistant.
TEMPLATE """
{% for m in messages %}{{ m.content }}
{% endfor %}"""
LICENSE MIT
'''


def test_a_modelfile_is_read_as_written() -> None:
    found = parse(MARIO, WHERE)
    assert found.base == "gpt-oss:20b"
    assert found.settings() == {
        "parameters": {"temperature": 1.0, "context": 4096, "stop": ["<|end|>", "User:"]},
        "system": "You are Mario from Super Mario Bros, acting as an assistant.",
        "template": "{% for m in messages %}{{ m.content }}\n{% endfor %}",
        "license": "MIT",
    }


def test_text_in_triple_quotes_keeps_its_lines() -> None:
    found = parse('FROM a\nSYSTEM """one\n# two\n\nthree"""\nPARAMETER seed 1\n', WHERE)
    assert found.system == "one\n# two\n\nthree"
    assert found.parameters == {"seed": 1}


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("PARAMETER temperature hot", "temperature must be a number, but got 'hot'"),
        ("PARAMETER temperature nan", "temperature must be a number, but got 'nan'"),
        ("PARAMETER seed 1.5", "seed must be a whole number, but got '1.5'"),
        ("PARAMETER temprature 1", "hint: did you mean temperature?"),
        ("PARAMETER top_p", "top_p must be a number, but got ''"),
        ("COPY a b", "an instruction must be one of FROM, PARAMETER"),
        ("FROM b", "FROM must stand once"),
        ("SYSTEM", "SYSTEM must be followed by a value"),
        ('SYSTEM """never ends', 'text in """ must end'),
    ],
)
def test_mistakes_name_their_line(line: str, rule: str) -> None:
    with pytest.raises(FileFormatError) as caught:
        parse(f"FROM a\n\n{line}\n", WHERE)
    assert rule in str(caught.value)
    assert caught.value.where.startswith("Modelfile:")


@pytest.mark.parametrize(
    "line",
    [
        "ADAPTER ./lora.gguf",
        "MESSAGE user hello",
        "PARAMETER mirostat 2",
        'TEMPLATE """{{ if .System }}{{ .System }}{{ end }}"""',
        "TEMPLATE {{- .Prompt }}",
    ],
)
def test_what_ingle_cannot_apply_is_refused(line: str) -> None:
    with pytest.raises(UnsupportedError, match=r"\[Modelfile:2\]"):
        parse(f"FROM a\n{line}\n", WHERE)


def test_a_modelfile_needs_a_base() -> None:
    with pytest.raises(FileFormatError, match="must say FROM"):
        parse("SYSTEM x\n", WHERE)


def test_files_that_are_no_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(IngleError, match="the Modelfile must be readable"):
        read(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"FROM \xff")
    with pytest.raises(FileFormatError, match="must be UTF-8"):
        read(tmp_path / "bytes")


def test_ollamas_own_parameters_get_ingles_names() -> None:
    said = {"temperature": 1, "stop": ["a", "b"], "num_ctx": 8192, "num_gpu": 3, "num_predict": -1}
    assert parameters_of(said) == {"temperature": 1.0, "stop": ["a", "b"], "context": 8192}


@given(st.text())
def test_any_text_is_a_modelfile_or_a_mistake(text: str) -> None:
    try:
        parse(text, WHERE)
    except IngleError:
        return


@given(st.lists(st.tuples(st.sampled_from(sorted(PARAMETERS)), st.text(max_size=9)), max_size=5))
def test_any_parameters_are_read_or_a_mistake(lines: list[tuple[str, str]]) -> None:
    text = "FROM a\n" + "".join(f"PARAMETER {name} {value}\n" for name, value in lines)
    try:
        found = parse(text, WHERE)
    except IngleError:
        return
    assert set(found.parameters) <= {ours for ours, _ in PARAMETERS.values()}
