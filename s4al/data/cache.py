"""The decoded cache: a split's images (and masks) at the network's size, as plain .npy files read by position.

    images.npy  images.xxh128  masks.npy  masks.xxh128  cache.json

Every row is compared with its digest when a process first reads it: damage never becomes a result. The digests' own
sha256 stands in cache.json, which carries a digest too.

Reading is `os.preadv` into the caller's buffer: any number of threads, no file position, and no mapping whose pages
would count as this process's memory, so that resident memory does not grow with the pool.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from s4al.errors import RunStateError
from s4al.sealed import Damaged, open_json, seal_json

DESCRIPTION = "cache.json"  # not manifest.json: that name belongs to the commit of a folder
_DESCRIBED = {"height", "width", "recipe", "ids", "rows_sha256"}
_HEADER_BYTES = 128
_DIGEST_BYTES = 16


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
        self._digests: dict[str, bytearray] = {}

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
        _describe(self._folder, self._height, self._width, self._recipe, self._ids, self._digests)

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
        row = np.ascontiguousarray(row)
        self._stream(name).write(row.data)
        self._digests[name] += _row_digest(row)

    def _stream(self, name: str) -> IO[bytes]:
        if name not in self._files:
            self._files[name] = (self._folder / f"{name}.npy").open("wb")
            self._files[name].write(bytes(_HEADER_BYTES))
            self._digests[name] = bytearray()
        return self._files[name]


def describe_masks(folder: Path, height: int, width: int, recipe: str, ids: list[str]) -> None:
    """Make a cache of a folder that holds a finished masks.npy, (len(ids), height, width) uint8. Raises OSError."""
    digests, row_bytes = bytearray(), height * width
    with (folder / "masks.npy").open("rb") as stream:
        stream.seek(_HEADER_BYTES)
        while row := stream.read(row_bytes):
            digests += _row_digest(row)
    assert len(digests) == _DIGEST_BYTES * len(ids), f"{len(digests) // _DIGEST_BYTES} rows for {len(ids)} ids"
    _describe(folder, height, width, recipe, ids, {"masks": digests})


def _describe(
    folder: Path, height: int, width: int, recipe: str, ids: list[str], digests: dict[str, bytearray]
) -> None:
    """Write the digests, and last cache.json."""
    for name, of_rows in digests.items():
        (folder / _digests_file(name)).write_bytes(of_rows)
    rows_sha256 = {name: hashlib.sha256(of_rows).hexdigest() for name, of_rows in digests.items()}
    about = {"height": height, "width": width, "recipe": recipe, "ids": ids, "rows_sha256": rows_sha256}
    (folder / DESCRIPTION).write_bytes(seal_json(about))


def _digests_file(name: str) -> str:
    return f"{name}.xxh128"


def _row_digest(row: Any) -> bytes:
    """16 bytes; a hash at memory's speed, against damage and not against people."""
    from xxhash import xxh3_128_digest

    return xxh3_128_digest(row)


class ImageCache:
    """Read rows of a cache folder, from any number of threads.

    Attributes
    ----------
    ids : of the rows, in order.
    height, width : of every row, pixels.
    row_shape : (H, W, 3) for images, (H, W) for masks.
    """

    def __init__(self, path: Path, descriptor: int, ids: list[str], row_shape: tuple[int, ...]) -> None:
        self._path = path
        self._descriptor = descriptor
        self._digests = b""
        self._is_checked = bytearray(len(ids))  # a byte a row: threads may write beside each other
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
            about = open_json((folder / DESCRIPTION).read_bytes())
            if about.keys() != _DESCRIBED:
                raise Damaged(f"it describes {', '.join(about)}")
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            what = f"The cache {folder} cannot be read: {error.strerror} ({error.filename})."
            raise RunStateError(what, remedy=_remedy(folder)) from error
        except Damaged as error:
            what = f"The cache {folder} is damaged: {DESCRIPTION}: {error}."
            raise RunStateError(what, remedy=_remedy(folder)) from error
        row_shape = (about["height"], about["width"], 3)[: 3 if name == "images" else 2]
        cache = cls(path, descriptor, about["ids"], row_shape)
        cache._digests = _read_digests(folder, name, about)
        expected = _npy_header((len(cache), *row_shape))
        found_bytes, expected_bytes = os.fstat(descriptor).st_size, _HEADER_BYTES + len(cache) * cache._row_bytes
        if found_bytes != expected_bytes or os.pread(descriptor, _HEADER_BYTES, 0) != expected:
            cache.close()
            raise RunStateError(
                f"The cache {path} is damaged: {found_bytes:,} bytes, expected {expected_bytes:,} for "
                f"{len(about['ids'])} rows of uint8 {row_shape}.",
                remedy=_remedy(folder),
            )
        return cache

    def __len__(self) -> int:
        return len(self.ids)

    def read_into(self, start: int, out: NDArray[np.uint8]) -> None:
        """Fill `out`, (B, *row_shape) uint8 C-contiguous, with rows start .. start + B - 1.

        Raises RunStateError where a row is not the one that was written.
        """
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
                what = f"The cache {self._path} became shorter while it was being read."
                raise RunStateError(what, remedy=_remedy(self._path.parent))
            view, offset = view[count:], offset + count
        self._check(start, out)

    def _check(self, start: int, rows: NDArray[np.uint8]) -> None:
        """Compare the rows that this process sees for the first time with their digests."""
        for row, data in enumerate(rows, start):
            if self._is_checked[row]:
                continue
            if _row_digest(data.data) != self._digests[_DIGEST_BYTES * row : _DIGEST_BYTES * (row + 1)]:
                what = f"The cache {self._path} is damaged: row {row} ({self.ids[row]}) is not what was written."
                raise RunStateError(what, remedy=_remedy(self._path.parent))
            self._is_checked[row] = 1

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


def _remedy(folder: Path) -> str:
    return f"Delete {folder} and run the same command; it is made again."


def _read_digests(folder: Path, name: str, about: dict[str, Any]) -> bytes:
    """Of every row, one after another. Raises RunStateError where the file is not the one described."""
    path = folder / _digests_file(name)
    digests = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(digests).hexdigest() != about["rows_sha256"].get(name):
        what = f"The cache {folder} is damaged: {path.name} is not what {DESCRIPTION} says."
        raise RunStateError(what, remedy=_remedy(folder))
    return digests


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """A version 1.0 header of exactly 128 bytes, so that it can be written before the count of rows is known."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape!r}, }}"
    magic = npy_format.magic(1, 0)
    padding = _HEADER_BYTES - len(magic) - 2 - len(text) - 1
    assert padding >= 0, f"npy header too long for shape {shape}"
    return magic + (len(text) + 1 + padding).to_bytes(2, "little") + text.encode() + b" " * padding + b"\n"
