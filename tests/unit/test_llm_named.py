"""What a model's name brings: a Modelfile's words hold until somebody says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingle import hub
from ingle.errors import IngleError
from ingle.llm.named import named
from ingle.llm.options import given, request

MODELFILE = '''FROM ./base.gguf
PARAMETER temperature 0.3
PARAMETER num_ctx 512
PARAMETER num_predict 7
PARAMETER stop END
SYSTEM """Be terse."""
TEMPLATE """{% for m in messages %}{{ m.content }}{% endfor %}"""
'''


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INGLE_HOME", str(tmp_path / "home"))
    for name in ("INGLE_MODELS", "INGLE_CONTEXT", "OLLAMA_CONTEXT_LENGTH", "INGLE_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_modelfiles_words_are_ordered(home: Path) -> None:
    (home / "base.gguf").write_bytes(b"GGUF")
    (home / "Modelfile").write_text(MODELFILE)
    hub.create("terse", home / "Modelfile")
    found = named(hub.settings("terse"))
    assert (found.context, found.threads) == (512, None)
    assert found.system == "Be terse."
    assert found.template is not None and "m.content" in found.template
    assert found.sampling == {"temperature": 0.3}
    assert found.options == {"max_tokens": 7, "stop": ["END"]}


def test_a_preset_wins_over_them_and_they_over_the_makers() -> None:
    usual = {"temperature": 0.8, "top_p": 0.95} | {"temperature": 0.3}
    assert request([1], given({}), usual, frozenset()).sampling.temperature == 0.3
    creative = request([1], given({"preset": "creative"}), usual, frozenset())
    assert creative.sampling.temperature == 1.1


def test_the_configuration_comes_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGLE_CONTEXT", "256")
    monkeypatch.setenv("INGLE_THREADS", "2")
    bare = {"parameters": {}, "system": None, "template": None}
    assert (named(bare).context, named(bare).threads) == (256, 2)
    assert named({**bare, "parameters": {"context": 64}}).context == 64


def test_a_parameter_nobody_knows_is_told() -> None:
    with pytest.raises(IngleError, match="a known one, but got mirostat"):
        named({"parameters": {"mirostat": 1}, "system": None, "template": None})
