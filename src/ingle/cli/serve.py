"""``ingle serve``: owns how the server is told of on the terminal, and what it is started with."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingle import hub
from ingle.cli.address import split_address
from ingle.config import get
from ingle.errors import IngleError
from ingle.llm import LLM
from ingle.plan.limits import parse_size
from ingle.serve.launch import serve as run
from ingle.serve.rack import Place, Rack

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """How models are loaded. prefix_cache: bytes in RAM; disk: folder and bytes, None for none."""

    context: int | None
    threads: int | None
    parallel: int
    prefix_cache: int
    disk: tuple[Path, int] | None


def load(name: str, settings: Settings) -> LLM:
    """A model ready to be served. Raises IngleError."""
    model = LLM(
        name,
        context=settings.context,
        threads=settings.threads,
        parallel=settings.parallel,
        prefix_cache=settings.prefix_cache,
    )
    if settings.disk is not None:
        model.keep_prefixes(*settings.disk)
    return model


def serve(
    models: Sequence[str],
    host: str | None,
    port: int | None,
    context: int | None,
    parallel: int,
    cache_ram: str,
    kept: tuple[Path, str] | None,
    threads: int | None,
) -> None:
    """Load the first model, then serve until Ctrl-C. Raises IngleError.

    kept: folder and size of what prompts began with, across restarts.
    """
    names = list(models) or [hub.DEFAULT_MODEL]
    address, number = split_address(str(get("host")))
    address, number = host or address, number if port is None else port
    if address not in _LOOPBACK:
        rule = f"the server has no keys yet and must stay on this machine, but got {address}"
        raise IngleError("--host", rule, "--host 127.0.0.1")
    cache = parse_size(cache_ram, "--cache-ram")
    disk = None if kept is None else (kept[0], parse_size(kept[1], "--cache-size"))
    settings = Settings(context, threads, parallel, cache, disk)
    places = [Place(name, functools.partial(load, name, settings)) for name in dict.fromkeys(names)]
    for place in places:
        hub.resolve(place.name)  # fetched now, and not while a client waits
    places[0].model = places[0].load()

    def ready(url: str) -> None:
        print(f"serving {', '.join(p.name for p in places)} at {url}", file=sys.stderr)
        print(f"OpenAI: {url}/v1   Ctrl-C ends", file=sys.stderr, flush=True)

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    run(Rack(places), address, number, ready)
