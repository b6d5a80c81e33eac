"""
ingle's native kernels. Nothing here prints, aborts, or holds the GIL while computing.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy
from numpy.typing import NDArray


def instruction_sets() -> list:
    """[(name, runs here, reason)], best first."""

def best_instruction_set() -> str: ...

def tile_bytes(format: str, columns: int) -> int:
    """Bytes of one 16-row tile in the kernel layout."""

class Pool:
    """Threads that run tapes; the calling thread is one of them."""

    def __init__(self, threads: int) -> None: ...

    @property
    def threads(self) -> int: ...

class Matrix:
    """A weight matrix in the kernel layout; keeps its array alive."""

    def __init__(self, format: str, data: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], offset: int, tile_stride: int, rows: int, columns: int, row_scales: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)] | None = None) -> None: ...

    def decode_row(self, row: int, out: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu')]) -> None: ...

class AttentionShape:
    def __init__(self, num_heads: int, num_kv_heads: int, head_dim: int, window: int, group: int, layer: int, scale: float) -> None: ...

    @property
    def num_heads(self) -> int: ...

    @property
    def head_dim(self) -> int: ...

    @property
    def window(self) -> int: ...

def span_bytes(num_heads: int, head_dim: int) -> int:
    """Bytes of the states of one row's spans, before alignment."""

class KvArrays:
    """Pages of one group of layers and the page tables of a batch."""

    def __init__(self, keys: Annotated[NDArray, dict(shape=(None, None, None, None, None), order='C', device='cpu')], values: Annotated[NDArray, dict(shape=(None, None, None, None, None), order='C', device='cpu')], page_tables: Annotated[NDArray[numpy.int32], dict(shape=(None, None), order='C', device='cpu', writable=False)]) -> None: ...

class Tape:
    """A recorded forward pass; `run` executes it without the GIL."""

    def __init__(self, pool: Pool, isa: str, max_rows: int) -> None: ...

    def slot(self, width: int, int8_parts: int) -> int: ...

    def embed(self, table: Matrix, positions: Matrix | None, out: int, table_at: tuple[int, int] | None = None, positions_at: tuple[int, int] | None = None) -> None:
        """
        table_at, positions_at: descriptor of a file and offset of the first tile, to be read from there.
        """

    def select_outputs(self, source: int, out: int) -> None: ...

    def norm(self, source: int, weight: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)], bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, eps: float, out: int) -> None: ...

    def linear(self, source: int, weights: Sequence[Matrix], biases: Sequence[Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None], out: int, add: bool, column: int = 0) -> None:
        """
        Weights write one behind the other, from `column` of the output on.
        """

    def logits(self, source: int, weight: Matrix) -> None: ...

    def rescore(self, source: int, weight: Matrix, count: int) -> None:
        """
        The `count` most promising runs of 32 logits again, after `logits` by a scan.
        """

    def store_kv(self, qkv: int, shape: AttentionShape, cos: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)] | None, sin: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)] | None, interleaved: bool, q_norm: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, k_norm: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, eps: float) -> None: ...

    def attend(self, qkv: int, shape: AttentionShape, sinks: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, out: int) -> None: ...

    def gate_up(self, source: int, gate: Matrix | None, gate_bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, up: Matrix, up_bias: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, activation: str, out: int, up_source: int | None = None) -> None: ...

    def round_inputs(self, source: int, dynamic: bool, symmetric: bool, scale: float, zero: float, out: int) -> None:
        """Rows after a stay in 8 bits; `out` has no 8-bit parts, or two."""

    def moe(self, source: int, router: int, gate: Matrix, gate_bias: Annotated[NDArray[numpy.float32], dict(shape=(None, None), device='cpu', writable=False)] | None, up: Matrix, up_bias: Annotated[NDArray[numpy.float32], dict(shape=(None, None), device='cpu', writable=False)] | None, down: Matrix, down_bias: Annotated[NDArray[numpy.float32], dict(shape=(None, None), device='cpu', writable=False)] | None, num_experts_per_tok: int, routing: str, renormalize: bool, activation: str, residual: int) -> None: ...

    def watch(self, source: int, sums: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu')], counts: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu')]) -> None:
        """sums (1, width) += squares of the slot's rows; counts (1,) += rows."""

    def watch_experts(self, source: int, in_sums: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu')], inner_sums: Annotated[NDArray[numpy.float64], dict(shape=(None, None), order='C', device='cpu')], counts: Annotated[NDArray[numpy.int64], dict(shape=(None,), order='C', device='cpu')]) -> None:
        """
        The same per expert (experts, width), of the moe just recorded: into gate and up, into down.
        """

    def run(self, ids: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], positions: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], sequences: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], output_rows: Annotated[NDArray[numpy.int32], dict(shape=(None,), order='C', device='cpu', writable=False)], groups: Sequence[KvArrays], num_sequences: int, logits: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu')], num_experts_per_tok: int = 0) -> None: ...

    def max_rows(self, num_experts_per_tok: int) -> int:
        """Tokens that one run can take; 0 experts: as recorded."""

    @property
    def scratch_bytes(self) -> int: ...

    @property
    def scratch_places(self) -> list:
        """[(address, bytes)] of all scratch."""

    @property
    def num_steps(self) -> int: ...

    @property
    def timed(self) -> bool: ...

    @timed.setter
    def timed(self, arg: bool, /) -> None: ...

    @property
    def shares(self) -> list:
        """
        [(kind of step, seconds of work, seconds of waiting)] over threads, while timed.
        """

