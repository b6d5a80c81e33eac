"""Owns the two arithmetics of the reference: plain float, and the native kernels' own, emulated.

`FloatArithmetic` is the formula in numpy float32. `KernelArithmetic` repeats what
native/kernels/kernels.inl.h promises, operation by operation: 8-bit activations, fma, the order of
every sum. Native logits are compared with the second, models with the first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ingle.backends.reference.attention import attend
from ingle.backends.reference.fma import Floats, fma, fma_chain, lane_sum
from ingle.numerics import FORMATS, Format, decode, encode
from ingle.numerics.int8_blocks import INT8, parts
from ingle.numerics.int8_inputs import InputRounding
from ingle.numerics.iq4 import xs_values
from ingle.numerics.k_types import INTEGERS
from ingle.numerics.q6_0 import high_pairs
from ingle.ops import Activation, WeightMeta
from ingle.ops.protocol import GPT_OSS_ALPHA, GPT_OSS_LIMIT

_BLOCK = 32
_LANES = 16
_SMALLEST = np.float32(2.0**-121)  # below it 127 / x is not finite: such blocks become zeros
# Formats the native kernels multiply with 8-bit activations; the others take float ones.
_SUPER = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS")
_MULTIPLIED_AS_INT8 = (
    *_SUPER,
    *("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q6_0", "IQ4_NL", "MXFP4"),
)
# Beside BF16 weights activations are rounded to BF16; below these magnitudes both count as zero.
_TINY_ACTIVATION, _TINY_WEIGHT = np.float32(2.0**-40), np.float32(2.0**-60)
_E2M1_DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)
_IQ4 = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32
)


class ReferenceWeight:
    """A tensor kept as its file has it, decoded on first use."""

    def __init__(self, name: str, fmt: Format, data: NDArray[np.uint8], columns: int) -> None:
        self.format = fmt
        self.data = data
        self._experts: dict[int, ReferenceWeight] = {}
        self.meta = WeightMeta(name, fmt.name, (*data.shape[:-1], columns), data.nbytes)

    @cached_property
    def values(self) -> Floats:
        """float32 of the tensor's shape."""
        return decode(self.format, self.data)

    def expert(self, index: int) -> ReferenceWeight:
        """One matrix of a stack (experts, rows, columns); decoded once it is used. INT8 is F32 in
        a stack, for the kernels have row scales for single matrices only."""
        if index not in self._experts:
            name, columns = f"{self.meta.name}[{index}]", self.meta.shape[-1]
            fmt, data = self.format, self.data[index]
            if fmt is INT8:
                fmt, data = FORMATS["F32"], decode(INT8, data).view(np.uint8)
            self._experts[index] = ReferenceWeight(name, fmt, data, columns)
        return self._experts[index]

    @cached_property
    def integers(self) -> tuple[Floats, Floats, Floats | None]:
        """Codes (rows, runs, 16 or 32) as floats, scales and minima (rows, runs)."""
        return _integers(self.format.name, self.data)

    @cached_property
    def row_scales(self) -> Floats:
        """Of INT8, (rows,): what the products of codes are multiplied by."""
        return parts(self.data.reshape(len(self.data), -1, INT8.block_bytes)[:, 0])[1]


