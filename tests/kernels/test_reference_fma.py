"""The reference's fma and exp, against exact rational arithmetic and the C library."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingle.backends.reference.arithmetic import kernel_exp, quantize
from ingle.backends.reference.attention import kernel_exp2, spans
from ingle.backends.reference.fma import fma, lane_sum

# Away from overflow and subnormals, where float32's spacing is relative.
floats = st.floats(-1e9, 1e9, width=32).filter(lambda x: x == 0 or abs(x) > 1e-9)


def round_to_float32(exact: Fraction) -> np.float32:
    """Nearest float32, ties to even, by comparing rational distances."""
    near = np.float32(float(exact))
    around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    return min(around, key=lambda c: (abs(Fraction(float(c)) - exact), int(c.view(np.uint32)) & 1))


@given(floats, floats, floats)
def test_fma_rounds_once(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    got = fma(np.array([a], np.float32), np.array([b], np.float32), np.array([c], np.float32))[0]
    if abs(exact) > Fraction(1, 10**30):
        assert got == round_to_float32(exact)


def test_fma_where_float64_lies_halfway() -> None:
    # a * b + c = 1 + 2^-24 + 2^-60: rounding to float64 first would give the tie and round down.
    a, b = np.float32(2.0**-30), np.float32(2.0**-30)
    c = np.array([1 + 2.0**-23], np.float32)
    tie = np.float32(2.0**-24)
    got = fma(np.array([tie]), np.array([np.float32(1)]), c)
    assert got[0] == np.float32(1 + 2.0**-22)  # a true tie goes to the even neighbour
    nudged = fma(np.array([np.float32(1 + 2.0**-23)]), np.array([tie], np.float32), c)
    assert nudged[0] == np.float32(1 + 2.0**-22)
    assert fma(np.array([a]), np.array([b]), c)[0] == c[0]


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=16, max_size=16))
def test_lane_sum_is_the_sum(values: list[float]) -> None:
    x = np.array([values], np.float32)
    bound = 16 * 2.0**-24 * sum(abs(v) for v in values) + 1e-30
    assert abs(float(lane_sum(x)[0]) - math.fsum(float(v) for v in x[0])) <= bound


@given(st.floats(-120, 88, width=32))
def test_exp_is_within_two_units_in_the_last_place(x: float) -> None:
    got = float(kernel_exp(np.array([x], np.float32))[0])
    want = math.exp(x) if x >= np.float32(-87.3) else 0.0
    assert abs(got - want) <= 2 * 2.0**-23 * want


def test_rows_without_a_finite_reciprocal_become_zeros() -> None:
    exponents = np.arange(-149, -100, dtype=np.float64)
    rows = (2.0 ** exponents[:, None] * np.linspace(-1, 0.5, 32)).astype(np.float32)
    q, d, sums = quantize(rows)
    finite = exponents >= -121
    assert (q[~finite] == 0).all() and (sums[~finite] == 0).all()
    assert (q[finite][:, 0, 0] == -127).all() and np.isfinite(d).all()


@given(st.floats(-200, 0, width=32))
def test_exp2_is_near_the_truth(x: float) -> None:
    got = float(kernel_exp2(np.array([x], np.float32))[0])
    if x < -126:
        assert got == 0
    else:
        assert abs(got / 2.0**x - 1) < 2e-7
    assert kernel_exp2(np.zeros(1, np.float32))[0] == 1


def test_spans_lie_at_fixed_places() -> None:
    whole = list(spans(1 << 14))
    assert len(whole) == 72 and [len(span) for span in whole[:16]] == [8] * 16
    assert [span.start for span in whole[1:]] == [span.stop for span in whole[:-1]]
    for pages in (1, 8, 9, 64, 130, 1000):
        shorter = list(spans(pages))
        assert shorter[:-1] == whole[: len(shorter) - 1] and shorter[-1].stop == pages
