"""What a run knows about its images: one Parquet table, and whether the files are still the ones it began with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s4al.errors import DataError, RunStateError
from s4al.files import sha256_file, write_json

POOL_FILE = "pool.parquet"
_DIGEST = "s4al.rows_sha256"


@dataclass(frozen=True)
class Row:
    """One image of the pool. Paths are POSIX, relative to the data folder, masks' to that of rendered ones where they
    were; `mask` is "" where there is none.

    `height` and `width` are the original's, after the EXIF turn where there was one (a mask has the same size); 0 where
    it could not be read. `reason` says why the image was set aside, and is "" for all others. `labelled_pixels` are the
    mask's that are not ignored, at its original size.
    """

    id: str
    split: str
    image: str
    mask: str
    bytes: int = 0
    sha256: str = ""
    mask_bytes: int = 0
    mask_sha256: str = ""
    height: int = 0
    width: int = 0
    reason: str = ""
    labelled_pixels: int = 0


@dataclass(frozen=True)
class Split:
    """The usable images of a split; position i is row i of the split's cache."""

    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def ids(self) -> list[str]:
        return [row.id for row in self.rows]

    @cached_property
    def heights(self) -> NDArray[np.int32]:
        return np.array([row.height for row in self.rows], np.int32)

    @cached_property
    def widths(self) -> NDArray[np.int32]:
        return np.array([row.width for row in self.rows], np.int32)


@dataclass(frozen=True)
class Pool:
    """All images of a run. `rows` are sorted by split (train, val, test), then id."""

    rows: tuple[Row, ...]

    def split(self, name: str) -> Split:
        return Split(tuple(row for row in self.rows if row.split == name and not row.reason))

    @cached_property
    def train(self) -> Split:
        return self.split("train")

    @cached_property
    def val(self) -> Split:
        return self.split("val")

    @cached_property
    def test(self) -> Split:
        return self.split("test")

    @cached_property
    def digest(self) -> str:
        """sha256 over all rows: Parquet's own checksums leave out the footer."""
        return hashlib.sha256(json.dumps([list(vars(row).values()) for row in self.rows]).encode()).hexdigest()

    @cached_property
    def quarantined(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.reason)


def write_pool(pool: Pool, path: Path) -> None:
    """Write the table; the same pool gives the same bytes. Raises OSError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    integer: dict[str, pa.DataType] = dict.fromkeys(("bytes", "mask_bytes", "labelled_pixels"), pa.int64())
    integer |= dict.fromkeys(("height", "width"), pa.int32())
    columns = [(field.name, integer.get(field.name, pa.string())) for field in fields(Row)]
    schema = pa.schema(columns, metadata={_DIGEST: pool.digest})
    table = pa.Table.from_pylist([vars(row) for row in pool.rows], schema=schema)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def load_pool(path: Path) -> Pool:
    """Read what `write_pool` wrote. Raises RunStateError where the file is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        pool = Pool(tuple(Row(**row) for row in table.to_pylist()))
        sound = (table.schema.metadata or {}).get(_DIGEST.encode()) == pool.digest.encode()
    except (OSError, TypeError, UnicodeDecodeError, pa.ArrowException) as error:
        raise RunStateError(f"{path} cannot be read: {error}.", remedy="Start a new run.") from error
    if not sound:
        raise RunStateError(f"{path} is damaged: its rows do not match its digest.", remedy="Start a new run.")
    return pool


def verify_sources(pool: Pool, root: Path, memory: Path | None = None, masks_root: Path | None = None) -> None:
    """Check that the usable images and the masks are still the ones the run began with.

    Parameters
    ----------
    masks_root : what the masks' paths are relative to; None for `root`.
    memory : a JSON file of sizes and modification times seen with the right sha256; it saves reading unchanged files
        again, may be deleted at any time, and is not written where None.

    Raises
    ------
    DataError : files are missing or have changed; names the first few.
    """
    known = _load_memory(memory)
    seen: dict[str, list[int]] = {}
    problems: list[str] = []
    for folder, path, size, sha256 in _sources(pool, root, masks_root or root):
        try:
            status = (folder / path).stat()
            stamp = [status.st_size, status.st_mtime_ns]
            same = status.st_size == size and (known.get(path) == stamp or sha256_file(folder / path) == sha256)
        except OSError as error:
            problems.append(f"{path} cannot be read ({error.strerror})")
            continue
        if same:
            seen[path] = stamp
        else:
            problems.append(f"{path} changed (sha256 differs)")
    if problems:
        count = f"{len(problems):,} file{'s are' if len(problems) > 1 else ' is'}"
        raise DataError(
            f"{count} not as when this run began: {first_few(problems)}.",
            kept="Everything committed before is safe.",
            remedy="Restore the files, or start a new run.",
        )
    if memory is not None and seen != known:
        write_json(memory, seen)


def first_few(items: list[str], most: int = 5) -> str:
    return "; ".join(items[:most]) + (f"; and {len(items) - most:,} more" if len(items) > most else "")


def _sources(pool: Pool, root: Path, masks_root: Path) -> Iterator[tuple[Path, str, int, str]]:
    """(folder, path relative to it, bytes, sha256) of every usable image and its mask."""
    for row in pool.rows:
        if not row.reason:
            yield root, row.image, row.bytes, row.sha256
            if row.mask:
                yield masks_root, row.mask, row.mask_bytes, row.mask_sha256


def _load_memory(memory: Path | None) -> dict[str, list[int]]:
    """Only a shortcut: one that cannot be read means that all files are hashed again."""
    if memory is None or not memory.exists():
        return {}
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
