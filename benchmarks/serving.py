"""Many clients of `ingle serve` at once: rates, gaps between tokens, memory, and equal answers.

    python benchmarks/serving.py [MODEL] [--clients 32] [--seconds 600] [--leave 0.2]
        [--peer LLAMA_SERVER --peer-model FILE] [--peer-seconds 60]

Starts `ingle serve MODEL` itself (or takes --url and --pid of a server that runs). Each client asks
one of a few prompts with greedy streaming, again and again; some leave in the middle, some cut the
connection before the answer begins. Every finished answer must equal the same request sent alone,
before the load. Memory (anonymous) and open files are looked at every second; the slope is fitted
over the requests after the first fifth. With --peer, a llama-server of 8 slots gets the same load
in the same run, before and after. Last line: JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

WORDS = (
    *("sky", "sea", "tree", "stone", "river", "light", "cloud", "road"),
    *("house", "door", "hand", "song", "rain", "snow", "bread"),
)
WARM_UP = 0.2  # share of the requests after which memory should be steady
GOALS = {"bytes_per_request": 100_000, "gap_ratio": 3.0, "peer_ratio": 1.5}


@dataclass
class Seen:
    """One server under load. memory: (requests so far, anonymous bytes, open files)."""

    finished: int = 0
    left: int = 0
    refused: int = 0
    unequal: int = 0
    tokens: int = 0
    seconds: float = 0.0
    firsts: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    memory: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def asked(self) -> int:
        return self.finished + self.left


def request(number: int) -> dict[str, Any]:
    draw = random.Random(number)
    text = "Write about " + " and ".join(draw.choices(WORDS, k=draw.randint(1, 60)))
    return {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": draw.choice([8, 24, 64]),
        "temperature": 0,
        "stream": True,
    }


async def answer(
    http: httpx.AsyncClient, body: dict[str, Any], leave_after: int | None = None
) -> tuple[str | None, list[float]]:
    """The text (None: left, or refused), and when its pieces came."""
    times = [time.perf_counter()]
    text = ""
    headers = {"Connection": "close"}  # some servers close idle connections unasked
    async with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        if response.status_code == 503:
            await asyncio.sleep(float(response.headers["Retry-After"]))
            return None, []
        response.raise_for_status()
        if leave_after == 0:
            return None, times
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            assert "error" not in event, event
            piece = "".join(c["delta"].get("content") or "" for c in event["choices"])
            if piece:
                times.append(time.perf_counter())
                text += piece
            if leave_after is not None and len(times) > leave_after:
                return None, times
    return text, times


def process(pid: int) -> tuple[int, int]:
    """Anonymous bytes and open files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return kib * 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def load(
    url: str, pid: int | None, args: argparse.Namespace, seconds: float, alone: list[str | None]
) -> Seen:
    """Clients for so long. alone: answers that each must get; filled first if it is empty."""
    seen = Seen()
    limits = httpx.Limits(max_connections=args.clients * 2)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as http:
        if not alone:
            alone += [(await answer(http, request(n)))[0] for n in range(args.prompts)]
        began = time.perf_counter()
        ends = began + seconds

        async def client(seed: int) -> None:
            draw = random.Random(seed)
            while time.perf_counter() < ends:
                number = draw.randrange(args.prompts)
                leave = draw.randint(0, 10) if draw.random() < args.leave else None
                text, times = await answer(http, request(number), leave)
                between = [b - a for a, b in pairwise(times)]
                seen.tokens += max(0, len(times) - 1)
                seen.firsts += between[:1]
                seen.gaps += between[1:]
                seen.left += text is None and bool(times)
                seen.refused += not times
                seen.finished += text is not None
                seen.unequal += text is not None and text != alone[number]

        async def watch() -> None:
            while pid is not None:
                seen.memory.append((seen.asked, *process(pid)))
                await asyncio.sleep(1)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(client(seed) for seed in range(args.clients)))
        watching.cancel()
        seen.seconds = time.perf_counter() - began
    return seen