class Arithmetic(ABC):
    """The float operations whose order or precision is a choice."""

    name: str

    @abstractmethod
    def linear(self, x: Floats, weight: ReferenceWeight, precise: bool = False) -> Floats:
        """(T, in) times (out, in): (T, out)."""

    def rounded_linear(self, x: Floats, weight: ReferenceWeight, rounding: InputRounding) -> Floats:
        """The same with rows that are rounded to 8 bits first."""
        return self.linear(rounding.apply(x), weight)

    @abstractmethod
    def norm(self, x: Floats, gain: Floats, eps: float) -> Floats:
        """RMSNorm of each row."""

    @abstractmethod
    def layer_norm(self, x: Floats, gain: Floats, bias: Floats, eps: float) -> Floats:
        """LayerNorm of each row."""

    @abstractmethod
    def exp(self, x: Floats) -> Floats:
        """e^x."""

    @abstractmethod
    def row_sum(self, x: Floats) -> Floats:
        """Sum over the last axis."""

    @abstractmethod
    def multiply_add(self, a: Floats, b: Floats | np.float32, c: Floats) -> Floats:
        """a * b + c."""

    def activate(self, activation: Activation, gate: Floats | None, up: Floats) -> Floats:
        """The hidden state of an MLP; see `Activation`."""
        one = np.float32(1)
        with np.errstate(over="ignore"):
            if activation is Activation.GELU_TANH:
                # x * (1 + tanh(u)) / 2 = x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3)
                cubic = self.multiply_add(up * up * up, np.float32(0.044715), up)
                return up / (one + self.exp(cubic * np.float32(-1.5957691216057308)))
            assert gate is not None
            if activation is Activation.SILU:
                return gate / (one + self.exp(-gate)) * up
            gate = np.minimum(gate, np.float32(GPT_OSS_LIMIT))
            up = np.minimum(np.maximum(up, np.float32(-GPT_OSS_LIMIT)), np.float32(GPT_OSS_LIMIT))
            swish = gate / (one + self.exp(gate * np.float32(-GPT_OSS_ALPHA)))
            y: Floats = swish * (up + one)
            return y

    @abstractmethod
    def attend(
        self,
        q: Floats,
        keys: Floats,
        values: Floats,
        visible: NDArray[np.bool_],
        scale: float,
        sinks: Floats | None,
    ) -> Floats:
        """Softmax attention of one KV head.

        q (T, heads, head_dim), keys and values (positions, head_dim) with positions a multiple of
        64, visible (T, positions), sinks (heads,) or None. Returns (T, heads, head_dim).
        """


class FloatArithmetic(Arithmetic):
    """numpy float32 throughout."""

    name = "float32"

    def linear(self, x: Floats, weight: ReferenceWeight, precise: bool = False) -> Floats:
        """(T, in) times (out, in): (T, out)."""
        y: Floats = x @ weight.values.T
        return y

    def norm(self, x: Floats, gain: Floats, eps: float) -> Floats:
        """RMSNorm of each row."""
        mean = np.mean(np.square(x), axis=-1, keepdims=True)
        y: Floats = x * (np.float32(1) / np.sqrt(mean + np.float32(eps))) * gain
        return y

    def layer_norm(self, x: Floats, gain: Floats, bias: Floats, eps: float) -> Floats:
        """LayerNorm of each row."""
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(np.square(centred), axis=-1, keepdims=True)
        y: Floats = centred / np.sqrt(variance + np.float32(eps)) * gain + bias
        return y

    def exp(self, x: Floats) -> Floats:
        """e^x."""
        return np.exp(x)

    def row_sum(self, x: Floats) -> Floats:
        """Sum over the last axis."""
        y: Floats = x.sum(axis=-1)
        return y

    def multiply_add(self, a: Floats, b: Floats | np.float32, c: Floats) -> Floats:
        """a * b + c, rounded twice."""
        return a * b + c

    def attend(
        self,
        q: Floats,
        keys: Floats,
        values: Floats,
        visible: NDArray[np.bool_],
        scale: float,
        sinks: Floats | None,
    ) -> Floats:
        """Softmax over the visible positions, the sink as one more logit without a value."""
        scores = np.einsum("thd,pd->thp", q, keys) * np.float32(scale)
        scores = np.where(visible[:, None, :], scores, np.float32(-np.inf))
        largest = scores.max(axis=-1, keepdims=True)
        if sinks is not None:
            largest = np.maximum(largest, sinks[None, :, None])
        weights = np.exp(scores - largest)
        total = weights.sum(axis=-1, keepdims=True)
        if sinks is not None:
            total = total + np.exp(sinks[None, :, None] - largest)
        out: Floats = np.einsum("thp,pd->thd", weights / total, values)
        return out


