"""Label Studio's run lengths of a brush: a stream of bits over the RGBA samples of a picture, row by row.

    32 bits  how many samples there are (height x width x 4)
     5 bits  bits of a sample, less 1 (7)
    4 x 4    bits of each of four kinds of length, less 1 (usually 3, 4, 8 and 16 bits)
    packets  1 bit: a run of one sample (1), or a stretch of different ones (0); 2 bits: the kind of the length;
             the length, less 1; the sample or the samples

The stream ends when all samples are there; its last byte is filled up with zeros. The mask is the fourth channel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LENGTH_BITS = np.array([3, 4, 8, 16])
_SAMPLE_BITS = 8
_HEADER_BITS = 32 + 5 + 4 * 4
_CHANNELS = 4
_MOST_BITS = 1 + 2 + 16 + _SAMPLE_BITS  # of a sample that has a packet for itself
_WINDOW = 8  # bytes: more than a packet's flag, kind, length and sample take, wherever they begin in a byte


class BrushError(ValueError):
    """Why a stream is not one of a brush, in words."""


def encode_brush(mask_HW: NDArray[np.bool_]) -> bytes:
    """Run lengths of a mask; its samples are 0 and 255, the same in all four channels."""
    samples = np.where(mask_HW.ravel(), 255, 0)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(samples)) + 1])
    lengths = np.diff(starts, append=samples.size) * _CHANNELS
    values, lengths = _split(samples[starts], lengths, 1 << int(_LENGTH_BITS[-1]))
    kinds = np.searchsorted(_LENGTH_BITS, _bits_of(lengths - 1))
    lengths_bits = _LENGTH_BITS[kinds]
    sizes = 1 + 2 + lengths_bits + _SAMPLE_BITS
    codes = 1
    for value, bits in ((kinds, 2), (lengths - 1, lengths_bits), (values, _SAMPLE_BITS)):
        codes = (codes << bits) | value
    header = 0
    for value, bits in (
        (samples.size * _CHANNELS, 32),
        (_SAMPLE_BITS - 1, 5),
        *((int(b) - 1, 4) for b in _LENGTH_BITS),
    ):
        header = header << bits | value
    return _pack(np.concatenate([[header], codes]), np.concatenate([[_HEADER_BITS], sizes]))


def decode_brush(data: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """(H, W) bool, where the fourth channel is not 0. Raises BrushError: damaged, or not of this size."""
    count = height * width * _CHANNELS
    length_bits = _check_header(data, count)
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    samples = np.empty(count, np.uint8)
    done, at, padded = 0, _HEADER_BITS, data + bytes(_WINDOW)
    while done < count:
        if at >= bits.size:
            raise BrushError(f"it ends after {done:,} of {count:,} samples")
        window = int.from_bytes(padded[at >> 3 : (at >> 3) + _WINDOW], "big") << (at & 7) & (1 << 64) - 1
        size = length_bits[window >> 61 & 3]
        length = (window >> 61 - size & (1 << size) - 1) + 1
        at += 3 + size
        if done + length > count:
            raise BrushError(f"it has more than {count:,} samples")
        if window >> 63:
            samples[done : done + length] = window >> 53 - size & 255
            at += _SAMPLE_BITS
        else:
            end = at + _SAMPLE_BITS * length
            if end > bits.size:
                raise BrushError(f"it ends after {done:,} of {count:,} samples")
            samples[done : done + length] = np.packbits(bits[at:end])
            at = end
        done += length
    if at > bits.size:
        raise BrushError(f"it ends within its last of {count:,} samples")
    return samples.reshape(height, width, _CHANNELS)[:, :, 3] > 0


def _check_header(data: bytes, count: int) -> list[int]:
    """How many bits the four kinds of length have. Raises BrushError."""
    if not _HEADER_BITS <= 8 * len(data) <= _HEADER_BITS + count * _MOST_BITS + 16:
        raise BrushError(f"it has {len(data):,} bytes for {count:,} samples")
    value = int.from_bytes((data + bytes(8))[:8], "big")
    found, sample_bits = value >> 32, (value >> 27 & 31) + 1
    if found != count:
        raise BrushError(f"it has {found:,} samples, its picture {count:,}")
    if sample_bits != _SAMPLE_BITS:
        raise BrushError(f"its samples have {sample_bits} bits, not {_SAMPLE_BITS}")
    return [(value >> shift & 15) + 1 for shift in (23, 19, 15, 11)]


def _split(
    values: NDArray[np.int64], lengths: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut runs longer than `most` into pieces."""
    pieces = -(-lengths // most)
    cut = np.full(int(pieces.sum()), most)
    cut[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * most
    return np.repeat(values, pieces), cut


def _bits_of(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many bits a number below 2 ** 16 takes, at least 1."""
    return np.maximum(np.searchsorted(1 << np.arange(17), values, side="right"), 1)


def _pack(codes: NDArray[np.int64], sizes: NDArray[np.int64]) -> bytes:
    """The last `sizes` bits of every code, one after the other, filled up to whole bytes."""
    ends = np.cumsum(sizes)
    shifts = np.repeat(ends, sizes) - 1 - np.arange(ends[-1])
    return np.packbits((np.repeat(codes, sizes) >> shifts & 1).astype(np.uint8)).tobytes()
