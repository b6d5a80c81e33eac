"""Feeds the Harmony parser random and mutated streams of ids.

    python tests/hostile/fuzz_harmony.py --count 1000000 --seed 1

Each stream must raise nothing; the ids of its events are its ids; the text of each message is
that of its deltas; and it says the same one id at a time, in chunks and all at once. Ends with one
JSON line: ids, streams, seconds, repairs by rule.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator

from ingle.chat.event import Event, MessageEnd, MessageStart, Repair, TextDelta, ToolCallDelta
from ingle.chat.harmony import HarmonyMessage, HarmonyParser, Phase, render
from ingle.chat.harmony.repairs import RULES
from ingle.chat.harmony.tokens import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    ENDOFTEXT,
    MESSAGE,
    RETURN,
    START,
    STARTOFTEXT,
)
from ingle.tokenizer import o200k_harmony

MARKS = (CALL, CHANNEL, CONSTRAIN, END, MESSAGE, RETURN, START)
RARE = (ENDOFTEXT, STARTOFTEXT, 200_000, 201_087, 201_088, -1, 2**40)
WORDS = (
    "assistant", "user", "tool", "analysis", "commentary", "final", " to=functions.f", " to=python",
    " json", "json", " ", "\n", "functions.f", "assistant assistant", "commentary?", "analysisto=x",
    "system", "ass", "to=", " to=all", "I must refuse.\n\nSorry", '{"a": 1}', "é🎉日本", "??",
)  # fmt: skip


def streams(seed: int) -> Iterator[list[int]]:
    """Random streams without end, the more like Harmony the better they test."""
    luck = random.Random(seed)
    encode = o200k_harmony().encode
    words = [encode(word) for word in WORDS]
    while True:
        kind = luck.random()
        if kind < 0.2:
            yield [luck.randrange(-2, 201_100) for _ in range(luck.randrange(1, 200))]
        elif kind < 0.5:
            yield _soup(luck, words)
        else:
            yield _mutated(luck, talk(luck), words)


def _soup(luck: random.Random, words: list[list[int]]) -> list[int]:
    """Marks and words of headers in any order."""
    ids: list[int] = []
    for _ in range(luck.randrange(1, 60)):
        kind = luck.random()
        if kind < 0.45:
            ids.append(luck.choice(MARKS))
        elif kind < 0.9:
            ids += luck.choice(words)
        else:
            ids.append(luck.choice((*RARE, luck.randrange(201_088))))
    return ids


def talk(luck: random.Random) -> list[int]:
    """What a model may well write after ``<|start|>assistant``."""
    said = [_message(luck) for _ in range(luck.randrange(1, 6))]
    return render(said, opens=None)[2:]


def _message(luck: random.Random) -> HarmonyMessage:
    text = " ".join(luck.choice(WORDS) for _ in range(luck.randrange(0, 20)))
    if luck.random() < 0.3:
        recipient = luck.choice(("functions.f", "functions.get_weather", "python"))
        kind = luck.choice(("<|constrain|>json", "json", "code", None))
        return HarmonyMessage("assistant", (text,), None, "commentary", recipient, kind)
    channel = luck.choice(("analysis", "commentary", "final"))
    return HarmonyMessage("assistant", (text,), channel=channel)


def _mutated(luck: random.Random, ids: list[int], words: list[list[int]]) -> list[int]:
    """`ids` with a few things dropped, doubled, swapped or put in; the end perhaps cut off."""
    for _ in range(luck.randrange(0, 6)):
        at = luck.randrange(len(ids) + 1)
        kind = luck.randrange(5)
        if kind == 0:
            ids = ids[:at] + ids[at + luck.randrange(1, 4) :]
        elif kind == 1:
            ids = ids[:at] + ids[max(0, at - 3) :]
        elif kind == 2:
            ids = [*ids[:at], luck.choice((*MARKS, *RARE)), *ids[at:]]
        elif kind == 3:
            ids = ids[:at] + luck.choice(words) + ids[at:]
        else:
            ids = ids[:at] if luck.random() < 0.3 else ids[:at] + ids[at + 1 :]
    return ids


def check(ids: list[int], luck: random.Random) -> HarmonyParser:
    """Raise AssertionError if a stream is not read as it must be."""
    role = luck.choice(("assistant", None))
    parser = HarmonyParser(role)
    events = [*parser.feed_many(ids), *parser.finish()]
    assert [i for event in events for i in event.ids] == ids
    assert parser.phase is Phase.BETWEEN
    check_order(events)
    in_chunks = HarmonyParser(role)
    cut = luck.randrange(len(ids) + 1)
    parts = [in_chunks.feed_many(ids[:cut]), in_chunks.feed_many(ids[cut:]), in_chunks.finish()]
    assert [event for part in parts for event in part] == events
    return parser


def check_order(events: list[Event]) -> None:
    """Each message starts, goes on and ends; its text is that of its deltas."""
    opened: MessageStart | None = None
    text = ""
    for event in events:
        if isinstance(event, MessageStart):
            assert opened is None
            opened, text = event, ""
        elif isinstance(event, TextDelta | ToolCallDelta):
            assert opened is not None and event.text and event.channel == opened.channel
            text += event.text
        elif isinstance(event, MessageEnd):
            said = event.message
            assert opened is not None and said.content == text
            assert (said.role, said.recipient) == (opened.role, opened.recipient)
            assert said.role != "assistant" or said.channel in ("analysis", "commentary", "final")
            opened = None
        else:
            assert isinstance(event, Repair) and event.rule in RULES
    assert opened is None


def fuzz(count: int, seed: int) -> dict[str, object]:
    """Check streams until `count` ids were read; what was met."""
    luck, done, num_streams, repairs = random.Random(seed), 0, 0, Counter[str]()
    started = time.perf_counter()
    for ids in streams(seed):
        repairs.update(check(ids, luck).repairs)
        done += len(ids)
        num_streams += 1
        if done >= count:
            break
    seconds = round(time.perf_counter() - started, 1)
    return {"ids": done, "streams": num_streams, "seconds": seconds, "repairs": dict(repairs)}


def main() -> None:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    print(json.dumps(fuzz(given.count, given.seed)))


if __name__ == "__main__":
    main()