class KernelArithmetic(Arithmetic):
    """The native kernels' contract, bit for bit."""

    name = "q8"

    def linear(self, x: Floats, weight: ReferenceWeight, precise: bool = False) -> Floats:
        """Blocks of 32 columns folded in order, integers inside where the format allows."""
        if weight.format.name in (*_MULTIPLIED_AS_INT8, INT8.name):
            q, d, sums = quantize(x)
            y = _int8_linear(q, d, sums, weight)
            if precise:
                y = y + _int8_linear(*quantize(_remainder(x, q, d)), weight)
            return y * weight.row_scales if weight.format.name == INT8.name else y
        if weight.format.name == "BF16":
            return _float_linear(_rounded_to_bf16(x), _without_tiny(weight.values, _TINY_WEIGHT))
        return _float_linear(x, weight.values)

    def rounded_linear(self, x: Floats, weight: ReferenceWeight, rounding: InputRounding) -> Floats:
        """Steps of 9 bits as two rows of 8: twice their halves, and what is left."""
        if weight.format.name != INT8.name:
            return _float_linear(rounding.apply(x), weight.values)
        steps, scale = rounding.steps(x)
        half = np.trunc(steps / np.float32(2))
        total = np.zeros((len(x), len(weight.data)), np.float32)
        for part, unit in ((half, scale * np.float32(2)), (steps - half * np.float32(2), scale)):
            blocks = part.reshape(len(x), -1, _BLOCK)
            d = np.repeat(unit, blocks.shape[1], axis=1)
            total = total + _int8_linear(blocks, d, blocks.sum(axis=-1), weight)
        return total * weight.row_scales

    def norm(self, x: Floats, gain: Floats, eps: float) -> Floats:
        """Sum of squares in 16 lanes."""
        lanes = _lanes(x)
        mean = lane_sum(fma_chain(lanes, lanes)) / np.float32(x.shape[-1])
        inverse = np.float32(1) / np.sqrt(mean + np.float32(eps))
        y: Floats = x * inverse[:, None] * gain
        return y

    def layer_norm(self, x: Floats, gain: Floats, bias: Floats, eps: float) -> Floats:
        """Mean and variance in 16 lanes; the bias by fma."""
        width = np.float32(x.shape[-1])
        centred = x - (self.row_sum(x) / width)[:, None]
        lanes = _lanes(centred)
        variance = lane_sum(fma_chain(lanes, lanes)) / width
        inverse = np.float32(1) / np.sqrt(variance + np.float32(eps))
        return fma(centred * inverse[:, None], gain, bias)

    def exp(self, x: Floats) -> Floats:
        """e^x as the kernels compute it."""
        return kernel_exp(x)

    def row_sum(self, x: Floats) -> Floats:
        """Lane by lane, then the lanes."""
        total = np.zeros((len(x), _LANES), np.float32)
        for lanes in _lanes(x):
            total = total + lanes
        return lane_sum(total)

    def multiply_add(self, a: Floats, b: Floats | np.float32, c: Floats) -> Floats:
        """fma."""
        return fma(a, b, c)

    def attend(
        self,
        q: Floats,
        keys: Floats,
        values: Floats,
        visible: NDArray[np.bool_],
        scale: float,
        sinks: Floats | None,
    ) -> Floats:
        """Pages of 64 positions folded in order within a span, and spans among each other."""
        return attend(q, keys, values, visible, scale, sinks)


