"""`ingle list`, `pull`, `rm`, `cp`, `create`, `inspect`, `--version`, `--help`; see hub_server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingle import __version__


@pytest.fixture
def alone(ingle: Any, tmp_path: Path) -> Any:
    """`ingle` to whom this machine's other models, and the network, are closed."""
    for name in [name for name in ingle.env if name.startswith(("HF_", "OLLAMA_"))]:
        del ingle.env[name]
    ingle.env |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "INGLE_OFFLINE": "1"}
    return ingle


def test_list_shows_what_is_here_first(alone: Any) -> None:
    head, row, *others = alone("list").out.splitlines()
    assert head.split() == ["NAME", "SIZE", "HERE", "WHAT", "IT", "IS"]
    assert row.split()[:4] == ["smollm2:135m", "98.4", "MB", "ingle"]
    assert {other.split()[3] for other in others} == {"-"}
    assert "gpt-oss:20b" in {other.split()[0] for other in others}
    assert alone("ls").out == alone("list").out


def test_pull_of_what_is_here_prints_its_path(alone: Any) -> None:
    ended = alone("pull", "smollm2:135m")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("SmolLM2-135M-Instruct.Q4_1.gguf\n")


def test_rm_removes_and_then_has_nothing_to_remove(alone: Any) -> None:
    assert alone("rm", "smollm2:135m").out == "removed smollm2:135m: 98.4 MB free again\n"
    rows = {row.split()[0]: row.split()[3] for row in alone("list").out.splitlines()[1:]}
    assert rows["smollm2:135m"] == "-"
    ended = alone("rm", "smollm2:135m")
    assert ended.code == 2
    assert "must be on this machine to be removed" in ended.err


@pytest.mark.parametrize("command", ["pull", "rm", "inspect", "show"])
def test_unknown_names_exit_2(alone: Any, command: str) -> None:
    ended = alone(command, "smollm")
    assert (ended.code, ended.out) == (2, "")
    assert "hint: known names like it: smollm2:135m" in ended.err


@pytest.mark.parametrize("args", [("gpt-oss:20b",), ("openai/gpt-oss-20b",), ("-hf", "a/b:Q8_0")])
def test_pulls_of_repositories_ask_the_hub(alone: Any, args: tuple[str, ...]) -> None:
    ended = alone("pull", *args)
    assert (ended.code, ended.out) == (2, "")
    assert "pulling needs the network, but got the wish to stay offline" in ended.err


def test_show_fetches_nothing(alone: Any) -> None:
    ended = alone("show", "gpt-oss:20b")
    assert (ended.code, ended.out) == (2, "")
    assert "hint: `ingle pull gpt-oss:20b` fetches it" in ended.err


def test_run_takes_a_repository_as_llama_cpp_does(alone: Any) -> None:
    ended = alone("run", "-hf", "a/b:Q8_0", "Hello")
    assert ended.code == 2
    assert "[a/b:Q8_0] pulling needs the network" in ended.err


@pytest.mark.parametrize("args", [(), ("gpt2", "-hf", "a/b")])
def test_a_pull_names_one_model(alone: Any, args: tuple[str, ...]) -> None:
    ended = alone("pull", *args)
    assert ended.code == 2
    assert "one model must be named" in ended.err


@pytest.mark.parametrize("args", [("ps",), ("stop",), ("stop", "gpt-oss:20b")])
def test_verbs_of_the_server_say_that_none_runs(alone: Any, args: tuple[str, ...]) -> None:
    ended = alone(*args, INGLE_HOST="127.0.0.1:1")
    assert ended.code == 2
    assert "a server of ingle's must run at 127.0.0.1:1, but got no answer" in ended.err
    assert "hint: start one with `ingle serve`" in ended.err


def test_a_model_is_created_copied_listed_and_removed(alone: Any, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FROM smollm2:135m\nPARAMETER seed 7\nSYSTEM Be brief.\n")
    assert alone("create", "brief").out.startswith("created brief over ")
    assert alone("cp", "brief", "short").out == "short is brief\n"
    names = [row.split()[0] for row in alone("list").out.splitlines()[1:4]]
    assert names == ["brief", "short", "smollm2:135m"]
    assert "PARAMETER seed 7" in alone("show", "short", "--modelfile").out
    ended = alone("rm", "smollm2:135m")
    assert "no other model must be made from it, but got brief, short" in ended.err
    assert alone("rm", "brief", "short", "smollm2:135m").code == 0


def test_a_modelfile_that_is_not_there_is_told(alone: Any) -> None:
    ended = alone("create", "x", "-f", "nothing")
    assert ended.code == 2
    assert "the Modelfile must be readable, but got No such file" in ended.err


@pytest.mark.parametrize("option", [(), ("--json",), ("--tensors",)])
def test_inspect_of_a_known_name_reads_its_file(alone: Any, option: tuple[str, ...]) -> None:
    ended = alone("inspect", "smollm2:135m", *option)  # a file of holes, and so no GGUF
    assert (ended.code, ended.out) == (2, "")
    assert "SmolLM2-135M-Instruct.Q4_1.gguf" in ended.err


def test_version(ingle: Any) -> None:
    assert ingle("--version").out == f"ingle {__version__}\n"


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["run", "--help"], ["pull", "-h"]])
def test_help(ingle: Any, args: list[str]) -> None:
    ended = ingle(*args)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Usage: ingle")


def test_help_of_run_shows_how_words_are_read(ingle: Any) -> None:
    shown = " ".join(ingle("run", "--help").out.split())
    assert shown.upper().startswith("USAGE: INGLE RUN [OPTIONS] [MODEL] [PROMPT]...")
    assert "smollm2:135m if left out" in shown
