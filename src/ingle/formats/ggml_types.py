"""Owns the tensor type ids of GGUF: name, weights per block and bytes per block.

It does not know what the bytes of a block mean.
"""

from __future__ import annotations

from typing import NamedTuple

from ingle.errors import IngleError, UnsupportedError


class BlockType(NamedTuple):
    """Storage of one type: every `block` consecutive weights of a row take `block_bytes` bytes."""

    name: str
    block: int
    block_bytes: int


_TYPES: dict[int, BlockType] = {
    0: BlockType("F32", 1, 4),
    1: BlockType("F16", 1, 2),
    2: BlockType("Q4_0", 32, 18),
    3: BlockType("Q4_1", 32, 20),
    6: BlockType("Q5_0", 32, 22),
    7: BlockType("Q5_1", 32, 24),
    8: BlockType("Q8_0", 32, 34),
    9: BlockType("Q8_1", 32, 36),
    10: BlockType("Q2_K", 256, 84),
    11: BlockType("Q3_K", 256, 110),
    12: BlockType("Q4_K", 256, 144),
    13: BlockType("Q5_K", 256, 176),
    14: BlockType("Q6_K", 256, 210),
    15: BlockType("Q8_K", 256, 292),
    16: BlockType("IQ2_XXS", 256, 66),
    17: BlockType("IQ2_XS", 256, 74),
    18: BlockType("IQ3_XXS", 256, 98),
    19: BlockType("IQ1_S", 256, 50),
    20: BlockType("IQ4_NL", 32, 18),
    21: BlockType("IQ3_S", 256, 110),
    22: BlockType("IQ2_S", 256, 82),
    23: BlockType("IQ4_XS", 256, 136),
    24: BlockType("I8", 1, 1),
    25: BlockType("I16", 1, 2),
    26: BlockType("I32", 1, 4),
    27: BlockType("I64", 1, 8),
    28: BlockType("F64", 1, 8),
    29: BlockType("IQ1_M", 256, 56),
    30: BlockType("BF16", 1, 2),
    34: BlockType("TQ1_0", 256, 54),
    35: BlockType("TQ2_0", 256, 66),
    39: BlockType("MXFP4", 32, 17),
    40: BlockType("NVFP4", 64, 36),
}

# Ollama's first gpt-oss files: MXFP4 blocks in OpenAI's nibble order under an id ggml had removed.
MXFP4_OLLAMA = BlockType("MXFP4_OLLAMA", 32, 17)
_OLLAMA_ID, _OLLAMA_ARCHITECTURE = 4, "gptoss"
_REMOVED = frozenset({4, 5, 31, 32, 33, 36, 37, 38})


def block_type(type_id: int, architecture: str, where: str) -> BlockType:
    """The storage of a type id, in a file of `general.architecture`.

    Id 4 in a `gptoss` file is `MXFP4_OLLAMA`: 17-byte blocks like MXFP4, but byte j of a block
    holds elements 2j (low nibble) and 2j+1 (high), as OpenAI stores them.
    Raises UnsupportedError at `where` for a removed or unknown id.
    """
    if type_id == _OLLAMA_ID and architecture == _OLLAMA_ARCHITECTURE:
        return MXFP4_OLLAMA
    found = _TYPES.get(type_id)
    if found is not None:
        return found
    if type_id in _REMOVED:
        raise UnsupportedError(
            where,
            f"type must be one that ggml still defines, but got removed type id {type_id}",
            "convert the model again with a current llama.cpp",
        )
    raise UnsupportedError(
        where,
        f"type must be a known ggml type, but got type id {type_id}",
        "the file is damaged, or newer than this version of ingle",
    )


def ggml_type(name: str, where: str) -> tuple[int, BlockType]:
    """Type id and storage of a format to write; IngleError at `where` if GGUF lacks it."""
    for type_id, kind in _TYPES.items():
        if kind.name == name:
            return type_id, kind
    raise IngleError(where, f"format must be one GGUF has, but got {name}")