def _lanes(x: Floats) -> Floats:
    """Rows (T, n) as (ceil(n / 16), T, 16), the last padded with zeros."""
    width = x.shape[-1]
    padded = np.zeros((len(x), -(-width // _LANES) * _LANES), np.float32)
    padded[:, :width] = x
    return padded.reshape(len(x), -1, _LANES).swapaxes(0, 1)


def kernel_exp(x: Floats) -> Floats:
    """e^x as the kernels compute it: Cody-Waite reduction, polynomial of degree 6 (Cephes)."""
    f = np.float32
    clipped = np.maximum(np.minimum(x, f(88.0)), f(-87.3))
    n = np.rint(clipped * f(1.44269504088896341))
    r = fma(n, f(-0.693359375), clipped)
    r = fma(n, f(2.12194440e-4), r)
    p = np.full_like(r, f(1.9875691500e-4))
    for coefficient in (
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    ):
        p = fma(p, r, f(coefficient))
    p = fma(r * r, p, r) + f(1)
    return np.where(x < f(-87.3), f(0), np.ldexp(p, n.astype(np.int32))).astype(np.float32)


def quantize(x: Floats) -> tuple[Floats, Floats, Floats]:
    """8-bit activations: q (T, blocks, 32) as floats, scale and block sum (T, blocks)."""
    blocks = x.reshape(len(x), -1, _BLOCK)
    largest = np.abs(blocks).max(axis=-1)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(largest >= _SMALLEST, np.float32(127) / largest, np.float32(0))
    q = np.rint(blocks * inverse[..., None])
    return q, largest / np.float32(127), q.sum(axis=-1)


def _remainder(x: Floats, q: Floats, d: Floats) -> Floats:
    """What 8 bits leave of x: a second quantization brings it to 16."""
    return fma(-d[..., None], q, x.reshape(q.shape)).reshape(x.shape)


def _int8_linear(q: Floats, d: Floats, sums: Floats, weight: ReferenceWeight) -> Floats:
    codes, scales, minima = weight.integers
    total = np.zeros((len(q), len(codes)), np.float32)
    width = codes.shape[2]
    runs = q.reshape(len(q), -1, width)
    if width != _BLOCK:
        d, sums = np.repeat(d, _BLOCK // width, axis=1), runs.sum(axis=-1)
    for b in range(codes.shape[1]):
        dots = runs[:, b] @ codes[:, b].T  # below 2^24: exact in float32
        total = fma(dots, scales[None, :, b] * d[:, b, None], total)
        if minima is not None:
            total = fma(minima[None, :, b], (d[:, b] * sums[:, b])[:, None], total)
    return total


def _float_linear(x: Floats, values: Floats) -> Floats:
    total = np.zeros((len(x), len(values)), np.float32)
    for start in range(0, values.shape[1], _BLOCK):
        stop = start + _BLOCK
        total = total + fma_chain(
            values[:, start:stop].T[:, None, :], x[:, start:stop].T[:, :, None]
        )
    return total


def _rounded_to_bf16(x: Floats) -> Floats:
    rounded = decode(FORMATS["BF16"], encode(FORMATS["BF16"], x))
    return _without_tiny(rounded, _TINY_ACTIVATION)


def _without_tiny(values: Floats, least: np.float32) -> Floats:
    return np.where(np.abs(values) < least, np.float32(0), values)


def _integers(name: str, data: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats | None]:
    fmt = FORMATS[name]
    if name in _SUPER:
        return _super_integers(name, data)
    blocks = data.reshape(len(data), -1, fmt.block_bytes)
    if name == INT8.name:  # the row's scale comes after the sum
        bytes_held, of_rows = parts(blocks)
        return bytes_held.astype(np.float32), np.ones_like(of_rows), None
    if name == "MXFP4":
        exponent = blocks[..., 0].astype(np.int32) - 128
        return _E2M1_DOUBLED[_nibbles(blocks[..., 1:])], np.ldexp(np.float32(1), exponent), None
    scales = _half(blocks[..., 0:2])
    if name == "Q8_0":
        return blocks[..., 2:].view(np.int8).astype(np.float32), scales, None
    if name == "Q4_1":
        return _nibbles(blocks[..., 4:]).astype(np.float32), scales, _half(blocks[..., 2:4])
    if name in ("Q5_0", "Q5_1"):
        fifth = np.unpackbits(blocks[..., -20:-16], axis=-1, bitorder="little")
        codes = (_nibbles(blocks[..., -16:]) + 16 * fifth).astype(np.float32)
        return (
            (codes - 16, scales, None)
            if name == "Q5_0"
            else (codes, scales, _half(blocks[..., 2:4]))
        )
    if name == "Q6_0":
        codes = _nibbles(blocks[..., 10:]) | high_pairs(blocks[..., 2:10]) << np.uint8(4)
        return codes.astype(np.float32) - 32, scales, None
    nibbles = _nibbles(blocks[..., 2:])
    codes = _IQ4[nibbles] if name == "IQ4_NL" else nibbles.astype(np.float32) - 8
    return codes, scales, None


def _super_integers(name: str, data: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats | None]:
    blocks = data.reshape(-1, FORMATS[name].block_bytes)
    rows = len(data)
    if name == "IQ4_XS":
        values, scales = xs_values(blocks)
        return values.reshape(rows, -1, _BLOCK), scales.reshape(rows, -1), None
    held = INTEGERS[name](blocks)
    codes = held.codes.astype(np.float32).reshape(rows, -1, 256 // held.scales.shape[1])
    minima = None if held.minimums is None else -held.minimums.reshape(rows, -1)
    return codes, held.scales.reshape(rows, -1), minima


def _nibbles(quants: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([quants & 15, quants >> 4], axis=-1)


def _half(pairs: NDArray[np.uint8]) -> Floats:
    return np.ascontiguousarray(pairs).view(np.float16)[..., 0].astype(np.float32)
