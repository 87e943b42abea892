"""Files that came back from a tool, in a folder, a zip archive or alone: untrusted, so bounded before they are read."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from s4al.annotate.exchange.pictures import Unusable
from s4al.errors import DataError

MAX_FILES = 1_000_000
MAX_TOTAL_BYTES = 2**36  # of all files, unpacked
MAX_FILE_BYTES = 2**31
_MAX_RATIO = 1_100  # deflate cannot shrink more than 1,032 times; overlapping entries can
_ARCHIVES = (".zip",)
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError
)  # fmt: skip


class Source:
    """What a person gave to `label import`: files by their relative POSIX names, whatever holds them.

    Raises DataError where the whole cannot be used: it is not there, a damaged or half-written archive, an archive with
    names that leave it, more than is sensible.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            self._sizes = self._folder_sizes()
        elif _is_zip(path):
            self._sizes = self._zip_sizes()
        elif path.is_file():
            self._sizes = {path.name: path.stat().st_size}
        else:
            raise DataError(f"{path} is not there.", remedy="Name the file or folder that the tool exported.")
        total = sum(self._sizes.values())
        if len(self._sizes) > MAX_FILES or total > MAX_TOTAL_BYTES:
            what = f"{path} holds {len(self._sizes):,} files of {total:,} bytes in all"
            raise self._refused(f"{what} (limits {MAX_FILES:,} files and {MAX_TOTAL_BYTES:,} bytes).")

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def names(self, *suffixes: str, under: str = "") -> list[str]:
        """Relative POSIX names, sorted; those below the folder `under`, and with one of the suffixes (in any case)."""
        prefix = f"{under}/" if under else ""
        wanted = tuple(suffix.lower() for suffix in suffixes)
        return [
            name
            for name in sorted(self._sizes)
            if name.startswith(prefix) and (not wanted or name.lower().endswith(wanted))
        ]

    def __contains__(self, name: str) -> bool:
        return name in self._sizes

    def size(self, name: str) -> int:
        """Bytes of a file, unpacked, as it claims."""
        return self._sizes[name]

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """All bytes of a file. Raises Unusable: more than `limit` bytes, damaged, cannot be read."""
        if self.size(name) > limit:
            raise Unusable(f"{name} has {self.size(name):,} bytes (limit {limit:,})")
        data = self._read(name, limit + 1)
        if len(data) > limit:
            raise Unusable(f"{name} has more than {limit:,} bytes")
        return data

    def head(self, name: str, count: int = 4096) -> bytes:
        """The first bytes of a file, to recognise it by; b"" where it cannot be read."""
        try:
            return self._read(name, count)
        except Unusable:
            return b""

    def _read(self, name: str, count: int) -> bytes:
        try:
            if self._zip is not None:
                with self._zip.open(name) as stream:
                    return stream.read(count)
            path = self.path / name if self.path.is_dir() else self.path
            with path.open("rb") as stream:
                return stream.read(count)
        except _ZIP_ERRORS as error:
            raise Unusable(f"{name} is damaged in the archive ({error})") from error
        except OSError as error:
            raise Unusable(f"{name} cannot be read ({error.strerror or error})") from error

    def _folder_sizes(self) -> dict[str, int]:
        return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in _regular_files(self.path)}

    def _zip_sizes(self) -> dict[str, int]:
        with self._archive_errors():
            self._zip = zipfile.ZipFile(self.path)
            entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
        sizes: dict[str, int] = {}
        for entry in entries:
            parts = PurePosixPath(entry.filename).parts
            if entry.filename.startswith("/") or ".." in parts or "\\" in entry.filename or "\0" in entry.filename:
                raise self._refused(f"{self.path} holds {entry.filename!r}, a name that leaves the archive.")
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise self._refused(f"{self.path} holds {entry.filename!r}, a link.")
            if entry.filename in sizes:
                raise self._refused(f"{self.path} holds {entry.filename!r} twice.")
            if entry.file_size > MAX_FILE_BYTES:
                raise self._refused(f"{self.path}: {entry.filename!r} unpacks to {entry.file_size:,} bytes.")
            sizes[entry.filename] = entry.file_size
        total, packed = sum(sizes.values()), self.path.stat().st_size
        if total > packed * _MAX_RATIO:
            raise self._refused(f"{self.path} has {packed:,} bytes and claims to unpack to {total:,}: a zip bomb.")
        return sizes

    @contextmanager
    def _archive_errors(self) -> Iterator[None]:
        try:
            yield
        except (*_ZIP_ERRORS, OSError) as error:
            raise DataError(
                f"{self.path} is not a whole zip archive ({error}).",
                kept="Nothing was imported.",
                remedy="Export it once more; the download may have been cut short.",
            ) from error

    def _refused(self, what: str) -> DataError:
        return DataError(what, kept="Nothing was imported.", remedy="Name the archive that the tool exported.")


def _is_zip(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return path.suffix.lower() in _ARCHIVES or stream.read(4) == b"PK\x03\x04"


def _regular_files(folder: Path) -> Iterator[Path]:
    """Links are not followed: a folder that came from elsewhere must not reach other files of this machine."""
    for path in folder.rglob("*"):
        if not path.is_symlink() and path.is_file():
            yield path
