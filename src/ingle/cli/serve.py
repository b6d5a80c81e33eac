"""``ingle serve``: owns how the server is told of on the terminal, and what it is started with."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

from ingle import hub
from ingle.cli.address import split_address
from ingle.config import get
from ingle.errors import IngleError
from ingle.llm import LLM
from ingle.plan.limits import parse_size
from ingle.serve.launch import serve as run
from ingle.serve.rack import Place, Rack

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    models: Sequence[str],
    host: str | None,
    port: int | None,
    context: int | None,
    parallel: int,
    cache_ram: str,
    threads: int | None,
) -> None:
    """Load the first model, then serve until Ctrl-C. Raises IngleError."""
    names = list(models) or [hub.DEFAULT_MODEL]
    address, number = split_address(str(get("host")))
    address, number = host or address, number if port is None else port
    if address not in _LOOPBACK:
        rule = f"the server has no keys yet and must stay on this machine, but got {address}"
        raise IngleError("--host", rule, "--host 127.0.0.1")
    cache = parse_size(cache_ram, "--cache-ram")
    places = [
        Place(
            name,
            functools.partial(
                LLM, name, context=context, threads=threads, parallel=parallel, prefix_cache=cache
            ),
        )
        for name in dict.fromkeys(names)
    ]
    for place in places:
        hub.resolve(place.name)  # fetched now, and not while a client waits
    places[0].model = places[0].load()

    def ready(url: str) -> None:
        print(f"serving {', '.join(p.name for p in places)} at {url}", file=sys.stderr)
        print(f"OpenAI: {url}/v1   Ctrl-C ends", file=sys.stderr, flush=True)

    run(Rack(places), address, number, ready)
