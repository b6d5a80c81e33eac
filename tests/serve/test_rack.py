"""Models come and go on the rack: by name, by time, by the memory that is theirs."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingle.errors import IngleError, ModelNotFoundError
from ingle.hub import also_called
from ingle.plan.limits import available_bytes
from ingle.plan.memory import MemoryPlan
from ingle.runtime import BusyError
from ingle.serve import exchange, rack
from ingle.serve.budget import Budget, Demand
from ingle.serve.exchange import Exchange
from ingle.serve.rack import Place, Rack

GIB = 1 << 30


class Idle:
    """A model that does nothing; `running` is what it says of itself."""

    context_tokens = 64

    def __init__(self) -> None:
        self.running = 0
        self.closed = False

    def status(self) -> dict[str, int]:
        return {"running": self.running, "waiting": 0}

    def close(self) -> None:
        self.closed = True

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def plan(weights: int, each: int) -> Any:
    return lambda n: MemoryPlan({"attention": weights, "kv_full": n * each}, 64, n)


def place(name: str, weights: int = 3 * GIB, **others: Any) -> Place:
    return Place(name, Idle, demand=Demand(plan(weights, GIB), most=4, **others))  # type: ignore[arg-type]


def names_loaded(made: Rack) -> list[str]:
    return [p.name for p in made.places.values() if p.model is not None]


ASKED = [
    ("gpt-oss:20b", "gpt-oss-20b"),
    ("gpt-oss:20b", "openai/gpt-oss-20b"),
    ("gpt-oss:20b", "GPT-OSS:20B"),
    ("gpt-oss:20b", "gpt-oss:latest"),
    ("gpt-oss:20b", "ggml-org/gpt-oss-20b-GGUF"),
    ("openai/gpt-oss-20b", "gpt-oss:20b"),
    ("/models/gpt-oss-20b.gguf", "gpt-oss-20b"),
    ("smollm2:135m", "smollm2:135m"),
    ("mine", "mine:latest"),
]


@pytest.mark.parametrize(("name", "asked"), ASKED)
def test_names_that_clients_use(name: str, asked: str) -> None:
    made = Rack([place("other"), place(name)], Budget(GIB))
    assert made.place(asked).name == name


def test_any_name_means_the_only_model() -> None:
    assert Rack([place("a")], Budget(GIB)).place("gpt-4o").name == "a"
    with pytest.raises(ModelNotFoundError, match="served: a, b"):
        Rack([place("a"), place("b")], Budget(GIB)).place("gpt-4o")


def test_what_is_on_the_machine_is_put_up_when_asked_for() -> None:
    here = {"b": place("b")}
    made = Rack([place("a")], Budget(GIB), discover=here.get)
    assert made.place("b").name == "b"
    assert list(made.places) == ["a", "b"]
    alone = Rack([place("a")], Budget(GIB), discover={}.get)
    with pytest.raises(ModelNotFoundError):
        alone.place("gpt-oss:120b")  # known and not here: another one would be a surprise
    assert alone.place("gpt-4o").name == "a"


@pytest.mark.parametrize("name", ["gpt-4o", "claude-opus-4-5", "nope", ""])
def test_names_mean_the_same_whatever_others_asked_for(name: str) -> None:
    here = {"a": lambda: place("a"), "b": lambda: place("b")}

    def find(name: str) -> Place | None:
        return here[name]() if name in here else None

    made = Rack([place("a")], Budget(GIB), discover=find)
    assert made.place(name).name == "a"
    assert made.place("b").name == "b"
    assert made.place(name).name == "a"
    made.remove("a")  # its name was given to something else
    assert made.place(name).name == "a"
    del here["a"]
    made.remove("a")
    with pytest.raises(ModelNotFoundError):
        made.place(name)


def test_the_model_idle_longest_makes_room() -> None:
    async def run() -> None:
        made = Rack([place("a"), place("b"), place("c")], Budget(10 * GIB))
        for name in ("a", "b"):
            await made.model(name)
        await made.model("a")
        first = made.places["b"].model
        await made.model("c")
        assert names_loaded(made) == ["a", "c"]
        assert isinstance(first, Idle) and first.closed

    asyncio.run(run())


def test_models_in_use_stay() -> None:
    async def run() -> None:
        made = Rack([place("a"), place("b")], Budget(5 * GIB))
        around = Exchange()
        token = exchange.current.set(around)
        await made.model("a")
        with pytest.raises(BusyError) as told:
            await made.model("b")
        assert told.value.retry_after_s >= 1
        around.end()
        exchange.current.reset(token)
        await made.model("b")
        assert names_loaded(made) == ["b"]

    asyncio.run(run())


def test_a_model_that_never_fits_is_a_mistake() -> None:
    async def run() -> None:
        made = Rack([place("a", 30 * GIB)], Budget(8 * GIB))
        with pytest.raises(IngleError, match=r"31\.00 GiB .* 8\.00 GiB"):
            await made.model("a")
        assert made.places["a"].demand is not None and made.places["a"].demand.nbytes == 0

    asyncio.run(run())


def test_sequences_leave_room_for_the_other_models() -> None:
    async def run() -> None:
        made = Rack([place("a"), place("b")], Budget(10 * GIB))
        await made.model("a")
        granted = made.places["a"].demand
        assert granted is not None and granted.granted is not None
        assert granted.granted.batch == 3  # 10 less b's 3 + 1, less a's 3 for weights
        await made.model("b")
        assert names_loaded(made) == ["a", "b"]

    asyncio.run(run())


def test_a_model_that_cannot_be_loaded_gives_its_memory_back() -> None:
    def broken() -> Any:
        raise IngleError("file", "it must be whole, but got half")

    async def run() -> None:
        made = Rack([Place("a", broken, demand=Demand(plan(GIB, GIB)))], Budget(4 * GIB))
        with pytest.raises(IngleError, match="half"):
            await made.model("a")
        assert made.places["a"].demand is not None and made.places["a"].demand.nbytes == 0

    asyncio.run(run())


def test_an_idle_model_goes_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rack, "_LOOK_S", 0.001)

    async def until_gone(made: Rack, name: str) -> None:
        while made.places[name].model is not None:
            await asyncio.sleep(0.001)

    async def run() -> None:
        made = Rack([place("a"), place("b")], Budget(20 * GIB), keep_s=math.inf)
        tending = asyncio.create_task(made.tend())
        model = await made.model("a", keep_s=0)
        await made.model("b")
        assert isinstance(model, Idle)
        await asyncio.wait_for(until_gone(made, "a"), 20)
        assert names_loaded(made) == ["b"]
        while not model.closed:
            await asyncio.sleep(0.001)
        assert made.expires_s(made.places["b"]) == math.inf
        busy = await made.model("a", keep_s=0)
        assert isinstance(busy, Idle)
        busy.running = 1
        await asyncio.sleep(0.05)
        assert not busy.closed
        busy.running = 0
        await asyncio.wait_for(until_gone(made, "a"), 20)
        tending.cancel()

    asyncio.run(run())


def test_unloading() -> None:
    async def run() -> None:
        made = Rack([place("a")], Budget(20 * GIB))
        with pytest.raises(IngleError, match="none is loaded, but got 'a'"):
            await made.unload("a")
        await made.model("a")
        for name in ("nope", ""):
            with pytest.raises(IngleError, match=f"one of a, but got {name!r}"):
                await made.unload(name)
        assert names_loaded(made) == ["a"]
        await made.unload("A:latest")
        assert names_loaded(made) == []
        made.remove("a")
        assert not made.places

    asyncio.run(run())


def test_many_who_ask_at_once_load_once() -> None:
    loads: list[Idle] = []

    def load() -> Any:
        loads.append(Idle())
        return loads[-1]

    async def run() -> None:
        made = Rack([Place("a", load)], Budget(GIB))
        await asyncio.gather(*(made.model("a") for _ in range(20)))

    asyncio.run(run())
    assert len(loads) == 1


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 36), st.integers(0, 1 << 36), st.data())
def test_what_is_granted_fits(weights: int, each: int, cache: int, data: st.DataObject) -> None:
    demand = Demand(plan(weights, each), most=16, cache_bytes=cache)
    room = data.draw(st.integers(demand.least_bytes(), 1 << 45))
    demand.grant(room)
    assert demand.granted is not None
    assert demand.nbytes <= room and demand.cache <= cache
    more = demand.granted.batch + 1
    assert more > 16 or plan(weights, each)(more).total_bytes + cache > room
    demand.give_back()
    assert demand.nbytes == 0


def test_a_limit_above_the_machines_is_a_mistake() -> None:
    with pytest.raises(IngleError, match="--memory"):
        Budget(1 << 60)


def test_available_memory_is_read(tmp_path: Any) -> None:
    assert available_bytes(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 10 kB\nMemAvailable:  7 kB\n")
    assert available_bytes(tmp_path) == 7168


def test_aliases_are_lower_case_and_hold_the_name() -> None:
    for name in ("gpt-oss:120b", "Some/Repo", "x.gguf"):
        found = also_called(name)
        assert name.lower() in found and all(one == one.lower() for one in found)
