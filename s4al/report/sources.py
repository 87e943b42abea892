"""A run's folders, read piece by piece: what is damaged or missing becomes a sentence, and the rest is still shown.

Nothing here grows with the pool: tables come in batches, arrays row by row, and of names a sample of one size is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from s4al.errors import RunStateError, S4alError
from s4al.text import visible

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 65_536
_LARGEST_DOCUMENT = 64 * 2**20  # bytes of a JSON file; a confusion matrix of 254 classes has half a megabyte


class Gaps:
    """What could not be shown, as sentences, in the order in which it was missed."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def add(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.append(sentence)

    @contextlib.contextmanager
    def part(self, what: str) -> Iterator[None]:
        """One part of the page ("The times"): damage ends the part, not the page."""
        import pyarrow as pa

        try:
            yield
        except S4alError as error:
            self.add(f"{what} cannot be shown: {visible(error.what)}")
        except (
            *(OSError, pa.ArrowException, KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError),
        ) as error:  # what a damaged file of our own can lead to: a missing key, a value of another type
            self.add(f"{what} cannot be shown: a file is damaged ({type(error).__name__}: {visible(error)}).")


def read_document(path: Path) -> Any:
    """A JSON file. Raises RunStateError where it is missing, too large or no JSON."""
    try:
        if path.stat().st_size > _LARGEST_DOCUMENT:
            raise RunStateError(f"{path} is larger than {_LARGEST_DOCUMENT // 2**20} MiB.")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise RunStateError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise RunStateError(f"{path} is damaged: {error}.") from error


def table_columns(path: Path) -> set[str]:
    """The names of a table's columns. Raises RunStateError."""
    with _reading(path):
        return set(_open_table(path).schema_arrow.names)


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The named columns of a Parquet table, some ten thousand rows at a time. Raises RunStateError."""
    with _reading(path):
        table = _open_table(path)
        missing = [name for name in columns if name not in table.schema_arrow.names]
        if missing:
            raise RunStateError(f"{path} has no column {', '.join(missing)}; an earlier version wrote it.")
        yield from table.iter_batches(_BATCH_ROWS, columns=list(columns))


def _open_table(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=["image"])


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise RunStateError(f"{path} cannot be read: {error}.") from error


class Rows:
    """A uint8 `.npy` file of equally large rows, read by position: neither mapped nor loaded.

    Attributes
    ----------
    count : of rows.
    shape : of one row.
    """

    def __init__(self, path: Path) -> None:
        """Raises RunStateError where the file is missing, or its header and its size disagree."""
        try:
            self._stream = path.open("rb")
        except OSError as error:
            raise RunStateError(f"{path} cannot be read: {error.strerror}.") from error
        try:
            npy_format.read_magic(self._stream)
            shape, fortran, dtype = npy_format.read_array_header_1_0(self._stream)
        except ValueError as error:
            self.close()
            raise RunStateError(f"{path} is damaged: {error}.") from error
        self._offset = self._stream.tell()
        self.count, self.shape = int(shape[0]) if shape else 0, tuple(shape[1:])
        self._row_bytes = int(np.prod(self.shape))
        expected = self._offset + self.count * self._row_bytes
        if fortran or dtype != np.uint8 or not self.shape or os.fstat(self._stream.fileno()).st_size != expected:
            self.close()
            raise RunStateError(f"{path} is damaged: its size is not that of {self.count:,} rows of {self.shape}.")

    def read(self, row: int) -> NDArray[np.uint8]:
        """One row. Raises IndexError."""
        if not 0 <= row < self.count:
            raise IndexError(f"row {row} of {self.count}")
        data = os.pread(self._stream.fileno(), self._row_bytes, self._offset + row * self._row_bytes)
        return np.frombuffer(data, np.uint8).reshape(self.shape)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Sample:
    """Names drawn by their hash: as many as asked for, the same ones in whatever order they come.

    Attributes
    ----------
    seen_all : whether no name had to be left out.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[int, str]] = []  # by negated hash: the first is the one to give way
        self._names: set[str] = set()
        self.seen_all = True

    def offer(self, name: str) -> bool:
        """Whether the name is in the sample as it stands; one that has left it never comes back."""
        if name in self._names:
            return True
        entry = -digest64(name), name
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        else:
            self.seen_all = False
            if not self._size or entry <= self._heap[0]:
                return False
            self._names.remove(heapq.heapreplace(self._heap, entry)[1])
        self._names.add(name)
        return True

    @property
    def names(self) -> list[str]:
        """Sorted."""
        return sorted(self._names)


def digest64(text: str) -> int:
    """A hash that is the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def spread_over(count: int, most: int) -> list[int]:
    """At most `most` of `count` positions, evenly spread."""
    taken = min(count, most)
    return [index * count // taken for index in range(taken)]
