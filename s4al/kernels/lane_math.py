"""exp2 and log2 of sixteen float32 at a time, as polynomials: Numba would call the C library once per lane.

The softmax needs 2^v for v <= 0 only, and float32 has as many exponents above one as below. So powers are scaled by
2^SCALE, which costs nothing and almost doubles the range before they vanish; ratios of them are what they were.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from s4al.kernels.lanes import bits_of, fma, from_bits, select, to_float

# 2^r = 1 + r (E1 + ...) on [-1/2, 1/2], minimax in relative error (9.1e-8); exact at whole numbers.
E1, E2, E3, E4, E5 = map(np.float32, (0.6931469776, 0.24022242085, 0.055507337434, 0.0096715126614, 0.0013264727219))
# log2(1 + x) = x (L0 + ...) on [sqrt(1/2) - 1, sqrt(2) - 1], minimax in absolute error (7.5e-9).
L0, L1, L2, L3, L4 = map(np.float32, (1.4426948285, -0.72134745342, 0.48092629604, -0.36070013361, 0.28754592506))
L5, L6, L7, L8 = map(np.float32, (-0.23890368274, 0.21874250258, -0.20819071718, 0.11922683474))

ONE = np.float32(1)
MANTISSA_BITS = np.int32(23)
SQRT_HALF_BITS = np.int32(0x3F3504F3)
SCALE = np.int32(112)  # the sum of 255 powers stays below 2^120
LOWEST = np.float32(-126 - SCALE)  # the result is the smallest normal float32
# Adding this to v rounds it to a whole number and leaves that, plus SCALE and the exponent bias, in the lowest bits.
ROUND = np.float32(1.5 * 2**23 + 127 + SCALE)


@njit(inline="always")
def exp2(v: Any) -> Any:
    """2^(v + SCALE) for LOWEST <= v < 1, relative error 2e-7; NaN stays NaN."""
    rounded = v + ROUND
    r = v - (rounded - ROUND)
    p = fma(fma(fma(fma(fma(E5, r, E4), r, E3), r, E2), r, E1), r, ONE)
    return p * from_bits(bits_of(rounded) << MANTISSA_BITS)


@njit(inline="always")
def log2(z: Any) -> Any:
    """log2(z) - SCALE of a normal positive number, absolute error 1e-7 plus rounding."""
    bits = bits_of(z)
    exponent = (bits - SQRT_HALF_BITS) >> MANTISSA_BITS
    x = from_bits(bits - (exponent << MANTISSA_BITS)) - ONE
    p = fma(fma(fma(fma(fma(fma(fma(fma(L8, x, L7), x, L6), x, L5), x, L4), x, L3), x, L2), x, L1), x, L0)
    return fma(p, x, to_float(exponent - SCALE))


@njit(inline="always")
def at_least(floor: Any, v: Any) -> Any:
    """The larger of the two; NaN in v stays NaN."""
    return select(v < floor, floor, v)


@njit(inline="always")
def larger(a: Any, b: Any) -> Any:
    """The larger of the two; NaN in either stays NaN."""
    return select(b > a, b, select(b >= b, a, b))
