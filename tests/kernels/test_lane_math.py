"""The polynomials that stand in for the C library, over their whole range."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from s4al.kernels.lane_math import LOWEST, SCALE, at_least, exp2, log2
from s4al.kernels.lanes import load16, store


@njit
def _exp2_of(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(0, values.size, 16):
        store(out, i, exp2(at_least(LOWEST, load16(values, i))))


@njit
def _log2_of(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(0, values.size, 16):
        store(out, i, log2(load16(values, i)))


def test_exp2() -> None:
    values = np.linspace(LOWEST, 0.9, 1_600_000, dtype=np.float32)
    out = np.empty_like(values)
    _exp2_of(values, out)
    assert np.abs(out / np.exp2(values.astype(np.float64) + SCALE) - 1).max() < 2e-7
    whole = np.arange(LOWEST + 1, 2, dtype=np.float32)[-224:]
    out = np.empty_like(whole)
    _exp2_of(whole, out)
    assert (out == np.exp2(whole.astype(np.float64) + SCALE)).all(), "exact at whole numbers"


def test_exp2_of_what_is_too_small_or_not_a_number() -> None:
    out = np.empty(16, np.float32)
    _exp2_of(np.array([LOWEST - 1, -1e30, -np.inf, np.nan] * 4, np.float32), out)
    assert (out.reshape(4, 4)[:, :3] == 2.0**-126).all() and np.isnan(out[3::4]).all()


def test_log2() -> None:
    values = np.exp2(np.linspace(-126, 120, 1_600_000)).astype(np.float32)
    out = np.empty_like(values)
    _log2_of(values, out)
    expected = np.log2(values.astype(np.float64)) - SCALE
    np.testing.assert_allclose(out, expected, rtol=1.2e-7, atol=1e-7)
    whole = np.arange(-126, 2, dtype=np.float32)
    out = np.empty_like(whole)
    _log2_of(np.exp2(whole), out)
    assert (out == whole - SCALE).all(), "exact at powers of two"


def test_lanes_do_not_mix_with_other_types() -> None:
    @njit
    def add_float64(values: np.ndarray, out: np.ndarray) -> None:
        store(out, 0, load16(values, 0) + 0.5)

    with pytest.raises(TypingError, match="No implementation"):
        add_float64(np.zeros(16, np.float32), np.zeros(16, np.float32))
