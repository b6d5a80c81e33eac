"""Owns GPT-2's printable alphabet: one character stands for each of the 256 bytes.

GPT-2's ``bytes_to_unicode``: printable Latin-1 characters stand for themselves, the other 68 bytes
follow from U+0100 on. It does not know vocabularies.
"""

from __future__ import annotations

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = tuple(byte for byte in range(256) if byte not in _PRINTABLE)

CHAR_TO_BYTE: dict[str, int] = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(0x100 + i): byte for i, byte in enumerate(_OTHERS)
}


def token_bytes(token: str) -> bytes:
    """Bytes that a vocabulary's spelling of an ordinary token stands for.

    A spelling with a character outside the alphabet stands for its own UTF-8, as in `tokenizers`.
    """
    try:
        return bytes(map(CHAR_TO_BYTE.__getitem__, token))
    except KeyError:
        return token.encode("utf-8", "surrogatepass")
