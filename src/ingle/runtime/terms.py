"""Owns on which terms a request waits and runs among others. It does not know what it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from ingle.errors import IngleError


@dataclass(frozen=True)
class Terms:
    """priority: higher goes first. client: those who ask take turns, whoever asks most.

    deadline: in seconds of `time.perf_counter`; what is not done by then ends. buffer: tokens
    computed ahead of their reader. boundaries: places in the prompt, in tokens, at which another
    prompt may part from this one (the ends of turns): what can be resumed there is kept longest.
    reuse: a prefix that is at hand is not computed again; the logits are the same bits either way.
    """

    priority: int = 0
    client: str = ""
    deadline: float | None = None
    buffer: int = 1
    boundaries: tuple[int, ...] = ()
    reuse: bool = True


USUAL = Terms()


class BusyError(IngleError):
    """More is asked for than can wait; in about `retry_after_s` seconds there is room again."""

    def __init__(self, rule: str, retry_after_s: float) -> None:
        super().__init__("server", rule, f"ask again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class ClosingError(BusyError):
    """The engine ends, and with it what it had not answered yet."""

    def __init__(self) -> None:
        super().__init__("the server must be running on, but it is being stopped", 5.0)


class DeadlineError(IngleError):
    """A request was not done in the time it was given."""
