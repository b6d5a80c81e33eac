"""Owns the names of the rules by which the parser puts a stream right, and what each does."""

from __future__ import annotations

NO_START = "no-start"
NO_MESSAGE = "no-message"
NO_END = "no-end"
NO_CHANNEL = "no-channel"
NO_ROLE = "no-role"
CUT_OFF = "cut-off"
BAD_CHANNEL = "bad-channel"
BAD_RECIPIENT = "bad-recipient"
TWO_CHANNELS = "two-channels"
STRAY_WORDS = "stray-words"
STRAY_TOKEN = "stray-token"
STRAY_TEXT = "stray-text"
WRONG_END = "wrong-end"

RULES: dict[str, str] = {
    NO_START: "a header stands without <|start|>: it opens an assistant's message",
    NO_MESSAGE: "a header ends without <|message|>: what follows its channel is the content; "
    "without a channel, all of it is, on final",
    NO_END: "a message ends where <|start|> or <|channel|> opens the next one",
    NO_CHANNEL: "an assistant's message names no channel: a call is on commentary, text on final",
    NO_ROLE: "a header names no role, or one that is none: it is the assistant's",
    CUT_OFF: "the stream ends inside a message: what there is of it is given, as incomplete",
    BAD_CHANNEL: "a channel is none of the three: the one it begins with is meant, or none",
    BAD_RECIPIENT: "a recipient holds what no name of a tool does: it ends there; nobody is "
    "addressed where it is the assistant itself, the user or all",
    TWO_CHANNELS: "a header names several channels: the first that is one counts",
    STRAY_WORDS: "a header holds words that mean nothing there: they are passed over",
    STRAY_TOKEN: "a special token stands where it means nothing: it is passed over",
    STRAY_TEXT: "text that is no header stands after the answer: it is passed over",
    WRONG_END: "a call ends in another token than <|call|>, or <|call|> ends what is none",
}
"""Rule -> what is wrong, and what is made of it."""
