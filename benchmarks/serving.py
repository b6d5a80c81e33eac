"""Many clients of `ingle serve` at once: rates, gaps between tokens, memory, and equal answers.

    python benchmarks/serving.py URL [--clients 32] [--seconds 60] [--pid PID] [--leave 0.2]

Each client asks one of a few prompts with greedy streaming, again and again; some leave in the
middle. Every finished answer must equal the same request sent alone, before the load. Last line:
JSON. --pid: the server's, for its memory and file descriptors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

WORDS = (
    *("sky", "sea", "tree", "stone", "river", "light", "cloud", "road"),
    *("house", "door", "hand", "song", "rain", "snow", "bread"),
)


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


def process(pid: int | None) -> tuple[int, int]:
    """Anonymous bytes and open files."""
    if pid is None:
        return 0, 0
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return kib * 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def load(args: argparse.Namespace) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=args.clients * 2)
    async with httpx.AsyncClient(base_url=args.url, timeout=300, limits=limits) as http:
        alone = [(await answer(http, request(n)))[0] for n in range(args.prompts)]
        counts = {"finished": 0, "left": 0, "unequal": 0, "tokens": 0}
        firsts: list[float] = []
        gaps: list[float] = []
        ends = time.perf_counter() + args.seconds
        warm = process(args.pid)
        began = time.perf_counter()

        async def client(seed: int) -> None:
            draw = random.Random(seed)
            while time.perf_counter() < ends:
                number = draw.randrange(args.prompts)
                leave = draw.randint(1, 10) if draw.random() < args.leave else None
                text, times = await answer(http, request(number), leave)
                counts["tokens"] += max(0, len(times) - 1)
                between = [b - a for a, b in pairwise(times)]
                firsts.extend(between[:1])
                gaps.extend(between[1:])
                counts["left" if text is None else "finished"] += 1
                counts["unequal"] += text is not None and text != alone[number]

        await asyncio.gather(*(client(seed) for seed in range(args.clients)))
        spent = time.perf_counter() - began
    after = process(args.pid)
    gaps.sort()
    asked = counts["finished"] + counts["left"]
    return counts | {
        "clients": args.clients,
        "seconds": round(spent, 1),
        "tokens_per_s": round(counts["tokens"] / spent, 1),
        "first_token_median_s": round(statistics.median(firsts), 4),
        "gap_median_s": round(statistics.median(gaps), 4),
        "gap_p99_s": round(gaps[int(len(gaps) * 0.99)], 4),
        "anonymous_bytes_per_request": round((after[0] - warm[0]) / max(1, asked)),
        "files": [warm[1], after[1]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--leave", type=float, default=0.2, help="share of answers left early")
    parser.add_argument("--pid", type=int)
    result = asyncio.run(load(parser.parse_args()))
    for name, value in result.items():
        print(f"{name:<30}{value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
