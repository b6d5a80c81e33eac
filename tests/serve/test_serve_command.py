"""What `ingle serve` is started with, before anybody can ask it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingle.cli import ps
from ingle.cli.serve import Wish, load, planner, serve
from ingle.errors import IngleError
from ingle.runtime.kv import page_bytes
from ingle.serve.budget import Demand

WRONG: list[tuple[Wish, str]] = [
    (Wish(host="0.0.0.0"), "needs a key"),
    (Wish(memory="64MiB"), r"\[memory\] .* needs .* GiB of memory for one sequence"),
    (Wish(memory="lots"), "--memory"),
    (Wish(keep_alive="soon"), "--keep-alive"),
    (Wish(grace="soon"), "--grace"),
    (Wish(cors_origins=["ui.example"]), "--cors-origin"),
    (Wish(api_keys=["a b"]), "--api-key"),
    (Wish(api_key_files=[Path("/nowhere")]), "--api-key-file"),
    (Wish(cache_ram="much"), "--cache-ram"),
    (Wish(context=1 << 30), "--context"),
]


@pytest.mark.parametrize(("wish", "said"), WRONG)
def test_what_cannot_be_meant_is_told_at_once(scripted_folder: Path, wish: Wish, said: str) -> None:
    with pytest.raises(IngleError, match=said):
        serve([str(scripted_folder)], wish)


def test_two_models_of_one_name_are_told_apart(scripted_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / scripted_folder.name
    other.symlink_to(scripted_folder)
    with pytest.raises(IngleError, match="got scripted twice"):
        serve([str(scripted_folder), str(other)], Wish())


def test_what_is_granted_is_what_is_taken(scripted_folder: Path) -> None:
    demand = Demand(planner(str(scripted_folder), 200), most=3, cache_bytes=1 << 18)
    demand.grant(1 << 32)
    assert demand.granted is not None and demand.granted.batch == 3
    with load(str(scripted_folder), Wish(context=200, threads=1), demand, None) as llm:
        taken = llm.engine.store.nbytes
        pages = [page_bytes(group, 2) for group in llm.engine.store.layout.groups]
    spare = taken - demand.granted.kv_bytes
    assert 0 <= demand.cache - spare < sum(pages) + max(pages)  # whole pages of every group


TIMES = [
    ({"loaded": False}, ""),
    ({"loaded": True, "users": 1, "expires_s": None}, "in use"),
    ({"loaded": True, "users": 0, "waiting": 2, "expires_s": 3.0}, "in use"),
    ({"loaded": True, "users": 0, "expires_s": None}, "it is stopped"),
    ({"loaded": True, "users": 0, "expires_s": 61.9}, "1m01s"),
    ({"loaded": True, "users": 0, "expires_s": 7322.0}, "2h02m"),
]


@pytest.mark.parametrize(("model", "said"), TIMES)
def test_until_when_a_model_stays(model: dict[str, object], said: str) -> None:
    assert ps.until(model) == said
