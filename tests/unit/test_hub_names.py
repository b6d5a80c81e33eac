"""Which words name a model, and what becomes of those that do not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle import hub
from ingle.errors import IngleError, ModelNotFoundError, UnreachableError
from ingle.hub.registry import REGISTRY


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INGLE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("INGLE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("INGLE_OFFLINE", "1")  # no test asks the network
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


@pytest.mark.parametrize(
    "word",
    [
        "smollm2:135m",
        "SmolLM2:135M",
        "gpt-oss:20b",
        "gpt-oss",
        "GPT2",
        "openai/gpt-oss-20b",
        "ggml-org/gpt-oss-20b-GGUF:MXFP4",
        "hf.co/ggml-org/gpt-oss-20b-GGUF:mxfp4",
        "hf:someone/model",
        "https://huggingface.co/someone/model/blob/main/a.gguf",
        "missing.gguf",
        "some/where/missing.gguf",
        "here.txt",
    ],
)
def test_words_that_name_a_model(word: str, tmp_path: Path) -> None:
    (tmp_path / "here.txt").touch()
    assert hub.is_model_word(word)


@pytest.mark.parametrize(
    "word",
    ["", "Why", "Why is the sky blue?", "compare a/b and c/d", "and/", "/", "a/b/c", "now: go"],
)
def test_words_that_are_prompts(word: str) -> None:
    assert hub.is_model_word(word) == (word == "/")  # the root folder exists


def test_an_existing_path_is_itself(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.touch()
    assert hub.resolve(file) == hub.resolve(str(file)) == file
    assert hub.resolve(tmp_path) == tmp_path


def test_a_model_that_is_here_needs_no_network(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = REGISTRY["smollm2:135m"]
    path = models / "smollm2-135m" / entry.file_name
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(entry.file_bytes)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert hub.resolve("smollm2:135m") == path


@pytest.mark.parametrize("name", ["openai/gpt-oss-20b", "gpt-oss:120b", "hf:a/b", "a/b:x.gguf"])
def test_what_would_be_fetched_is_not_when_offline(name: str) -> None:
    with pytest.raises(UnreachableError, match="the wish to stay offline"):
        hub.resolve(name)


def test_an_absent_file_is_named() -> None:
    with pytest.raises(ModelNotFoundError, match=re.escape("[no/such.gguf] a model file must")):
        hub.resolve("no/such.gguf")


@pytest.mark.parametrize("name", ["smolm2:135m", "smollm", "smollm2:13"])
def test_an_unknown_name_gets_known_ones_to_choose_from(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=f"but got '{name}'") as caught:
        hub.resolve(name)
    assert "smollm2:135m" in caught.value.hint


@pytest.mark.parametrize("verb", [hub.remove, hub.pull])
def test_verbs_on_unknown_names_fail(verb: object) -> None:
    with pytest.raises(ModelNotFoundError, match="smollm2:135m"):
        verb("smollm")  # type: ignore[operator]


@given(st.text())
def test_no_text_is_more_than_a_mistake(text: str) -> None:
    hub.is_model_word(text)
    try:
        path = hub.resolve(text)
    except IngleError:
        return
    assert path.exists()


@pytest.mark.parametrize("text", ["x" * 5000, "a\0b", "~nobody-of-that-name/x", "\ud800"])
def test_odd_text_is_only_a_mistake(text: str) -> None:
    assert not hub.is_model_word(text)
    with pytest.raises(ModelNotFoundError):
        hub.resolve(text)


def test_a_home_that_is_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGLE_MODELS", "~nobody-of-that-name/models")
    with pytest.raises(IngleError, match=r"\[INGLE_MODELS\] the home folder in .* must be known"):
        hub.listing()
