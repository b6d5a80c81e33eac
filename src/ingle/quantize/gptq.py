"""Owns rounding whose later weights make up for the errors of earlier ones, per matrix and expert.

GPTQ (Frantar et al. 2022) with scales searched for the weights as they have become, then coordinate
descent on the same objective, (w - q) X^T X (w - q)^T. It does not know files.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from ingle import _native
from ingle.quantize.encode import encode_rows, raise_fault
from ingle.quantize.hessian import HEAD, LayerStream

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Reals = NDArray[np.float64]

DAMPING = 0.01  # of the mean diagonal, added so that every direction counts
SWEEPS = 4
_EMBEDDING = "token_embd.weight"
# Nothing to gain: their errors are below those of 8-bit activations.
_SKIPPED = ("F32", "F16", "BF16", "Q8_0")


def damped(hessian: Floats, damping: float = DAMPING) -> Reals:
    """float64 (columns, columns), scaled to a mean diagonal of 1; positive definite."""
    wide: Reals = hessian.astype(np.float64)
    mean = float(np.trace(wide)) / len(wide)
    if not mean > 0:
        return np.eye(len(wide))
    wide /= mean
    wide[np.diag_indices(len(wide))] += damping
    return wide


def upper_factor(hessian: Reals) -> Floats:
    """Upper triangular U with U^T U the inverse of a positive definite matrix."""
    # Cholesky of the reversed matrix, reversed back: hessian = R R^T, R upper, and U = R^-1.
    upper = np.asarray(np.linalg.cholesky(hessian[::-1, ::-1]), np.float64)[::-1, ::-1]
    return np.ascontiguousarray(_inverse_upper(upper), np.float32)


def _inverse_upper(r: Reals) -> Reals:
    """By halves, so that the work is products of matrices."""
    if len(r) <= 128:
        return np.triu(np.linalg.inv(r))
    half = len(r) // 2
    first, last = _inverse_upper(r[:half, :half]), _inverse_upper(r[half:, half:])
    out = np.zeros_like(r)
    out[:half, :half], out[half:, half:] = first, last
    out[:half, half:] = -first @ r[:half, half:] @ last
    return out


class GptqRounding:
    """Encodes a model's matrices by what flows through them; ask in the order of layers.

    tied: the embedding serves as output matrix too, so its rows are rounded for that.
    """

    def __init__(
        self,
        stream: LayerStream,
        *,
        tied: bool,
        threads: int = 1,
        damping: float = DAMPING,
        sweeps: int = SWEEPS,
    ) -> None:
        self._stream, self._tied = stream, tied
        self._threads, self._damping, self._sweeps = threads, damping, sweeps
        self._of: Floats | None = None
        self._curvature: tuple[Floats, Floats]
        ids = hashlib.sha256(json.dumps([list(w) for w in stream.windows]).encode()).hexdigest()
        self.identity = f"gptq {damping} {sweeps} {ids}"

    def knows(self, name: str) -> bool:
        """Matrices of layers, and the output matrix."""
        if name in (HEAD, _EMBEDDING):
            return name == HEAD or self._tied
        return name.startswith("blk.")

    def encode(self, name: str, matrix: int, weights: Floats, format_name: str) -> Bytes:
        """Encoded rows; a matrix that no text reached is encoded by the search alone."""
        if format_name in _SKIPPED:
            return encode_rows(format_name, weights, threads=self._threads, where=name)
        layer = int(name.split(".")[1]) if name.startswith("blk.") else self._stream.num_layers
        sums = self._stream.layer(layer)
        key = HEAD if name == _EMBEDDING else name
        if key not in sums:
            return encode_rows(format_name, weights, search=True, threads=self._threads, where=name)
        hessian, count = sums.of(key, matrix)
        if count == 0:
            return encode_rows(format_name, weights, search=True, threads=self._threads, where=name)
        if self._of is not hessian:
            self._of, self._curvature = hessian, curvature(hessian, self._damping)
        return round_rows(format_name, weights, self._curvature, self._threads, self._sweeps, name)


def curvature(hessian: Floats, damping: float = DAMPING) -> tuple[Floats, Floats]:
    """What `round_rows` needs of X^T X: the damped matrix, and the factor of its inverse."""
    wide = damped(hessian, damping)
    return np.ascontiguousarray(wide, np.float32), upper_factor(wide)


def round_rows(
    format_name: str,
    weights: Floats,
    curved: tuple[Floats, Floats],
    threads: int = 1,
    sweeps: int = SWEEPS,
    where: str = "",
) -> Bytes:
    """Encoded rows of weights (rows, columns); `curved` is the `curvature` of their inputs.

    Raises IngleError at `where` for weights that are not finite or too large.
    """
    encoded, fault = _native.encode_rows_curved(
        format_name, np.ascontiguousarray(weights, np.float32), *curved, sweeps, threads
    )
    raise_fault(fault, where or format_name)
    result: Bytes = encoded
    return result
