"""Ollama's client lists, pulls, names, shows and removes models, against a hub on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from ingle import LLM, hub
from ingle.hub import blob
from ingle.serve.rack import Place, Rack

TINY = Path(__file__).parents[1] / "golden" / "tiny_gpt_oss" / "llama_cpp.gguf"
REPO = "someone/tiny-GGUF"


@pytest.fixture
def client(hub_server: Any, home: Path, serve: Callable[[Any], str]) -> Iterator[ollama.Client]:
    """Of a server that finds what is on this machine, and has nothing put up at its start."""
    hub_server.add(REPO, {"tiny-Q8_0.gguf": TINY.read_bytes()})

    def discover(name: str) -> Place | None:
        return Place(name, lambda: LLM(name, threads=1)) if hub.is_here(name) else None

    with ollama.Client(host=serve(Rack([], discover=discover))) as made:
        yield made


def test_a_model_from_its_pull_to_its_end(client: ollama.Client) -> None:
    assert client.list().models == []
    told = list(client.pull(REPO, stream=True))
    assert told[0].status == "pulling manifest"
    assert told[-1].status == "success"
    (size,) = {one.total for one in told if one.total}
    assert size == TINY.stat().st_size
    assert max(one.completed or 0 for one in told) == size
    assert len({one.digest for one in told if one.digest}) == 1

    (listed,) = client.list().models
    assert (listed.model, listed.size) == (REPO, size)
    assert listed.details is not None and listed.details.family == "gptoss"
    assert listed.digest and len(listed.digest) == 64

    shown = client.show(REPO)
    assert shown.modelinfo["general.architecture"] == "gpt-oss"
    assert shown.modelinfo["gpt-oss.context_length"] > 0
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert shown.modelfile == f"FROM {REPO}"

    client.copy(REPO, "mine:1")
    assert {model.model for model in client.list().models} == {REPO, "mine:1"}
    other = httpx.get(f"{client._client.base_url}/v1/models").json()
    assert {model["id"] for model in other["data"]} == {REPO, "mine:1"}
    with pytest.raises(ollama.ResponseError, match="no other model must be made from it"):
        client.delete(REPO)
    client.delete("mine:1")
    client.delete(REPO)
    assert client.list().models == []
    with pytest.raises(ollama.ResponseError) as gone:
        client.delete(REPO)
    assert gone.value.status_code == 404


def test_a_model_that_is_made(client: ollama.Client) -> None:
    made = client.create(
        "made:1",
        from_=REPO,
        system="You are a pirate.",
        parameters={"temperature": 0.3, "num_ctx": 64, "stop": ["end"]},
        license="MIT",
    )
    assert made.status == "success"  # and its base was fetched
    assert {model.model for model in client.list().models} == {REPO, "made:1"}
    shown = client.show("made:1")
    assert shown.license == "MIT"
    assert shown.parameters is not None and shown.modelfile is not None
    lines = {tuple(line.split(maxsplit=1)) for line in shown.parameters.splitlines()}
    assert {("temperature", "0.3"), ("num_ctx", "64"), ("stop", '"end"')} <= lines
    assert 'SYSTEM """You are a pirate."""' in shown.modelfile

    loaded = client.chat("made:1", keep_alive="10m")
    assert loaded.done_reason == "load"
    (running,) = client.ps().models
    assert (running.model, running.context_length) == ("made:1", 64)
    client.create("made:1", from_=REPO, parameters={"num_ctx": 32})  # anew, and so loaded anew
    assert client.ps().models == []
    client.generate("made:1")
    assert client.ps().models[0].context_length == 32


@pytest.mark.parametrize(
    ("path", "body", "rule"),
    [
        ("pull", {}, "must name a model"),
        ("pull", {"model": "/etc/passwd"}, "must be a model's name"),
        ("pull", {"model": "../x"}, "must be a model's name"),
        ("show", {"model": "here.gguf"}, "must be a model's name"),
        ("show", {"name": "~/x"}, "must be a model's name"),
        ("copy", {"source": "/etc/passwd", "destination": "x"}, "must be a model's name"),
        ("create", {"model": "x", "from": "./here.gguf"}, "must be a model's name"),
        ("create", {"model": "x", "from": REPO, "quantize": "q4_0"}, "base and settings"),
        ("create", {"model": "x", "from": REPO, "adapters": {"a": "b"}}, "base and settings"),
        ("create", {"model": "x", "from": REPO, "files": {"a": "b"}}, "base and settings"),
        ("create", {"model": "x", "from": REPO, "template": "{{ .Prompt }}"}, "must be Jinja"),
        ("create", {"model": "x", "from": REPO, "template": "{{ a"}, "[template] it is a Jinja"),
        ("create", {"model": "x", "from": REPO, "template": "{% for %}"}, "[template] it is"),
        ("create", {"model": "x", "modelfile": f"FROM {REPO}\nTEMPLATE {{% x"}, "[template]"),
        ("create", {"model": "x", "from": REPO, "parameters": {"top_k": "x"}}, "whole number"),
        ("create", {"model": "x", "from": REPO, "parameters": {"tpo_k": 1}}, "a known one"),
        ("create", {"model": "x", "modelfile": "FROM ./here.gguf"}, "must be a model's name"),
        ("create", {"model": "a b", "from": REPO}, "must be a model's name"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_refused(
    client: ollama.Client, home: Path, path: str, body: dict[str, Any], rule: str, stream: bool
) -> None:
    (home / "here.gguf").write_bytes(TINY.read_bytes())
    url = str(client._client.base_url)
    answer = httpx.post(f"{url}/api/{path}", json={"stream": stream, **body}, timeout=60)
    assert answer.status_code == 400, answer.text
    assert rule in answer.json()["error"]


def test_a_pull_that_fails(client: ollama.Client) -> None:
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError, match="be open to you"):
            list(client.pull("someone/absent", stream=stream))


def test_a_pull_that_nobody_waits_for_ends_and_goes_on_later(
    client: ollama.Client, hub_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob, "PART_BYTES", 1 << 16)
    hub_server.holds.clear()
    told = client.pull(REPO, stream=True)
    for line in told:
        if line.total:
            break
    assert hub_server.half_sent.wait(30)
    told.close()  # type: ignore[attr-defined]
    hub_server.holds.set()
    with contextlib.suppress(ollama.ResponseError):
        assert client.pull(REPO).status == "success"
    assert [model.model for model in client.list().models] == [REPO]
