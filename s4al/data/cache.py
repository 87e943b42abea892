"""The decoded cache: a split's images (and masks) at the network's size, as plain .npy files read by position.

Reading is `os.preadv` into the caller's buffer: any number of threads, no file position, and no mapping whose pages
would count as this process's memory, so that resident memory does not grow with the pool.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from s4al.errors import RunStateError

DESCRIPTION = "cache.json"  # not manifest.json: that name belongs to the commit of a folder
_HEADER_BYTES = 128
_REMEDY = "Delete the folder and run the same command; it is made again."


class CacheWriter:
    """Write rows one after another; the count is put into the .npy headers at the end.

    Parameters
    ----------
    folder : made here; holds images.npy, masks.npy where masks are given, and cache.json.
    recipe : how the rows were made, kept for the reader of the manifest.
    """

    def __init__(self, folder: Path, height: int, width: int, recipe: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._height, self._width, self._recipe = height, width, recipe
        self._ids: list[str] = []
        self._files: dict[str, IO[bytes]] = {}

    def append(self, id: str, image_HWC: NDArray[np.uint8], mask_HW: NDArray[np.uint8] | None = None) -> None:
        """Add a row; either every row of a cache has a mask or none has."""
        self._write_row("images", image_HWC, (self._height, self._width, 3))
        if mask_HW is not None:
            self._write_row("masks", mask_HW, (self._height, self._width))
        self._ids.append(id)

    def close(self) -> None:
        """Fix the headers and write cache.json."""
        for name in () if self._ids else ("images", "masks"):  # a split without images has an empty cache
            self._stream(name)
        for name, stream in self._files.items():
            row_shape = (self._height, self._width, 3) if name == "images" else (self._height, self._width)
            rows, rest = divmod(stream.tell() - _HEADER_BYTES, int(np.prod(row_shape)))
            assert (rows, rest) == (len(self._ids), 0), f"{name}: {rows} rows and {rest} bytes for {len(self._ids)} ids"
            stream.seek(0)
            stream.write(_npy_header((rows, *row_shape)))
            stream.close()
        description = {"height": self._height, "width": self._width, "recipe": self._recipe, "ids": self._ids}
        (self._folder / DESCRIPTION).write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            for stream in self._files.values():
                stream.close()

    def _write_row(self, name: str, row: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
        assert row.dtype == np.uint8 and row.shape == shape, f"{row.dtype} {row.shape}, expected uint8 {shape}"
        self._stream(name).write(np.ascontiguousarray(row).data)

    def _stream(self, name: str) -> IO[bytes]:
        if name not in self._files:
            self._files[name] = (self._folder / f"{name}.npy").open("wb")
            self._files[name].write(bytes(_HEADER_BYTES))
        return self._files[name]


class ImageCache:
    """Read rows of a cache folder, from any number of threads.

    Attributes
    ----------
    ids : of the rows, in order.
    height, width : of every row, pixels.
    row_shape : (H, W, 3) for images, (H, W) for masks.
    """

    def __init__(self, descriptor: int, ids: list[str], row_shape: tuple[int, ...]) -> None:
        self._descriptor = descriptor
        self._row_bytes = int(np.prod(row_shape))
        self.ids = ids
        self.row_shape = row_shape
        self.height, self.width = row_shape[:2]

    @classmethod
    def open(cls, folder: Path, name: str = "images") -> ImageCache:
        """Open `folder`/images.npy, or masks.npy for `name="masks"`.

        Raises RunStateError where a file is missing or its header, size and cache.json disagree.
        """
        path = folder / f"{name}.npy"
        try:
            about: dict[str, Any] = json.loads((folder / DESCRIPTION).read_bytes())
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            what = f"The cache {folder} cannot be read: {error.strerror} ({error.filename})."
            raise RunStateError(what, remedy=_REMEDY) from error
        except ValueError as error:
            raise RunStateError(f"The cache {folder} is damaged: {DESCRIPTION}: {error}.", remedy=_REMEDY) from error
        row_shape = (about["height"], about["width"], 3)[: 3 if name == "images" else 2]
        cache = cls(descriptor, about["ids"], row_shape)
        expected = _npy_header((len(cache), *row_shape))
        found_bytes, expected_bytes = os.fstat(descriptor).st_size, _HEADER_BYTES + len(cache) * cache._row_bytes
        if found_bytes != expected_bytes or os.pread(descriptor, _HEADER_BYTES, 0) != expected:
            cache.close()
            raise RunStateError(
                f"The cache {path} is damaged: {found_bytes:,} bytes, expected {expected_bytes:,} for "
                f"{len(about['ids'])} rows of uint8 {row_shape}.",
                remedy=_REMEDY,
            )
        return cache

    def __len__(self) -> int:
        return len(self.ids)

    def read_into(self, start: int, out: NDArray[np.uint8]) -> None:
        """Fill `out`, (B, *row_shape) uint8 C-contiguous, with rows start .. start + B - 1."""
        assert out.dtype == np.uint8 and out.flags.c_contiguous and out.shape[1:] == self.row_shape, out.shape
        if not 0 <= start <= len(self) - len(out):
            raise IndexError(f"rows {start} to {start + len(out) - 1} of a cache of {len(self)}")
        if not out.size:
            return
        view = out.data.cast("B")
        offset = _HEADER_BYTES + start * self._row_bytes
        while view:
            count = os.preadv(self._descriptor, [view], offset)
            if count == 0:
                raise RunStateError("The image cache became shorter while it was being read.", remedy=_REMEDY)
            view, offset = view[count:], offset + count

    def read(self, index: int) -> NDArray[np.uint8]:
        """One row, a new array of `row_shape`."""
        out = np.empty((1, *self.row_shape), np.uint8)
        self.read_into(index, out)
        return out[0]

    def read_rows(self, indices: Sequence[int] | NDArray[np.integer], out: NDArray[np.uint8]) -> None:
        """Fill `out[i]` with row `indices[i]`."""
        assert len(indices) == len(out), (len(indices), len(out))
        for slot, index in enumerate(indices):
            self.read_into(int(index), out[slot : slot + 1])

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> ImageCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """A version 1.0 header of exactly 128 bytes, so that it can be written before the count of rows is known."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape!r}, }}"
    magic = npy_format.magic(1, 0)
    padding = _HEADER_BYTES - len(magic) - 2 - len(text) - 1
    assert padding >= 0, f"npy header too long for shape {shape}"
    return magic + (len(text) + 1 + padding).to_bytes(2, "little") + text.encode() + b" " * padding + b"\n"
