"""Durable files: atomic writes, folders committed by one rename, manifests with sha256, the run lock.

The idiom everywhere: write under a `.tmp-` name in the same folder, fsync the file, fsync the folder, rename, fsync the
parent. A crash leaves the old state or the new one, and perhaps a `.tmp-` leftover that the next command removes.
Every write that matters goes through `_fsync` and `_rename`, which is where the fault tests cut the power.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from s4al.errors import DataError, RunStateError, StorageError
from s4al.sealed import Damaged, open_json, seal_json
from s4al.sealed import json_bytes as json_bytes

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"
_MANY, _SYNCS_AT_ONCE = 50, 16  # files

_STORAGE_REASONS = {
    errno.ENOSPC: "No space left on the device",
    errno.EDQUOT: "The disk quota is used up",
    errno.EFBIG: "The file would be larger than the system allows",
    errno.EIO: "The disk reported an error (EIO)",
    errno.EROFS: "The file system is read-only",
    errno.EACCES: "Permission denied",
    errno.EPERM: "Operation not permitted",
    errno.ENAMETOOLONG: "A file name is longer than the file system allows",
    errno.ENOTDIR: "A part of the path is a file, not a folder",
}


@contextlib.contextmanager
def storage_errors(doing: str, *, kept: str = "Everything committed before is safe.") -> Iterator[None]:
    """Turn the operating system's write errors into a StorageError that says what was being written.

    A failed fsync is never retried: the kernel may have dropped the dirty pages (reliability of fsync, ATC'20).
    """
    try:
        yield
    except OSError as error:
        reason = _STORAGE_REASONS.get(error.errno or 0)
        if reason is None:
            raise
        remedy = (
            "Free space, then run the same command."
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "Then run the same command."
        )
        raise StorageError(f"{reason} while {doing}.", kept=kept, remedy=remedy) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file so that a reader sees the old content or all of the new. Raises OSError."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    try:
        _write(temporary, data)
        _rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of `json_bytes`."""
    write_atomic(path, json_bytes(value))


def write_new(path: Path, data: bytes) -> None:
    """Write a file that nothing refers to yet, so that a torn one does no harm, with its folders. Raises OSError."""
    missing = [path.parent, *path.parents]
    missing = missing[: next(i for i, folder in enumerate(missing) if folder.is_dir())]
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, data)
    for folder in (path.parent, *(folder.parent for folder in missing)):
        _sync_folder(folder)


def sync(written: Sequence[Path], folders: Iterable[Path]) -> None:
    """Make files that were just written durable, then folders. Raises OSError.

    Where they are many, many at once: the system makes one flush of all that wait for one.
    """
    for sync_one, paths in ((_sync_file, written), (_sync_folder, folders)):
        if len(written) < _MANY:
            for path in paths:
                sync_one(path)
        else:
            with ThreadPoolExecutor(_SYNCS_AT_ONCE) as pool:
                list(pool.map(sync_one, paths))


def append(path: Path, end: int, data: bytes) -> None:
    """Make `data` the rest of the file after byte `end`: what a crash left there is cut off. Raises OSError."""
    with path.open("r+b" if path.exists() else "wb") as stream:
        stream.truncate(end)
        stream.seek(end)
        stream.write(data)
        stream.flush()
        _fsync(stream.fileno())
    if not end:  # whoever began the file may have died before this
        _sync_folder(path.parent)


