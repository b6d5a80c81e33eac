"""Owns transcripts: files of conversations as ids, and which channel each id belongs to.

A transcript is a `.jsonl` file: one conversation per line, a list of OpenAI's messages or an object
with `messages`. gpt-oss gets Harmony, with all reasoning kept; others their own chat template. It
does not know what is made of the ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ingle.chat.conversation import Conversation
from ingle.chat.harmony import AnalysisPolicy, HarmonySettings, lower, render
from ingle.chat.harmony.policy import kept
from ingle.chat.harmony.tokens import CHANNEL, ENDS, MESSAGE, START
from ingle.chat.template import render_ids
from ingle.errors import IngleError, UnsupportedError
from ingle.evaluate.subject import Subject
from ingle.evaluate.window import read_text
from ingle.tokenizer import Tokenizer

SUFFIX = ".jsonl"
HEADER, PLAIN = "headers", "all"


def speaks_harmony(tokenizer: Tokenizer) -> bool:
    """Whether conversations are Harmony's: the vocabulary has its marks."""
    marks = {"<|channel|>": CHANNEL, "<|message|>": MESSAGE, "<|start|>": START}
    return all(tokenizer.special_tokens.get(text) == mark for text, mark in marks.items())


def conversations(subject: Subject, file: str) -> Iterator[tuple[int, ...]]:
    """Ids of each conversation. Raises IngleError naming the line that is wrong."""
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if line.strip():
            yield tuple(_rendered(subject, _messages(f"{file}:{number}", line)))


def channels(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """The channel each id lies in: an assistant's channel with the mark that ends it, or the role
    of who speaks; "headers" for what comes before a message, "all" for other formats."""
    if not speaks_harmony(tokenizer):
        return [PLAIN] * len(ids)
    labels, label, header = [], HEADER, list[int]()
    for one in ids:
        labels.append(label)
        if one == START:
            labels[-1], label, header = HEADER, HEADER, []
        elif one == MESSAGE:
            labels[-1], label = HEADER, _label(tokenizer, header)
        elif one in ENDS:
            label = HEADER
        else:
            header.append(one)
    return labels


def _label(tokenizer: Tokenizer, header: Sequence[int]) -> str:
    """Of `assistant<|channel|>analysis to=...` the channel, of `user` the role."""
    if CHANNEL in header:
        header = header[list(header).index(CHANNEL) + 1 :]
    words = tokenizer.decode(header).split()
    return words[0].partition("<|")[0] if words else HEADER


def _rendered(subject: Subject, messages: list[dict[str, Any]]) -> list[int]:
    if speaks_harmony(subject.tokenizer):
        settings = HarmonySettings(analysis=AnalysisPolicy.KEEP_ALL)
        said = lower(Conversation.from_openai(messages), settings)
        return render(kept(said, settings.analysis), opens=None)
    template = subject.source.chat_template()
    if template is None:
        rule = "the model must bring a chat template, but got none"
        raise UnsupportedError(subject.name, rule, "give the conversations as text")
    return render_ids(subject.tokenizer, template, messages, add_generation_prompt=False)


def _messages(where: str, line: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise IngleError(where, "line must be JSON, but got something else") from None
    found = found.get("messages") if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(message, dict) for message in found):
        raise IngleError(where, "a conversation must be a list of messages, but got another thing")
    return found


def is_transcript(file: str) -> bool:
    """Whether the file's name says so."""
    return Path(file).suffix == SUFFIX
