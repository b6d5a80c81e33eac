"""Text to token ids and back: byte-level BPE vocabularies, special tokens, incremental decoding.

It does not know models, chat formats, or where the metadata it is handed was read from.
"""

from __future__ import annotations

from ingle.tokenizer.decoding import IncrementalDecoder
from ingle.tokenizer.gguf_metadata import from_gguf_metadata
from ingle.tokenizer.o200k import o200k_harmony
from ingle.tokenizer.tokenizer import Tokenizer
from ingle.tokenizer.tokenizer_json import from_tokenizer_json

__all__ = [
    "IncrementalDecoder",
    "Tokenizer",
    "from_gguf_metadata",
    "from_tokenizer_json",
    "o200k_harmony",
]