def finite(value: Any) -> Any:
    """The value with NaN and infinities as None: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def commit_folder(target: Path, about: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Yield an empty temporary folder; commit it as `target` when the block ends well, remove it otherwise.

    Parameters
    ----------
    target : must not exist.
    about : JSON values for the manifest (inputs, configuration hash, engine, seed).
    """
    temporary = target.with_name(f"{TEMPORARY}{target.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        seal_folder(temporary, target, about)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def seal_folder(folder: Path, target: Path, about: Mapping[str, Any] | None = None) -> None:
    """Write the manifest of `folder`, make everything in it durable, rename it to `target`.

    A folder can be sealed in place (`folder == target`): then the manifest, written last, is the commit mark.
    """
    assert folder == target or not target.exists(), f"{target} is committed; committed folders are never overwritten"
    entries: dict[str, dict[str, Any]] = {}
    written = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MANIFEST]
    for path in written:
        entries[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    sync(written, sorted((item for item in folder.rglob("*") if item.is_dir()), reverse=True))
    write_atomic(folder / MANIFEST, seal_json({"files": entries, **(about or {})}))
    if folder != target:
        _rename(folder, target)
    _sync_folder(target.parent)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a committed folder. Raises RunStateError where it is missing or unreadable."""
    try:
        manifest = open_json((folder / MANIFEST).read_bytes())
        if not isinstance(manifest.get("files"), dict):
            raise Damaged("it lists no files")
        return manifest
    except FileNotFoundError as error:
        raise RunStateError(
            f"{folder} has no manifest.", remedy="Delete the folder and run the same command."
        ) from error
    except Damaged as error:
        raise RunStateError(
            f"The manifest of {folder} is damaged: {error}.", remedy="Delete the folder and run the same command."
        ) from error


def manifest_digest(folder: Path) -> str:
    """sha256 of a committed folder's manifest: the identity that later stages record as their input."""
    return sha256_file(folder / MANIFEST)


def verify_folder(folder: Path) -> dict[str, Any]:
    """Check every file of a committed folder against its manifest and return the manifest.

    Raises RunStateError that names the first file which is missing, extra or different.
    """
    manifest = read_manifest(folder)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    problem = next((f"{name} should not be there" for name in sorted(present - manifest["files"].keys())), "")
    for name in manifest["files"]:
        problem = problem or _damage(folder, name, manifest)
    if problem:
        raise _damaged(folder, problem)
    return manifest


def is_whole(folder: Path) -> bool:
    """Whether a committed folder has a manifest and all of its files in their sizes; what is in them is not read."""
    try:
        entries = read_manifest(folder)["files"]
        return all((folder / name).stat().st_size == entry["bytes"] for name, entry in entries.items())
    except (RunStateError, FileNotFoundError):
        return False


def verify_file(folder: Path, name: str, manifest: Mapping[str, Any]) -> Path:
    """One file of a committed folder, checked against the folder's manifest. Raises RunStateError."""
    problem = _damage(folder, name, manifest)
    if problem:
        raise _damaged(folder, problem)
    return folder / name


def _damage(folder: Path, name: str, manifest: Mapping[str, Any]) -> str:
    """What is wrong with a file; empty where nothing is."""
    path, entry = folder / name, manifest["files"].get(name)
    if entry is None or not path.is_file():
        return f"{name} is missing"
    same = path.stat().st_size == entry["bytes"] and sha256_file(path) == entry["sha256"]
    return "" if same else f"{name} does not match its manifest"


def _damaged(folder: Path, problem: str) -> RunStateError:
    return RunStateError(
        f"{folder} is damaged: {problem}.",
        kept="The earlier stages are sound.",
        remedy=f"Delete {folder} and run the same command; the stage is made again.",
    )


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file with page checksums; durable only once its folder is sealed. Same table, same bytes."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file and check its page checksums. Raises RunStateError where it is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, page_checksum_verification=True).read(columns)
    except (OSError, pa.ArrowException) as error:
        raise RunStateError(
            f"{path} cannot be read: {error}.", remedy="Delete its folder and run the same command."
        ) from error


def sha256_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def contained(root: Path, relative: str, *, links_may_leave: bool = False) -> Path:
    """`root / relative`, refused unless it stays inside `root`; its links too, unless they may leave.

    Raises DataError; RuntimeError for circular links.
    """
    pure = PurePosixPath(relative)
    leaves = pure.is_absolute() or ".." in pure.parts
    if leaves or not (links_may_leave or (root / relative).resolve().is_relative_to(root.resolve())):
        raise DataError(f"The path {relative!r} leaves the folder {root}.", remedy="Use paths inside the data folder.")
    return root / relative


def remove_leftovers(root: Path) -> list[str]:
    """Delete what unfinished writes left under `root` (names starting with `.tmp-`). Only under the run lock.

    Returns
    -------
    the removed names, relative to `root`.
    """
    leftovers = sorted(
        path for path in root.rglob(f"{TEMPORARY}*") if TEMPORARY not in str(path.parent.relative_to(root))
    )
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return [path.relative_to(root).as_posix() for path in leftovers]


@contextlib.contextmanager
def run_lock(root: Path, command: str) -> Iterator[None]:
    """Hold the exclusive lock of a run; the kernel releases it when the process dies, however it dies.

    Raises RunStateError naming the holder when another process has it, StorageError on a read-only run.
    """
    path = root / ".lock"
    with storage_errors(f"locking the run {root}"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunStateError(
                f"The run {root} is in use by {_holder(path)}.", remedy="Wait for it, or stop it."
            ) from error
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": time.strftime("%H:%M")}
        with storage_errors(f"locking the run {root}"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold the exclusive lock of a moment's work; others wait. Threads of one process exclude each other, too.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_bytes())
        return f"process {holder['pid']} on host {holder['host']} since {holder['since']} (s4al {holder['command']})"
    except (OSError, ValueError, KeyError):  # the holder has the lock but has not written its name yet
        return "another process"


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        _fsync(stream.fileno())


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        _fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync(descriptor: int) -> None:
    os.fsync(descriptor)


def _rename(source: Path, target: Path) -> None:
    os.replace(source, target)
