"""What is in force: variables, the file, defaults, and who wins."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingle import config, env
from ingle.errors import IngleError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("INGLE_", "OLLAMA_", "HF_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / ".ingle").mkdir()
    return tmp_path


def write(home: Path, text: str) -> None:
    (home / ".ingle" / "config.toml").write_text(text, encoding="utf-8")


def test_without_words_defaults_hold(home: Path) -> None:
    assert config.models_dir() == home / ".ingle" / "models"
    assert config.get("context") is None
    assert config.get("keep_alive") == 300
    assert {one.origin for one in config.in_force()} == {"default"}


def test_variables_win_over_the_file_and_it_over_defaults(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, 'context = 8192\nmodels = "~/elsewhere"\noffline = true\nkeep_alive = 60\n')
    assert config.get("context") == 8192
    assert config.models_dir() == home / "elsewhere"
    assert config.get("offline") is True
    assert config.get("keep_alive") == 60
    monkeypatch.setenv("OLLAMA_CONTEXT_LENGTH", "2048")
    assert config.get("context") == 2048
    monkeypatch.setenv("INGLE_CONTEXT", "1024")
    origins = {one.setting.name: (one.value, one.origin) for one in config.in_force()}
    assert origins["context"] == (1024, "INGLE_CONTEXT")
    assert origins["offline"] == (True, str(home / ".ingle" / "config.toml"))
    assert origins["threads"] == (None, "default")


def test_ingles_folder_can_lie_elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGLE_HOME", str(home / "other"))
    assert config.models_dir() == home / "other" / "models"
    assert config.path() == home / "other" / "config.toml"


def test_what_ollama_says_holds_where_it_means_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0:8080")
    monkeypatch.setenv("OLLAMA_KEEP_ALIVE", "-1")
    monkeypatch.setenv("OLLAMA_MODELS", "/srv/ollama")
    assert config.get("host") == "0.0.0.0:8080"
    assert config.get("keep_alive") == math.inf
    assert config.get("ollama_models") == Path("/srv/ollama").absolute()


@pytest.mark.parametrize(
    ("text", "seconds"), [("5m", 300), ("1h30m", 5400), ("90", 90), ("500ms", 0.5), ("0", 0)]
)
def test_times(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    monkeypatch.setenv("INGLE_KEEP_ALIVE", text)
    assert config.get("keep_alive") == seconds


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("INGLE_CONTEXT", "many", "context"),
        ("INGLE_CONTEXT", "0", "context"),
        ("INGLE_THREADS", "-2", "threads"),
        ("INGLE_OFFLINE", "perhaps", "offline"),
        ("INGLE_KEEP_ALIVE", "5 parsecs", "keep_alive"),
        ("INGLE_HOST", "a\nb", "host"),
    ],
)
def test_a_mistake_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(IngleError, match=rf"^\[{variable}\] the value must be"):
        config.get(name)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("context = ", "the file must be TOML"),
        ("contxt = 1", "a setting must be a known one, but got 'contxt'"),
        ("[server]\nhost = 1", "a setting must be a known one, but got 'server'"),
        ("context = [1]", "a setting must be text or a number, but got list"),
        ("context = 1.5", "must be a whole number from 1 up"),
        ('cpu = "avx2"', "a setting must be a known one, but got 'cpu'"),
    ],
)
def test_a_mistake_in_the_file_names_the_file(home: Path, text: str, rule: str) -> None:
    write(home, text)
    with pytest.raises(IngleError, match=rule) as caught:
        config.in_force()
    assert "config.toml" in caught.value.where


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes_are_settings_or_a_mistake(home: Path, data: bytes) -> None:
    (home / ".ingle" / "config.toml").write_bytes(data)
    try:
        config.in_force()
    except IngleError:
        return


def test_hugging_faces_cache_is_where_its_tools_keep_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert env.huggingface_cache() == home / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert env.huggingface_cache() == home / "xdg" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", str(home / "hf"))
    assert env.huggingface_cache() == home / "hf" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "cache"))
    assert env.huggingface_cache() == home / "cache"


def test_config_shows_value_and_origin(ingle: Any, tmp_path: Path) -> None:
    write(tmp_path, "context = 8192\n")
    ended = ingle("config", INGLE_HOME=str(tmp_path / ".ingle"), OLLAMA_HOST="0.0.0.0")
    assert ended.code == 0
    rows = {line.split()[0]: line.split()[1:3] for line in ended.out.splitlines() if line}
    assert rows["host"] == ["0.0.0.0", "OLLAMA_HOST"]
    assert rows["context"] == ["8192", str(tmp_path / ".ingle" / "config.toml")]
