"""TensorRT plans on this machine: found by what made them, checked before anybody loads them.

    $S4AL_CACHE_DIR or $XDG_CACHE_HOME/s4al or ~/.cache/s4al          0700
      plans/                                                          0700
        <sha256 of the facts>.bin                                     0600   the plan
        <sha256 of the facts>.json                                    0600   facts, sha256, what was checked with it

A plan is code: whoever can write one runs it. No option takes a path of one, and a folder that others can write to is
refused. A damaged plan, or one made for another GPU, driver or library, is removed and made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from s4al import files
from s4al.errors import EngineError
from s4al.watch import Watch

_NEWEST = 16  # plans that are kept; one of a large network takes a quarter of a gigabyte


@dataclass(frozen=True)
class Facts:
    """What made a cached file; all of it has to be the same for it to be used.

    Attributes
    ----------
    kind : "plan" or "timing" (what a build has measured, to make the next one shorter).
    model : sha256 of the ONNX file; empty for "timing".
    """

    kind: str
    library: str
    version: str
    gpu: str
    compute_capability: str
    driver: int
    model: str = ""
    precision: str = ""
    batch_size: int = 0

    @property
    def key(self) -> str:
        return hashlib.sha256(files.json_bytes(asdict(self))).hexdigest()


@dataclass
class Entry:
    """A cached file whose content has been checked.

    `checked` is what its user knows of it: the parity figures, by the sha256 of the weights' ONNX file.
    """

    path: Path
    data: bytes
    checked: dict[str, dict[str, Any]] = field(default_factory=dict)


def cache_folder() -> Path:
    """Where this machine's cache is; it may not exist."""
    given = os.environ.get("S4AL_CACHE_DIR")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s4al"


def problem_of_cache(root: Path | None = None) -> str:
    """Why the cache is not to be trusted; empty where all is well or nothing is there yet."""
    root = root or cache_folder()
    for folder in (root, root / "plans"):
        if os.path.lexists(folder) and (problem := _problem_of_folder(folder)):
            return f"TensorRT plans are not kept in {folder}: {problem}"
    return ""


class PlanCache:
    """The cache, its folder checked.

    Raises EngineError where the folder belongs to somebody else or others can write to it, StorageError where it
    cannot be made.
    """

    def __init__(self, watch: Watch, root: Path | None = None) -> None:
        self._watch = watch
        root = root or cache_folder()
        self.folder = root / "plans"
        with files.storage_errors(f"making the folder {self.folder}", kept="The run is unchanged."):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
        if problem := problem_of_cache(root):
            raise EngineError(
                f"{problem}.",
                kept="Nothing in it was read.",
                remedy="Make it yours alone (chown, chmod 700), or set S4AL_CACHE_DIR to another folder.",
            )

    def find(self, facts: Facts) -> Entry | None:
        """The entry that these facts made, or None. What cannot be trusted is removed, and a note says why."""
        with self._lock():
            about_path, path = self._paths(facts)
            try:
                about = json.loads(_read_own(about_path))
                data = _read_own(path)
                problem = _problem_of_entry(about, facts, data)
            except FileNotFoundError:
                if not (os.path.lexists(about_path) or os.path.lexists(path)):
                    self._note_foreign(facts)
                    return None
                about, data, problem = {}, b"", "half of it is missing"
            except (OSError, ValueError) as error:
                about, data, problem = {}, b"", str(error)
            if problem:
                self._watch.note(f"A {facts.kind} in the cache is not used but made again: {problem}.")
                self._remove(facts)
                return None
            os.utime(about_path)  # the last one used is the last one to go
            return Entry(path, data, about["checked"])

    def store(self, facts: Facts, data: bytes) -> Entry:
        """Add or replace an entry; nothing is known of it yet. Raises StorageError."""
        about_path, path = self._paths(facts)
        with files.storage_errors(f"writing {path}", kept="The run is unchanged."), self._lock():
            _write_own(path, data)
            about = {"facts": asdict(facts), "sha256": hashlib.sha256(data).hexdigest(), "checked": {}}
            _write_own(about_path, files.json_bytes(about))
            self._prune()
        return Entry(path, data)

    def record(self, facts: Facts, model: str, figures: dict[str, Any]) -> None:
        """Keep what was found out about an entry, to be had again as `Entry.checked[model]`. Raises StorageError."""
        about_path, _ = self._paths(facts)
        with files.storage_errors(f"writing {about_path}", kept="The run is unchanged."), self._lock():
            about = json.loads(_read_own(about_path))
            about["checked"][model] = figures
            _write_own(about_path, files.json_bytes(about))

    def remove(self, facts: Facts) -> None:
        with self._lock():
            self._remove(facts)

    def _remove(self, facts: Facts) -> None:
        for path in self._paths(facts):
            path.unlink(missing_ok=True)

    def _note_foreign(self, facts: Facts) -> None:
        """Say so where the same model has a plan that another GPU, driver or library made: a build takes minutes."""
        same = {key: getattr(facts, key) for key in ("kind", "model", "precision", "batch_size")}
        for path in sorted(self.folder.glob("*.json")) if facts.model else ():
            try:
                about = json.loads(_read_own(path))
                if all(about["facts"].get(key) == value for key, value in same.items()):
                    self._watch.note(f"A plan in the cache is not used: {_problem_of_entry(about, facts, b'')}.")
                    return
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # it will be dealt with when it is asked for

    def _paths(self, facts: Facts) -> tuple[Path, Path]:
        return self.folder / f"{facts.key}.json", self.folder / f"{facts.key}.bin"

    def _prune(self) -> None:
        newest_first = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in newest_first[_NEWEST:]:
            path.with_suffix(".bin").unlink(missing_ok=True)
            path.unlink()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Processes take turns: a plan and what is said about it are two files."""
        with files.storage_errors(f"locking {self.folder}", kept="The run is unchanged."):
            descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _problem_of_folder(folder: Path) -> str:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return "it is no folder"
    return _problem_of_owner(found)


def _problem_of_owner(found: os.stat_result) -> str:
    if found.st_uid != os.geteuid():
        return f"it belongs to the user {found.st_uid}, not to {os.geteuid()}"
    return "others can write to it" if found.st_mode & 0o022 else ""


def _problem_of_entry(about: Any, facts: Facts, data: bytes) -> str:
    made: Mapping[str, Any] = about["facts"] if isinstance(about, dict) and "facts" in about else {}
    for key, wanted in asdict(facts).items():
        if made.get(key) != wanted:
            return f"it was made for {key.replace('_', ' ')} {made.get(key)!r}, here it is {wanted!r}"
    if about.get("sha256") != hashlib.sha256(data).hexdigest():
        return "its content has changed since it was written"
    return "" if isinstance(about.get("checked"), dict) else "its description is damaged"


def _read_own(path: Path) -> bytes:
    """Raises OSError, also for a link and for a file that others could have written."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        problem = "it is no plain file" if not stat.S_ISREG(found.st_mode) else _problem_of_owner(found)
        if problem:
            raise PermissionError(problem)
        return stream.read()


def _write_own(path: Path, data: bytes) -> None:
    files.write_atomic(path, data)
    path.chmod(0o600)
