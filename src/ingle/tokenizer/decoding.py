"""Owns the way from token bytes to text, at once and token by token.

Invalid UTF-8 becomes U+FFFD, one per maximal subpart (Unicode 15, section 3.9), both ways alike.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

_UTF8 = codecs.getincrementaldecoder("utf-8")


class IncrementalDecoder:
    """Text of a token stream as soon as its characters are whole.

    The texts of all `feed` calls and of one `finish` joined equal the one-shot decoding.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._utf8 = _UTF8("replace")

    def feed(self, token_id: int) -> str:
        """Text completed by this token; empty while a character is still open."""
        return self._utf8.decode(self._token_bytes(token_id))

    def finish(self) -> str:
        """What was held back (U+FFFD for half a character); the decoder may then start anew."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest
