"""Owns the tensor type ids of GGUF: name, weights per block and bytes per block.

Formats that ingle computes with are `ingle.numerics`' own; here are added those that a container
can hold without anybody decoding them. It does not know what the bytes of a block mean.
"""

from __future__ import annotations

from typing import NamedTuple

from ingle.errors import IngleError, UnsupportedError
from ingle.numerics import FORMATS, by_ggml_id


class BlockType(NamedTuple):
    """Storage of one type: every `block` consecutive weights of a row take `block_bytes` bytes."""

    name: str
    block: int
    block_bytes: int


# Sizes from ggml's type traits; such tensors can be listed and copied, not decoded.
_STORED_ONLY: dict[int, BlockType] = {
    9: BlockType("Q8_1", 32, 36),
    15: BlockType("Q8_K", 256, 292),
    16: BlockType("IQ2_XXS", 256, 66),
    17: BlockType("IQ2_XS", 256, 74),
    18: BlockType("IQ3_XXS", 256, 98),
    19: BlockType("IQ1_S", 256, 50),
    21: BlockType("IQ3_S", 256, 110),
    22: BlockType("IQ2_S", 256, 82),
    24: BlockType("I8", 1, 1),
    25: BlockType("I16", 1, 2),
    26: BlockType("I32", 1, 4),
    27: BlockType("I64", 1, 8),
    28: BlockType("F64", 1, 8),
    29: BlockType("IQ1_M", 256, 56),
    34: BlockType("TQ1_0", 256, 54),
    35: BlockType("TQ2_0", 256, 66),
    41: BlockType("Q1_0", 128, 18),
}
_TYPES: dict[int, BlockType] = _STORED_ONLY | {
    fmt.ggml_id: BlockType(fmt.name, fmt.block, fmt.block_bytes)
    for fmt in FORMATS.values()
    if fmt.ggml_id is not None
}
_IDS = {kind.name: type_id for type_id, kind in _TYPES.items()}

# Ollama's first gpt-oss files: MXFP4 blocks in OpenAI's nibble order under an id ggml had removed.
MXFP4_OLLAMA = BlockType("MXFP4_OLLAMA", 32, 17)
_OLLAMA_ID, _OLLAMA_ARCHITECTURE = 4, "gptoss"


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
    try:
        by_ggml_id(type_id)
    except UnsupportedError as error:
        raise UnsupportedError(where, error.rule, error.hint) from None
    raise AssertionError(f"type {type_id} is in the table of formats and not in that of types")


def ggml_type(name: str, where: str) -> tuple[int, BlockType]:
    """Type id and storage of a format to write; IngleError at `where` if GGUF lacks it."""
    type_id = _IDS.get(name)
    if type_id is None:
        raise IngleError(where, f"format must be one GGUF has, but got {name}")
    return type_id, _TYPES[type_id]
