"""`ingle list`, `pull`, `rm`, `inspect`, `--version` and `--help`."""

from __future__ import annotations

from typing import Any

import pytest

from ingle import __version__


def test_list_shows_what_is_here(ingle: Any) -> None:
    head, row = ingle("list").out.splitlines()
    assert head.split() == ["NAME", "SIZE", "HERE", "WHAT", "IT", "IS"]
    assert row.split()[:4] == ["smollm2:135m", "98.4", "MB", "yes"]


def test_pull_of_what_is_here_prints_its_path(ingle: Any) -> None:
    ended = ingle("pull", "smollm2:135m")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("SmolLM2-135M-Instruct.Q4_1.gguf\n")


def test_rm_removes_and_then_has_nothing_to_remove(ingle: Any) -> None:
    assert ingle("rm", "smollm2:135m").out == "removed smollm2:135m: 98.4 MB free again\n"
    assert ingle("list").out.splitlines()[1].split()[3] == "-"
    ended = ingle("rm", "smollm2:135m")
    assert ended.code == 2
    assert "must be on this machine to be removed" in ended.err


@pytest.mark.parametrize("command", ["pull", "rm", "inspect"])
def test_unknown_names_exit_2(ingle: Any, command: str) -> None:
    ended = ingle(command, "smollm")
    assert (ended.code, ended.out) == (2, "")
    assert "hint: known names like it: smollm2:135m" in ended.err


def test_pull_of_a_repository_is_for_later(ingle: Any) -> None:
    ended = ingle("pull", "openai/gpt-oss-20b")
    assert ended.code == 2
    assert "Hugging Face downloads arrive" in ended.err


@pytest.mark.parametrize("option", [(), ("--json",), ("--tensors",)])
def test_inspect_of_a_known_name_reads_its_file(ingle: Any, option: tuple[str, ...]) -> None:
    ended = ingle("inspect", "smollm2:135m", *option)  # a file of holes, and so no GGUF
    assert (ended.code, ended.out) == (2, "")
    assert "SmolLM2-135M-Instruct.Q4_1.gguf" in ended.err


def test_version(ingle: Any) -> None:
    assert ingle("--version").out == f"ingle {__version__}\n"


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["run", "--help"], ["inspect", "-h"]])
def test_help(ingle: Any, args: list[str]) -> None:
    ended = ingle(*args)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Usage: ingle")


def test_help_of_run_shows_how_words_are_read(ingle: Any) -> None:
    shown = " ".join(ingle("run", "--help").out.split())
    assert shown.upper().startswith("USAGE: INGLE RUN [OPTIONS] [MODEL] [PROMPT]...")
    assert "smollm2:135m if left out" in shown