def decode(format_name: str, data: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], columns: int) -> Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C')]:
    """
    Weights float32 (rows, columns) of encoded rows uint8 (rows, row_bytes).
    """

def pack_tiles(format_name: str, data: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], rows: int, columns: int) -> Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C')]:
    """
    Kernel tiles uint8 (num_tiles, tile_bytes) of encoded rows uint8 (rows, row_bytes).
    """

def openai_to_gguf(blocks: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], scales: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C')]:
    """
    MXFP4 blocks uint8 (n, 17) of OpenAI's blocks uint8 (n, 16) and scales uint8 (n,).
    """

def pack_tiles_into(format_name: str, data: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu', writable=False)], columns: int, out: Annotated[NDArray[numpy.uint8], dict(shape=(None, None), order='C', device='cpu')]) -> None:
    """
    Kernel tiles of encoded rows, written to the start of each row of `out`.
    """

def format_facts() -> dict:
    """
    name -> (weights per block, bytes per block, bytes of a tile per block or 0).
    """

def measure_read(pool: Pool, data: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order='C', device='cpu', writable=False)], passes: int) -> list[float]:
    """
    Seconds of each pass in which the pool's threads together read `data` once.
    """

def measure_int8(pool: Pool, isa: str, passes: int) -> tuple[float, list[float]]:
    """
    Operations of one pass of 8-bit products without memory, and seconds of each pass.
    """

def measure_float(pool: Pool, isa: str, passes: int) -> tuple[float, list[float]]:
    """
    Operations of one pass of float32 multiply-adds without memory, and seconds of each pass.
    """

def encode_rows(format_name: str, weights: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], importance: Annotated[NDArray[numpy.float32], dict(shape=(None,), order='C', device='cpu', writable=False)] | None, search: bool, threads: int) -> tuple:
    """
    (encoded rows uint8, fault) of weights float32 (rows, columns); fault: 0 none, 1 a weight is not finite, 2 a scale overflows float16.
    """

def encode_rows_curved(format_name: str, weights: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], hessian: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], factor: Annotated[NDArray[numpy.float32], dict(shape=(None, None), order='C', device='cpu', writable=False)], sweeps: int, threads: int) -> tuple:
    """
    As encode_rows, by GPTQ and then `sweeps` of coordinate descent. hessian: damped X^T X; factor: upper triangular U, U^T U its inverse.
    """

class O200kEncoder:
    """
    Byte-pair encoding by rank over pieces cut by o200k_base's pattern. Immutable; encode releases the GIL.
    """

    def __init__(self, lengths: bytes, blob: bytes, classes: bytes) -> None:
        """
        lengths: one byte per token; blob: their bytes; classes: one byte per code point.
        """

    def __len__(self) -> int: ...

    def token(self, token_id: int) -> bytes:
        """Bytes of one token."""

    def encode(self, text: bytes) -> list:
        """Ids of UTF-8 text."""