def slope(points: list[tuple[int, int]]) -> float:
    """Bytes per request, by least squares."""
    x, y = [p[0] for p in points], [p[1] for p in points]
    return statistics.linear_regression(x, y).slope if len(set(x)) > 1 else 0.0


def summary(seen: Seen) -> dict[str, Any]:
    gaps = sorted(seen.gaps)
    median = statistics.median(gaps)
    p99 = gaps[int(len(gaps) * 0.99)]
    steady = [one for one in seen.memory if one[0] >= WARM_UP * seen.asked] or seen.memory
    found = {
        "seconds": round(seen.seconds, 1),
        "finished": seen.finished,
        "left": seen.left,
        "refused": seen.refused,
        "unequal": seen.unequal,
        "tokens_per_s": round(seen.tokens / seen.seconds, 1),
        "first_token_median_s": round(statistics.median(seen.firsts), 4),
        "gap_median_s": round(median, 4),
        "gap_p99_s": round(p99, 4),
        "gap_ratio": round(p99 / median, 2),
    }
    if steady:
        files = [one[2] for one in steady]
        found["bytes_per_request"] = round(slope([one[:2] for one in steady]))
        found["anonymous_mib"] = [round(one[1] / 2**20, 1) for one in (steady[0], steady[-1])]
        found["files"] = [min(files), statistics.median(files), max(files)]
    return found


@contextlib.contextmanager
def started(command: list[str], url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is healthy at `url`; what it prints goes nowhere."""
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, stderr=nowhere, stdout=nowhere)
    try:
        while not is_healthy(url):
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} did not start")
            time.sleep(0.2)
        yield process
        process.terminate()
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


@contextlib.contextmanager
def ours(args: argparse.Namespace) -> Iterator[tuple[str, int | None]]:
    if args.url:
        yield args.url, args.pid
        return
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "ingle.cli", "serve", args.model, "--port", str(port)]
    command += ["--context", str(args.context), "--keep-alive", "-1"]
    with started(command, url) as process:
        yield url, process.pid


@contextlib.contextmanager
def peer(args: argparse.Namespace) -> Iterator[str]:
    port = free_port()
    command = [args.peer, "-m", args.peer_model, "--port", str(port), "--parallel", "8"]
    command += ["-c", str(8 * args.context)]
    url = f"http://127.0.0.1:{port}"
    with started(command, url):
        yield url


async def run(args: argparse.Namespace) -> dict[str, Any]:
    """Everything, one server under load at a time."""
    alone: list[str | None] = []
    peer_alone: list[str | None] = []
    peers: list[Seen] = []

    async def load_peer() -> None:
        if args.peer:
            with peer(args) as url:
                peers.append(await load(url, None, args, args.peer_seconds, peer_alone))

    await load_peer()
    with ours(args) as (url, pid):
        result = summary(await load(url, pid, args, args.seconds, alone))
    await load_peer()
    result |= {"clients": args.clients, "goals": GOALS}
    if peers:
        seconds = sum(one.seconds for one in peers)
        rate = sum(one.tokens for one in peers) / seconds
        result["peer"] = [summary(one) for one in peers]
        result["peer_ratio"] = round(result["tokens_per_s"] / rate, 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2:135m")
    parser.add_argument("--url", help="of a server that runs already")
    parser.add_argument("--pid", type=int, help="its process")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--leave", type=float, default=0.2, help="share of answers left early")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--peer", help="path of a llama-server")
    parser.add_argument("--peer-model", help="the GGUF file that it serves")
    parser.add_argument("--peer-seconds", type=float, default=60)
    args = parser.parse_args()
    if bool(args.peer) != bool(args.peer_model):
        parser.error("--peer and --peer-model belong together")
    result = asyncio.run(run(args))
    for name, value in result.items():
        print(f"{name:<24}{value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
