"""Measures Harmony: microseconds to parse a token as it streams, tokens rendered per second.

    python benchmarks/harmony.py

Parsing feeds one id at a time and keeps the events; rendering lowers and renders conversations of
many turns, each of them new text. The last line is JSON.
"""

from __future__ import annotations

import json
import platform
import random
import statistics
import time
from collections.abc import Callable

from ingle.chat.conversation import Conversation, Message, ToolCall
from ingle.chat.harmony import FunctionTool, HarmonyParser, HarmonySettings, render_conversation
from ingle.tokenizer import o200k_harmony

RUNS = 9
WORDS = ["the", "weather", "in", "a", "city", "was", "fine", "and", "nobody", "minded", "rain"]
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "The city and country"},
        "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
        "days": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["city"],
}


def conversation(luck: random.Random, turns: int) -> Conversation:
    """Questions, reasoning, calls, results and answers of some hundred tokens each."""

    def text(count: int) -> str:
        return " ".join(luck.choice(WORDS) + str(luck.randrange(100)) for _ in range(count))

    said = [Message("system", text(50))]
    for turn in range(turns):
        call = ToolCall("get_weather", json.dumps({"city": text(2)}), str(turn))
        said += [
            Message("user", text(60)),
            Message("assistant", "", reasoning=text(80), tool_calls=(call,)),
            Message("tool", text(100), tool_call_id=str(turn)),
            Message("assistant", text(120)),
        ]
    return Conversation(tuple(said))


def timed(work: Callable[[], int]) -> list[float]:
    """Seconds per token of each run."""
    found = []
    for _ in range(RUNS):
        started = time.perf_counter()
        count = work()
        found.append((time.perf_counter() - started) / count)
    return found


def main() -> None:
    """Print both figures."""
    luck = random.Random(1)
    tool = FunctionTool("get_weather", "Gets the weather.", SCHEMA)
    settings = HarmonySettings(tools=(tool,), date="2025-06-28")
    waiting = [conversation(luck, 20) for _ in range(RUNS)]
    short = [[conversation(luck, 1) for _ in range(30)] for _ in range(RUNS)]
    stream = render_conversation(conversation(luck, 50), settings)
    o200k_harmony()

    def parse() -> int:
        parser = HarmonyParser(None)
        kept = [event for token_id in stream for event in parser.feed(token_id)]
        assert kept and not parser.repairs
        return len(stream)

    per_parsed = timed(parse)
    per_long = timed(lambda: len(render_conversation(waiting.pop(), settings)))
    per_short = timed(lambda: sum(len(render_conversation(c, settings)) for c in short.pop()))
    report = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "parse_us_per_token": round(statistics.median(per_parsed) * 1e6, 2),
        "parse_us_worst": round(max(per_parsed) * 1e6, 2),
        "render_long_tokens_per_s": round(1 / statistics.median(per_long)),
        "render_short_tokens_per_s": round(1 / statistics.median(per_short)),
        "stream_tokens": len(stream),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
