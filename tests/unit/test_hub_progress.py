"""How waiting looks in a pipe. Bars are seen in test_hub_pull.py."""

from __future__ import annotations

import pytest

from ingle.hub import progress


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (98_362_432, "98.4 MB"), (10**16, "10000.0 TB")],
)
def test_sizes_read_in_decimal_units(num_bytes: int, text: str) -> None:
    assert progress.as_size(num_bytes) == text


def test_lines_tell_every_tenth_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.shown("a:1b") as waiting:
        waiting.stage("fetching a", 4000)
        for done_bytes in (0, 200, 1000, 1100, 4000):
            waiting.at(done_bytes)
        waiting.note("ready")
    assert capsys.readouterr() == (
        "",
        "a:1b: fetching a (4.0 kB)\n"
        "a:1b: fetching a: 25% of 4.0 kB, 9 s left\n"
        "a:1b: fetching a: 100% of 4.0 kB, 0 s left\n"
        "a:1b: ready\n",
    )


def test_lines_are_no_oftener_than_twice_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(tick / 10 for tick in range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.shown("a:1b") as waiting:
        waiting.stage("fetching a", 10)
        for done_bytes in range(11):
            waiting.at(done_bytes)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" of ")[0] for line in told[1:]] == [
        "a:1b: fetching a: 40%",
        "a:1b: fetching a: 90%",
    ]
