"""``ingle serve``: owns how the server is told of on the terminal, and what it is started with."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ingle import env, hub
from ingle.cli.address import split_address
from ingle.config import get, parse_seconds
from ingle.errors import IngleError
from ingle.llm import LLM
from ingle.llm.model import DEFAULT_CONTEXT
from ingle.llm.named import named
from ingle.ops import USUAL_KV_TYPE, kv_dtype
from ingle.plan.anatomy import anatomy
from ingle.plan.limits import parse_size
from ingle.plan.memory import MemoryPlan, plan_memory
from ingle.plan.subject import open_subject
from ingle.runtime.engine import MAX_RUNNING
from ingle.serve.app import Doors
from ingle.serve.budget import MOST_SEQUENCES, Budget, Demand
from ingle.serve.keys import Keys, check_key, read_keys
from ingle.serve.launch import Address
from ingle.serve.launch import serve as run
from ingle.serve.origin import Neighbours, own_names
from ingle.serve.rack import Place, Rack

_LOGITS_EACH = 3  # a request's logits, and as much again twice for its penalties


@dataclass(frozen=True)
class Wish:
    """What was said on the command line, as it was typed; None: nothing."""

    host: str | None = None
    port: int | None = None
    context: int | None = None
    threads: int | None = None
    memory: str | None = None
    parallel: int | None = None
    keep_alive: str | None = None
    cache_ram: str = "512MiB"
    cache_dir: Path | None = None
    cache_size: str = "4GiB"
    api_keys: Sequence[str] = ()
    api_key_files: Sequence[Path] = ()
    no_auth: bool = False
    cors_origins: Sequence[str] = ()
    allowed_hosts: Sequence[str] = ()
    grace: str = "10s"
    log_prompts: bool = False
    kv_type: str | None = None


def serve(models: Sequence[str], wish: Wish) -> None:
    """Load the first model, then serve until Ctrl-C. Raises IngleError."""
    if wish.kv_type is not None:
        kv_dtype(wish.kv_type, "--kv-type")
    address = _address(wish)
    address.check()
    put_up = _maker(wish)
    names = list(dict.fromkeys(models)) or [hub.DEFAULT_MODEL]
    for name in names:
        hub.resolve(name)  # fetched now, and not while a client waits
    places = [put_up(name) for name in names]
    _check_apart(names, places)
    budget = Budget(None if wish.memory is None else parse_size(wish.memory, "--memory"))
    rack = Rack(places, budget, _keep_s(wish), discover=None if models else _discover(put_up))
    _log_to_stderr()
    asyncio.run(_preload(rack, places[0].name))

    def ready(url: str) -> None:
        print(f"serving {', '.join(p.name for p in places)} at {url}", file=sys.stderr)
        print(f"OpenAI: {url}/v1   API: {url}/docs   Ctrl-C ends", file=sys.stderr, flush=True)

    kept = None if wish.cache_dir is None else wish.cache_dir / "responses.sqlite"
    run(rack, address, ready, kept)


def _check_apart(names: Sequence[str], places: Sequence[Place]) -> None:
    for name, place in zip(names, places, strict=True):
        if [other.name for other in places].count(place.name) > 1:
            rule = f"models must have names that differ, but got {place.name} twice"
            raise IngleError(name, rule, "`ingle cp` gives a model another name")


async def _preload(rack: Rack, name: str) -> None:
    await rack.model(name)


def _maker(wish: Wish) -> Callable[[str], Place]:
    """Makes places as was wished. Raises IngleError."""
    cache_bytes = parse_size(wish.cache_ram, "--cache-ram")
    disk = None
    if wish.cache_dir is not None:
        disk = wish.cache_dir, parse_size(wish.cache_size, "--cache-size")

    def put_up(name: str) -> Place:
        demand = Demand(
            planner(name, wish.context, wish.kv_type or USUAL_KV_TYPE),
            MOST_SEQUENCES if wish.parallel is None else wish.parallel,
            cache_bytes,
        )
        return Place(_shown(name), lambda: load(name, wish, demand, disk), demand=demand)

    return put_up


def load(name: str, wish: Wish, demand: Demand, disk: tuple[Path, int] | None) -> LLM:
    """A model ready to be served, in the memory it was granted. Raises IngleError."""
    model = LLM(
        name,
        context=wish.context,
        threads=wish.threads,
        parallel=demand.granted.batch if demand.granted else 1,
        prefix_cache=demand.cache,
        kv_type=wish.kv_type,
    )
    if disk is not None:
        model.keep_prefixes(*disk)
    return model


def planner(
    name: str, context: int | None, kv_type: str = USUAL_KV_TYPE
) -> Callable[[int], MemoryPlan]:
    """The plan of a model by sequences; its file is looked at when first asked."""
    known: dict[int, MemoryPlan] = {}

    def plan(sequences: int) -> MemoryPlan:
        if sequences not in known:
            model = anatomy(open_subject(str(hub.resolve(name))), kv_type=kv_type)
            own = context or named(hub.settings(name)).context
            tokens = own or min(DEFAULT_CONTEXT, model.max_context_tokens)
            bare = plan_memory(model, tokens, sequences)
            # Short requests share the pages of a context, but each has logits and a sampler's.
            more = max(0, MAX_RUNNING - sequences) * _LOGITS_EACH * model.logits_bytes
            categories = dict(bare.categories)
            categories["activations"] += more
            known[sequences] = replace(bare, categories=categories)
        return known[sequences]

    return plan


def _discover(put_up: Callable[[str], Place]) -> Callable[[str], Place | None]:
    """Whatever lies on this machine may be asked for by its name; paths may not."""
    return lambda name: put_up(name) if hub.is_here(name) else None


def _shown(name: str) -> str:
    """A model's name for clients: a file's is its own, without where it lies."""
    if hub.is_known(name) or not Path(name).expanduser().exists():
        return name
    return Path(name).resolve().name.removesuffix(".gguf").removesuffix(".safetensors")


def _address(wish: Wish) -> Address:
    host, port = split_address(str(get("host")))
    given = [check_key(key, "--api-key") for key in wish.api_keys]
    for path in wish.api_key_files:
        given += read_keys(path)
    own = env.api_key()
    keys = Keys([*given, *([check_key(own, "INGLE_API_KEY")] if own else [])])
    hosts = None if keys else {*own_names(), *wish.allowed_hosts}
    origins = [*wish.cors_origins, *str(get("origins") or "").split(",")]
    return Address(
        wish.host or host,
        port if wish.port is None else wish.port,
        Doors(keys, Neighbours.of(origins, hosts), wish.log_prompts),
        parse_seconds(wish.grace, "--grace"),
        wish.no_auth,
    )


def _keep_s(wish: Wish) -> float:
    if wish.keep_alive is not None:
        return parse_seconds(wish.keep_alive, "--keep-alive")
    return float(get("keep_alive"))


def _log_to_stderr() -> None:
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("ingle").setLevel(logging.INFO)
