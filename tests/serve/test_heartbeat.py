"""A stream that has nothing to say yet shows that it lives, and ends when nobody reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ingle.serve.heartbeat import COMMENT, lively


def test_silence_is_filled_and_events_stay_in_order() -> None:
    async def run() -> list[bytes]:
        may_go_on = asyncio.Event()

        async def events() -> AsyncIterator[bytes]:
            yield b"a"
            await may_go_on.wait()
            yield b"b"
            yield b"c"

        found = []
        async for event in lively(events(), every_s=0.001):
            found.append(event)
            if found.count(COMMENT) == 3:
                may_go_on.set()
        return found

    found = asyncio.run(run())
    assert [event for event in found if event != COMMENT] == [b"a", b"b", b"c"]
    assert found[0] == b"a" and found.index(b"b") > 3


def test_the_source_hears_that_nobody_reads() -> None:
    async def run() -> bool:
        left = asyncio.Event()

        async def events() -> AsyncIterator[bytes]:
            try:
                await asyncio.Event().wait()
                yield b""
            finally:
                left.set()

        stream = lively(events(), every_s=0.001)
        assert await anext(stream) == COMMENT
        await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.wait_for(left.wait(), 30)
        return left.is_set()

    assert asyncio.run(run())


def test_an_error_of_the_source_is_the_readers() -> None:
    async def run() -> None:
        async def events() -> AsyncIterator[bytes]:
            yield b"a"
            raise RuntimeError("broken")

        async for _ in lively(events()):
            pass

    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(run())
