"""Label Studio's brush: against streams worked out by hand, its own definition bit by bit, and what is damaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from s4al.annotate.exchange.brush_rle import BrushError, decode_brush, encode_brush

# 1 x 1 pixel, painted: 4 samples; samples of 8 bits; lengths of 3, 4, 8, 16 bits; one run of four 255.
HEADER = f"{4:032b}" + f"{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}"
ONE_PIXEL = HEADER + "1" + "00" + f"{3:03b}" + f"{255:08b}"
# 1 x 2 pixels: a stretch of eight different samples, of which the fourth channels are 0 and 9.
LITERAL = (
    f"{8:032b}" + HEADER[32:] + "0" + "01" + f"{7:04b}" + "".join(f"{value:08b}" for value in (1, 2, 3, 0, 5, 6, 7, 9))
)


def _bytes(bits: str) -> bytes:
    padded = bits.ljust(-(-len(bits) // 8) * 8, "0")
    return int(padded, 2).to_bytes(len(padded) // 8, "big")


def _slow_decode(data: bytes) -> list[int]:
    """The samples, by the letter of the definition."""
    bits = "".join(f"{byte:08b}" for byte in data)
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total, sample_bits = take(32), take(5) + 1
    length_bits = [take(4) + 1 for _ in range(4)]
    samples: list[int] = []
    while len(samples) < total:
        is_run, kind = take(1), take(2)
        length = take(length_bits[kind]) + 1
        samples += [take(sample_bits)] * length if is_run else [take(sample_bits) for _ in range(length)]
    return samples


@pytest.mark.parametrize(
    ("bits", "expected"), [(ONE_PIXEL, [[True]]), (LITERAL, [[False, True]])], ids=["run", "stretch"]
)
def test_streams_worked_out_by_hand(bits: str, expected: list[list[bool]]) -> None:
    assert decode_brush(_bytes(bits), 1, len(expected[0])).tolist() == expected


def test_a_painted_pixel_is_written_as_by_hand() -> None:
    assert encode_brush(np.array([[True]])) == _bytes(ONE_PIXEL)


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_what_is_written_is_what_the_definition_says_and_what_is_read(mask_HW: np.ndarray) -> None:
    data = encode_brush(mask_HW)
    assert _slow_decode(data) == np.repeat(mask_HW.ravel() * 255, 4).tolist()
    np.testing.assert_array_equal(decode_brush(data, *mask_HW.shape), mask_HW)


@pytest.mark.parametrize("pixels", [1, 2, 4, 5, 64, 65, 16_384, 16_385, 40_000])
def test_runs_at_the_limits_of_the_kinds_of_length(pixels: int) -> None:
    mask_HW = np.zeros((1, pixels + 3), np.bool_)
    mask_HW[0, 1 : pixels + 1] = True
    data = encode_brush(mask_HW)
    assert _slow_decode(data) == np.repeat(mask_HW.ravel() * 255, 4).tolist()
    np.testing.assert_array_equal(decode_brush(data, *mask_HW.shape), mask_HW)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_mask_or_refused(data: bytes) -> None:
    for bytes_ in (data, _bytes(HEADER) + data, (64).to_bytes(4, "big") + data):
        try:
            mask_HW = decode_brush(bytes_, 4, 4) if bytes_[:4] == b"\0\0\0@" else decode_brush(bytes_, 1, 1)
        except BrushError:
            continue
        assert mask_HW.dtype == np.bool_


@pytest.mark.parametrize(
    ("bits", "size", "reason"),
    [
        ("", (1, 1), "0 bytes"),
        (ONE_PIXEL, (1, 2), "4 samples, its picture 8"),
        (f"{4:032b}" + f"{6:05b}" + HEADER[37:], (1, 1), "7 bits"),
        (HEADER, (1, 1), "ends after 0 of 4"),
        (HEADER + "1" + "00" + f"{7:03b}" + f"{255:08b}", (1, 1), "more than 4 samples"),
        (HEADER + "0" + "00" + f"{3:03b}" + f"{255:08b}", (1, 1), "ends after 0 of 4"),
        (ONE_PIXEL + "0" * 800, (1, 1), "bytes for 4 samples"),
    ],
    ids=["empty", "another size", "7-bit samples", "no packet", "run too long", "stretch cut off", "too many bytes"],
)
def test_damaged_streams(bits: str, size: tuple[int, int], reason: str) -> None:
    with pytest.raises(BrushError, match=reason):
        decode_brush(_bytes(bits) if bits else b"", *size)
