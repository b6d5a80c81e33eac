"""`ingle run` with a prompt: which words are what, what goes to which stream, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ingle.runtime.presets import PRESETS

PIPES: dict[str, Any] = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
}
posix = pytest.mark.skipif(os.name != "posix", reason="sends signals, closes pipes early")


@pytest.fixture
def ingle(ingle: Any) -> Any:
    """As everywhere, with a home of its own."""
    ingle.env["INGLE_HOME"] = str(ingle.folder / "home")
    return ingle


def asked(ingle: Any, verb: str = "chat") -> Any:
    """What the model was asked, and that it was asked once."""
    (call,) = [call for call in ingle.calls() if verb in call]
    return call[verb] if verb == "generate" else last(call[verb])


def last(messages: list[dict[str, str]]) -> str:
    assert messages[-1]["role"] == "user"
    return messages[-1]["content"]


def test_a_single_word_that_is_no_model_is_the_prompt(ingle: Any) -> None:
    ended = ingle("run", "Why is the sky blue?")
    assert (ended.code, ended.out, ended.err) == (0, "You said: Why is the sky blue?\n", "")
    opened, chat, closed = ingle.calls()
    assert opened["model"] == "smollm2:135m"
    assert chat["chat"] == [{"role": "user", "content": "Why is the sky blue?"}]
    assert closed == {"closed": True}


def test_a_known_name_comes_first(ingle: Any) -> None:
    ended = ingle("run", "smollm2:135m", "Hello", "there")
    assert ended.out == "You said: Hello there\n"


def test_a_path_comes_first(ingle: Any) -> None:
    (ingle.folder / "mine.gguf").touch()
    assert ingle("run", "mine.gguf", "Hello").out == "You said: Hello\n"
    assert ingle.calls()[0]["model"] == "mine.gguf"


def test_options_may_follow_the_prompt_and_reach_the_model(ingle: Any) -> None:
    sampling = ["--temperature=0.5", "--top-p=0.9", "--top-k=40", "--max-tokens=7", "--seed=3"]
    settings = ["--threads=2", "--backend=reference", "--context=512"]
    penalties = ["--repetition-penalty=1.1", "--presence-penalty=0.5", "--frequency-penalty=-1"]
    others = [
        "--min-p=0.05",
        "--typical-p=0.8",
        "--preset=code",
        "--experts=2",
        "--exact",
        "--think=high",
    ]
    assert ingle("run", "Hi", *sampling, *settings, *penalties, *others).code == 0
    opened, chat, _ = ingle.calls()
    assert {key: opened[key] for key in ("threads", "backend", "context", "exact")} == {
        "threads": 2,
        "backend": "reference",
        "context": 512,
        "exact": True,
    }
    assert chat == {
        "chat": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "reasoning": "high",
        "preset": "code",
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "typical_p": 0.8,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.5,
        "frequency_penalty": -1.0,
        "max_tokens": 7,
        "seed": 3,
        "logprobs": None,
        "num_experts_per_tok": 2,
    }


def test_help_tells_the_presets_as_they_are(ingle: Any) -> None:
    told = " ".join(ingle("run", "--help").out.split())
    assert "|".join(PRESETS) in told
    first, *others, last = (f"{options['temperature']:g}" for options in PRESETS.values())
    assert f"at temperature {first}, {', '.join(others)} or {last};" in told


def test_options_not_typed_are_left_to_the_model(ingle: Any) -> None:
    assert ingle("run", "Hi").code == 0
    _, chat, _ = ingle.calls()
    assert {value for key, value in chat.items() if key not in ("chat", "stream")} == {None}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["smolm2:135m", "Hi"], "hint: known names like it: smollm2:135m"),
        (["no/such.gguf", "Hi"], "[no/such.gguf] a model file must exist"),
        (["Why", "is", "it"], "hint: put quotes around a prompt of several words"),
        (["TCP/IP"], "if it was meant as a prompt: ingle run smollm2:135m TCP/IP"),
        (["key:value"], "if it was meant as a prompt: ingle run smollm2:135m key:value"),
        (["./nothere", "Hi"], "[./nothere] a model's file or folder must exist, but got nothing"),
        (["~/nothere", "Hi"], "hint: check the path; `ingle list` shows what is here"),
        ([""], "[PROMPT] a prompt must hold text"),
        (["  \n"], "[PROMPT] a prompt must hold text"),
        ([], "[PROMPT] a prompt must hold text"),
        (["Hi", "--temperature", "-1"], "[--temperature] the temperature must be"),
        (["Hi", "--temperature", "nan"], "but got nan"),
        (["Hi", "--temperature", "inf"], "but got inf"),
        (["Hi", "--top-p", "0"], "[--top-p] the share must be above 0"),
        (["Hi", "--top-p", "1.5"], "but got 1.5"),
        (["Hi", "--top-k", "-1"], "[--top-k]"),
        (["Hi", "--temperature", "101"], "[--temperature]"),
        (["Hi", "--min-p", "1.5"], "[--min-p]"),
        (["Hi", "--typical-p", "0"], "[--typical-p]"),
        (["Hi", "--repetition-penalty", "0"], "[--repetition-penalty]"),
        (["Hi", "--presence-penalty", "2.5"], "[--presence-penalty]"),
        (["Hi", "--frequency-penalty", "nan"], "[--frequency-penalty]"),
        (["Hi", "--preset", "wild"], "[--preset] the preset must be one of creative, code,"),
        (["Hi", "--experts", "0"], "[--experts]"),
        (["Hi", "--json", "--logprobs", "21"], "[--logprobs] the count must be from 0 to 20"),
        (["Hi", "--format", "yaml"], "[--format] the format must be known, but got 'yaml'"),
        (["Hi", "--format", "no.json"], "[--format] the file must be readable text"),
        (["Hi", "--yes"], "[--yes] it is about tools, but got no --tools"),
        (["Hi", "--tool-choice", "auto"], "[--tool-choice] it is about tools"),
        (["Hi", "--tools", "no.py"], "[--tools] calls must be approved at a terminal"),
        (["Hi", "--tools", "no.py", "--yes"], "[--tools] it must be a Python file"),
        (["Hi", "--raw", "--style", "structured"], "[--style] raw text has no place for it"),
        (["Hi", "--reasoning-budget", "-1"], "[--reasoning-budget] the count must be"),
        (["Hi", "--think", "much"], "[--reasoning] the level must be one of on, off, none"),
        (["Hi", "--raw", "--system", "Be terse."], "[--system] raw text has no place for it"),
        (["Hi", "--raw", "--think", "low"], "[--reasoning] raw text has no place for it"),
        (["Hi", "--raw", "-c"], "[--continue] raw text has no place for it"),
        (["Hi", "-c"], "[--continue] a conversation must have been saved, but got none"),
        (["-f", "no-such.txt"], "[-f] the file must be readable, but got 'no-such.txt': No such"),
        (["-f", "."], "[-f] the file must be readable, but got '.': Is a directory"),
        (["Hi", "--num-ctx", "0"], "[--context] the count must be at least 1"),
        (["Hi", "--logprobs", "1"], "[--logprobs] log-probabilities are shown as JSON alone"),
        (["Hi", "--max-tokens", "0"], "[--max-tokens]"),
        (["Hi", "--seed", "-1"], "[--seed]"),
        (["Hi", "--seed", str(2**64)], "[--seed]"),
        (["Hi", "--threads", "0"], "[--threads]"),
        (["Hi", "--threads", "5000"], "[--threads]"),
        (["Hi", "--context", "0"], "[--context]"),
        (["Hi", "--backend", "gpu"], "[--backend] the backend must be cpu or reference"),
        (["script: mistake"], "[context] the prompt must fit, but got more.\nhint: ask for less"),
        (["script: memory"], "[memory] the model must fit"),
    ],
)
def test_mistakes_are_told_and_exit_2(ingle: Any, words: list[str], told: str) -> None:
    ended = ingle("run", *words)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert ended.err.startswith("[")
    assert [line[:5] for line in ended.err.splitlines()][1:] in (["hint:"], [])
    assert len(ended.err.splitlines()) == 2 or words == ["script: memory"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["run", "Hi", "--temprature", "1"],
            "[--temprature] an option must be one that `ingle run` has, but got --temprature.\n"
            "hint: did you mean --temperature?",
        ),
        (["run", "--no-such-thing"], "hint: `ingle run -h` lists them"),
        (["run", "Hi", "--seed", "x"], "[--seed] the value must be a whole number, but got 'x'."),
        (["run", "Hi", "--seed=1.5"], "[--seed] the value must be a whole number, but got '1.5'."),
        (
            ["run", "Hi", "--min-p", "x"],
            "[--min-p] the value must be a number, but got 'x'.\nhint: see `ingle run -h`",
        ),
        (["run", "Hi", "--seed"], "[--seed] the option needs a value after it, but got none."),
        (["run", "Hi", "--raw=1"], "[--raw] the option stands alone, but got a value."),
        (["create", "x", "-f"], "[-f] the option needs a value after it, but got none."),
        (["show"], "[NAME] `ingle show` needs it, but got none.\nhint: `ingle show -h` shows"),
        (["cp", "a"], "[NEW] `ingle cp` needs it, but got none."),
        (["rm"], "[NAME] `ingle rm` needs it, but got none."),
        (["list", "all"], "[ingle list] the command takes fewer words, but got 'all' too."),
        (["runn", "Hi"], "[ingle] a command must be a known one, but got 'runn'.\nhint: did you"),
        (["--fast"], "[--fast] an option must be one that `ingle` has, but got --fast."),
    ],
)
def test_wrong_usage_is_told_in_two_lines_and_exits_2(
    ingle: Any, words: list[str], told: str
) -> None:
    ended = ingle(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(told) or told in ended.err
    assert [line[:1] for line in ended.err.splitlines()] == ["[", "h"]


def test_ingle_alone_shows_its_help(ingle: Any) -> None:
    ended = ingle()
    assert (ended.code, ended.out) == (2, "")
    assert "Commands:" in ended.err


def test_a_bug_is_one_line_and_exits_1(ingle: Any) -> None:
    ended = ingle("run", "script: bug")
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert "KeyError" in line
    assert "INGLE_TRACEBACK=1" in line


def test_a_bug_shows_its_place_on_demand(ingle: Any) -> None:
    ended = ingle("run", "script: bug", INGLE_TRACEBACK="1")
    assert ended.code == 1
    assert ended.err.startswith("Traceback")
    assert "scripted_llm.py" in ended.err


def test_raw_continues_text(ingle: Any) -> None:
    assert ingle("run", "--raw", "Once upon").out == "You said: Once upon\n"
    assert asked(ingle, "generate") == "Once upon"


def test_piped_text_is_the_prompt(ingle: Any) -> None:
    assert ingle("run", piped=b"From a pipe\n").code == 0
    assert asked(ingle) == "From a pipe"


def test_piped_text_ends_the_prompt(ingle: Any) -> None:
    assert ingle("run", "smollm2:135m", "Sum up:", piped="Körper\n".encode()).code == 0
    assert asked(ingle) == "Sum up:\n\nKörper"


def test_an_empty_pipe_adds_nothing(ingle: Any) -> None:
    assert ingle("run", "Hi", piped=b"").code == 0
    assert asked(ingle) == "Hi"


def test_raw_piped_text_keeps_every_byte(ingle: Any) -> None:
    assert ingle("run", "--raw", piped=b"  a\r\n\n").code == 0
    assert asked(ingle, "generate") == "  a\r\n\n"


@pytest.mark.parametrize(
    ("piped", "told"),
    [
        (b"caf\xe9", "[stdin] piped text must be UTF-8, but got another byte at offset 3"),
        (b"a" * ((16 << 20) + 1), "[stdin] piped text must have at most 16 MiB"),
        (b" \n", "[PROMPT] a prompt must hold text"),
    ],
)
def test_odd_pipes_exit_2(ingle: Any, piped: bytes, told: str) -> None:
    ended = ingle("run", piped=piped)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err


@posix
def test_a_prompt_that_is_not_utf8_exits_2(ingle: Any) -> None:
    ended = ingle("run", os.fsdecode(b"caf\xe9"))
    assert ended.code == 2
    assert "a prompt must be UTF-8" in ended.err


def test_json_is_one_object_and_nothing_else(ingle: Any) -> None:
    ended = ingle("run", "Grüße", "--json", "--verbose")
    assert ended.code == 0
    assert len(ended.out.splitlines()) == 1
    answer = json.loads(ended.out, parse_constant=pytest.fail)
    timings = answer.pop("timings")
    assert answer == {
        "model": "smollm2:135m",
        "text": "You said: Grüße",
        "prompt_tokens": 4,
        "completion_tokens": 3,
        "finish_reason": "stop",
    }
    assert timings["load_s"] == 0.25
    assert timings["decode_tokens_per_s"] is None
    assert "scripted kernels" in ended.err


def test_json_tells_log_probabilities_on_demand(ingle: Any) -> None:
    ended = ingle("run", "Hi", "--json", "--logprobs", "2")
    answer = json.loads(ended.out, parse_constant=pytest.fail)
    top = [
        {"token_id": 8, "text": "ü", "logprob": -0.5},
        {"token_id": 9, "text": "b", "logprob": None},
    ]
    assert answer["logprobs"] == [{"token_id": 7, "text": "a", "logprob": -1.5, "top": top}] * 3


def test_a_file_is_part_of_the_prompt(ingle: Any) -> None:
    (ingle.folder / "notes.txt").write_text("Körper\n")
    assert ingle("run", "Sum up:", "-f", "notes.txt", piped=b"and this\n").code == 0
    assert asked(ingle) == "Sum up:\n\nKörper\n\nand this"


def test_a_file_alone_is_the_prompt_to_the_byte_with_raw(ingle: Any) -> None:
    (ingle.folder / "story.txt").write_text("Once \n")
    assert ingle("run", "--raw", "--file", "story.txt").code == 0
    assert asked(ingle, "generate") == "Once \n"


def test_a_file_that_is_not_utf8_exits_2(ingle: Any) -> None:
    (ingle.folder / "odd.txt").write_bytes(b"caf\xe9")
    assert "[odd.txt] a prompt's file must be UTF-8" in ingle("run", "-f", "odd.txt").err


def test_a_system_message_comes_first(ingle: Any) -> None:
    assert ingle("run", "Hi", "--system", "Be terse.", "--num-ctx", "64").code == 0
    opened, chat, _ = ingle.calls()
    assert opened["context"] == 64
    assert chat["chat"] == [
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": "Hi"},
    ]


def test_reasoning_goes_to_stderr_and_the_answer_to_stdout(ingle: Any) -> None:
    ended = ingle("run", "script: think")
    assert (ended.out, ended.err) == ("It is two.\n", "Hm, let me</thi see.\n\n")


def test_reasoning_may_be_hidden(ingle: Any) -> None:
    ended = ingle("run", "script: think", "--hide-reasoning", "--no-stream")
    assert (ended.out, ended.err) == ("It is two.\n", "")


def test_json_tells_reasoning_apart(ingle: Any) -> None:
    answer = json.loads(ingle("run", "script: think", "--json").out)
    assert (answer["text"], answer["reasoning"]) == ("It is two.", "Hm, let me</thi see.")
    hidden = json.loads(ingle("run", "script: think", "--json", "--hide-reasoning").out)
    assert hidden["text"] == "It is two." and "reasoning" not in hidden


def test_no_stream_shows_the_same(ingle: Any) -> None:
    assert ingle("run", "Hi", "--no-stream").out == "You said: Hi\n"
    assert ingle("run", "Hi", "--no-stream", "--raw").out == "You said: Hi\n"


def test_the_latest_conversation_goes_on(ingle: Any) -> None:
    (ingle.folder / "mine.gguf").touch()
    assert ingle("run", "mine.gguf", "First", "--system", "Be terse.").code == 0
    assert ingle("run", "Second", "-c").code == 0
    assert ingle("run", "Third", "--continue", "--json").code == 0
    assert {call["model"] for call in ingle.calls() if "model" in call} == {"mine.gguf"}
    chats = [call["chat"] for call in ingle.calls() if "chat" in call]
    assert [one["content"] for one in chats[2]] == [
        "Be terse.",
        "First",
        "You said: First",
        "Second",
        "You said: Second",
        "Third",
    ]


def test_what_shall_not_be_saved_is_not(ingle: Any) -> None:
    assert ingle("run", "Hi", "--no-save").code == 0
    assert ingle("run", "Hi", "--raw").code == 0
    assert not (ingle.folder / "home").exists()


def test_an_answer_is_given_though_it_cannot_be_saved(ingle: Any) -> None:
    home = ingle.folder / "home"
    home.mkdir()
    (home / "conversations.db").write_bytes(b"no database" * 100)
    ended = ingle("run", "Hi")
    assert (ended.code, ended.out) == (0, "You said: Hi\n")
    assert "the file of conversations must be usable" in ended.err
    assert "(this conversation is not saved)" in ended.err
    assert ingle("run", "Hi", "-c").code == 2


@pytest.mark.parametrize("option", ["--json", "--raw"])
def test_json_and_raw_need_a_prompt(ingle: Any, option: str) -> None:
    assert ingle("run", option).code == 2


def test_verbose_tells_timings_on_stderr(ingle: Any) -> None:
    ended = ingle("run", "Hi", "--verbose")
    assert ended.out == "You said: Hi\n"
    assert "smollm2:135m, scripted kernels, loaded in 0.25 s" in ended.err
    assert (
        "4 tokens (1 of them kept) in 0.50 s, 8.0 tokens/s, first token after 0.62 s" in ended.err
    )
    assert "ended by stop" in ended.err


def test_an_answer_cut_by_the_context_is_told(ingle: Any) -> None:
    assert "the context is full at 8 tokens" in ingle("run", "script: cut").err
    assert ingle("run", "script: cut", "--json").err == ""


def test_an_answer_cut_by_its_length_is_told(ingle: Any) -> None:
    ended = ingle("run", "script: max", "--max-tokens", "3")
    assert ended.err == "(cut: max tokens, 3, is reached)\n"


def test_a_terminal_that_is_not_utf8_still_shows_text(ingle: Any) -> None:
    ended = ingle("run", "snow ☃", PYTHONIOENCODING="ascii")
    assert (ended.code, ended.out) == (0, "You said: snow ?\n")


@posix
def test_a_reader_that_leaves_is_no_error(ingle: Any) -> None:
    command = [*ingle.command, "run", "script: long"]
    with subprocess.Popen(command, env=ingle.env, **PIPES) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.read(8) == b"You said"
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 141
    assert {"cancelled": True} in ingle.calls()


@posix
def test_ctrl_c_ends_quietly_with_130(ingle: Any) -> None:
    command = [*ingle.command, "run", "script: long, slow"]
    with subprocess.Popen(command, env=ingle.env, **PIPES) as child:
        assert child.stdout is not None
        assert child.stdout.read(8) == b"You said"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, b"")
    assert {"cancelled": True} in ingle.calls()
    assert ingle.calls()[-1] == {"closed": True}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_exits_2(ingle: Any) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*ingle.command, "run", "Hi"],
            env=ingle.env,
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert (ended.returncode, ended.stderr.decode()) == (
        2,
        "[system] the system must allow what was asked, but got No space left on device.\n"
        "hint: check that it exists, that it may be used, and that the disk has room\n",
    )


@posix
@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_closed_streams_are_no_error(ingle: Any, closed: str) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *ingle.command, "run", "Hi"]
    ended = subprocess.run(command, env=ingle.env, capture_output=True)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert asked(ingle) == "Hi"
