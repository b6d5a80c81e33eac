"""What prefix reuse saves: a long conversation, a restart, and many conversations in turn.

    python benchmarks/prefix_reuse.py MODEL [--turns 10] [--context 4096] [--threads 2]

Starts `ingle serve MODEL` itself. Each turn is asked twice, with reuse and with it switched off
(`X-Prefix-Cache: off`): time to the first token, tokens at hand, and whether texts and
log-probabilities are the same bits. Then the server is started again over the same folder, and
`--conversations` that share a system prompt are asked in turn. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

WORDS = (
    *("sky", "sea", "tree", "stone", "river", "light", "cloud", "road", "house", "door"),
    *("hand", "song", "rain", "snow", "bread", "field", "hill", "night", "bird", "wind"),
)
FALLBACK = "It is as it was, and so it stays."  # history where random weights said nothing


@dataclass
class Answer:
    """first_s: from the request to the first token. ids: tokens and log-probabilities."""

    text: str
    tokens: list[tuple[str, float]]
    first_s: float
    prompt: int
    cached: int


def words(count: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def wish(count: int, seed: int) -> str:
    return f"{words(count, seed)}\nWrite a long story in which all of these come."


@contextmanager
def server(args: argparse.Namespace, folder: Path) -> Iterator[httpx.Client]:
    command = [sys.executable, "-m", "ingle.cli", "serve", args.model, "--port", "0"]
    command += ["--context", str(args.context), "--cache-dir", str(folder), "--keep-alive", "-1"]
    command += ["--cache-ram", args.cache_ram, "--cache-size", args.cache_size]
    command += ["--threads", str(args.threads)] if args.threads else []
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("OpenAI: "):
                break
        else:
            raise SystemExit("the server did not start")
        with httpx.Client(base_url=line.split()[1], timeout=1200) as http:
            yield http
    finally:
        process.terminate()
        process.communicate()


def ask(http: httpx.Client, messages: list[dict[str, str]], tokens: int, reuse: bool) -> Answer:
    body: dict[str, Any] = {
        "messages": messages,
        "max_tokens": tokens,
        "temperature": 0,
        "logprobs": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {} if reuse else {"X-Prefix-Cache": "off"}
    said, found = "", []
    usage: dict[str, Any] = {}
    first_s = 0.0
    began = time.perf_counter()
    with http.stream("POST", "/chat/completions", json=body, headers=headers) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            assert "error" not in event, event
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                logprobs = (choice.get("logprobs") or {}).get("content") or []
                found += [(one["token"], one["logprob"]) for one in logprobs]
                delta = choice["delta"]
                said += delta.get("content") or ""
                if not first_s and (logprobs or set(delta) - {"role", "content"} or said):
                    first_s = time.perf_counter() - began
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return Answer(
        said, found, first_s or time.perf_counter() - began, usage["prompt_tokens"], cached
    )


def told(name: str, warm: Answer, cold: Answer) -> dict[str, Any]:
    row = {
        "what": name,
        "prompt": warm.prompt,
        "cached": warm.cached,
        "warm_s": round(warm.first_s, 4),
        "cold_s": round(cold.first_s, 4),
        "share": round(warm.first_s / cold.first_s, 4),
        "tokens": len(warm.tokens),
        "equal": warm.tokens == cold.tokens and warm.text == cold.text,
    }
    columns = f"{row['prompt']:>7}{row['cached']:>7}{warm.first_s:>9.3f}{cold.first_s:>9.3f}"
    verdict = "same bits" if row["equal"] else "DIFFER"
    print(f"{name:<26}{columns}{row['share']:>8.3f}{row['tokens']:>7}  {verdict}", flush=True)
    return row


def conversation(args: argparse.Namespace, folder: Path) -> tuple[list[Any], list[Any]]:
    """Turns with their answers, and after a restart one more."""
    messages = [{"role": "system", "content": words(args.system_words, 1)}]
    messages.append({"role": "user", "content": wish(args.first_words, 2)})
    rows = []
    with server(args, folder) as http:
        for turn in range(args.turns):
            warm = ask(http, messages, args.answer, reuse=True)
            cold = ask(http, messages, args.answer, reuse=False)
            rows.append(told(f"turn {turn + 1}", warm, cold))
            messages.append({"role": "assistant", "content": warm.text.strip() or FALLBACK})
            messages.append({"role": "user", "content": wish(args.turn_words, 3 + turn)})
            time.sleep(args.think)
    with server(args, folder) as http:
        warm = ask(http, messages, args.answer, reuse=True)
        cold = ask(http, messages, args.answer, reuse=False)
    return rows, [told("after a restart", warm, cold)]


def in_turn(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Conversations that share a system prompt, each asked once in each round."""
    system = {"role": "system", "content": words(args.shared_words, 99)}
    every = [[system] for _ in range(args.conversations)]
    rows = []
    with server(args, folder) as http:
        for turn in range(args.rounds):
            for number, messages in enumerate(every):
                text = wish(args.turn_words, 1000 * turn + number)
                messages.append({"role": "user", "content": text})
                got = ask(http, messages, args.short_answer, reuse=True)
                messages.append({"role": "assistant", "content": got.text.strip() or FALLBACK})
                row = {"round": turn + 1, "conversation": number + 1, "prompt": got.prompt}
                rows.append(row | {"cached": got.cached, "first_s": round(got.first_s, 4)})
                name = f"round {turn + 1}, conversation {number + 1}"
                print(f"{name:<26}{got.prompt:>7}{got.cached:>7}{got.first_s:>9.3f}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--answer", type=int, default=60, help="tokens")
    parser.add_argument("--think", type=float, default=2.0, help="seconds between turns")
    parser.add_argument("--system-words", type=int, default=100)
    parser.add_argument("--first-words", type=int, default=1200)
    parser.add_argument("--turn-words", type=int, default=30)
    parser.add_argument("--conversations", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shared-words", type=int, default=1500)
    parser.add_argument("--short-answer", type=int, default=16, help="tokens, of those in turn")
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cache-ram", default="1GiB")
    parser.add_argument("--cache-size", default="4GiB")
    args = parser.parse_args()
    print(f"{'':<26}{'prompt':>7}{'cached':>7}{'warm s':>9}{'cold s':>9}{'share':>8}{'tokens':>7}")
    with tempfile.TemporaryDirectory() as folder:
        turns, again = conversation(args, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        many = in_turn(args, Path(folder))
    later = turns[1:] or turns
    shared = [r for r in many if r["round"] > 1 or r["conversation"] > 1]
    result = {
        "model": args.model,
        "share_median": statistics.median(row["share"] for row in later),
        "share_worst": max(row["share"] for row in later),
        "share_after_restart": again[0]["share"],
        "all_equal": all(row["equal"] for row in [*turns, *again]),
        "least_cached_share": round(min(r["cached"] / r["prompt"] for r in shared), 4),
        "turns": turns,
        "restart": again,
        "in_turn": many,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
