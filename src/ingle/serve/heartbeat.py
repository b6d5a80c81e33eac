"""Owns signs of life on a stream: something is sent while a long prompt is computed.

Clients and proxies give up on connections that are silent. It does not know what streams say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

EVERY_S = 15.0
COMMENT = b": still here\n\n"  # clients of server-sent events skip it


async def lively(
    events: AsyncIterator[bytes],
    beat: Callable[[], bytes] = lambda: COMMENT,
    every_s: float = EVERY_S,
) -> AsyncIterator[bytes]:
    """`events`, and a `beat` after every `every_s` seconds without one."""
    task: asyncio.Task[bytes | None] | None = None
    try:
        while True:
            task = asyncio.create_task(_next(events))
            while not (await asyncio.wait({task}, timeout=every_s))[0]:
                yield beat()
            event = task.result()
            if event is None:
                return
            yield event
    finally:
        if task is not None:
            task.cancel()  # whoever makes the events learns that nobody reads them


async def _next(events: AsyncIterator[bytes]) -> bytes | None:
    return await anext(events, None)
