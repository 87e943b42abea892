from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from s4al import files
from s4al.errors import DataError, RunStateError, StorageError


def test_commit_is_all_or_nothing(tmp_path):
    target = tmp_path / "stage"
    with pytest.raises(KeyError), files.commit_folder(target) as folder:
        (folder / "a.txt").write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with files.commit_folder(target, {"seed": 1}) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text("whole")
    manifest = files.verify_folder(target)
    assert manifest["seed"] == 1
    assert manifest["files"]["sub/a.txt"]["bytes"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["stage"]


def test_the_order_of_system_calls(tmp_path, monkeypatch):
    """A file's content must be durable before its name, and its name before the next step."""
    calls: list[str] = []
    real_fsync, real_rename = files._fsync, files._rename

    def fsync(descriptor):
        calls.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        real_fsync(descriptor)

    def rename(source, target):
        calls.append(f"rename {target.name}")
        real_rename(source, target)

    monkeypatch.setattr(files, "_fsync", fsync)
    monkeypatch.setattr(files, "_rename", rename)
    with files.commit_folder(tmp_path / "stage") as folder:
        (folder / "data").write_text("x")
    temporary = folder.name
    manifest = f".tmp-manifest.json-{os.getpid()}"
    assert calls == [
        "fsync data",
        f"fsync {manifest}",
        "rename manifest.json",
        f"fsync {temporary}",
        "rename stage",
        f"fsync {tmp_path.name}",
    ]


@pytest.mark.parametrize("damage", ["flip", "truncate", "missing", "extra", "manifest"])
def test_damage_is_seen_and_named(tmp_path, damage):
    target = tmp_path / "stage"
    with files.commit_folder(target) as folder:
        (folder / "data.bin").write_bytes(bytes(100))
    victim = target / "data.bin"
    if damage == "flip":
        victim.write_bytes(bytes(99) + b"\x01")
    elif damage == "truncate":
        victim.write_bytes(bytes(99))
    elif damage == "missing":
        victim.unlink()
    elif damage == "extra":
        (target / "other.bin").write_bytes(b"")
    else:
        (target / "manifest.json").write_text("{")
    with pytest.raises(RunStateError) as caught:
        files.verify_folder(target)
    expected = {"extra": "other.bin", "manifest": "manifest"}.get(damage, "data.bin")
    assert expected in caught.value.what
    assert caught.value.exit_code == 5


def test_write_atomic_keeps_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_atomic(path, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_fsync", full)
    with pytest.raises(StorageError, match="No space left") as caught, files.storage_errors("writing a.json"):
        files.write_atomic(path, b"new")
    assert caught.value.exit_code == 8
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_storage_errors_lets_other_errors_through():
    with pytest.raises(FileNotFoundError), files.storage_errors("reading"):
        open("/nonexistent/file")  # noqa: PTH123, SIM115


def test_leftovers_are_removed_and_named(tmp_path):
    (tmp_path / "cycles" / ".tmp-train-7" / "deep").mkdir(parents=True)
    (tmp_path / "cycles" / ".tmp-train-7" / "deep" / ".tmp-x").write_text("")
    (tmp_path / ".tmp-run.toml-9").write_text("")
    (tmp_path / "kept").write_text("")
    assert files.remove_leftovers(tmp_path) == [".tmp-run.toml-9", "cycles/.tmp-train-7"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cycles", "kept"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "link/x"])
def test_paths_that_leave_the_root_are_refused(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leaves the folder"):
        files.contained(root, name)
    assert files.contained(root, "a b/[c]/ü.png") == root / "a b/[c]/ü.png"


def test_a_second_lock_is_refused_with_the_holders_name_and_freed_by_a_kill(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom s4al.files import run_lock\n"
        f"with run_lock(Path({str(tmp_path)!r}), 'train'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(RunStateError, match=rf"process {holder.pid} .*s4al train") as caught,
            files.run_lock(tmp_path, "score"),
        ):
            pass
        assert caught.value.exit_code == 5
        holder.kill()
        holder.wait()
    with files.run_lock(tmp_path, "score"):
        pass


def test_tables_round_trip_and_flipped_bits_are_seen(tmp_path):
    path = tmp_path / "t.parquet"
    table = pa.table({"score": list(range(1000))})
    files.write_table(path, table)
    assert files.read_table(path).equals(table)
    first = path.read_bytes()
    files.write_table(path, table)
    assert path.read_bytes() == first
    data = bytearray(first)
    data[60] ^= 0x10  # inside the first page
    path.write_bytes(data)
    with pytest.raises(RunStateError, match=r"t\.parquet"):
        files.read_table(path)


def test_a_new_file_comes_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.png"
    for content in (b"one", b"two"):
        files.write_new(path, content)
        assert path.read_bytes() == content
    assert [item.name for item in path.parent.iterdir()] == ["c.png"]


@pytest.mark.parametrize(("before", "end"), [(None, 0), (b"", 0), (b"one\n", 4), (b"one\ntw", 4), (b"torn", 0)])
def test_what_is_appended_takes_the_place_of_what_a_crash_left(tmp_path: Path, before: bytes | None, end: int) -> None:
    path = tmp_path / "lines"
    if before is not None:
        path.write_bytes(before)
    files.append(path, end, b"two\n")
    assert path.read_bytes() == (before or b"")[:end] + b"two\n"


def test_whoever_comes_second_waits_for_the_lock_threads_too(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with files.waiting_lock(tmp_path / "lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    with files.waiting_lock(tmp_path / "lock"):
        thread.start()
        thread.join(timeout=0.2)
        order.append("first")
    thread.join(timeout=60)
    assert order == ["first", "second"]


@pytest.mark.parametrize("count", [3, 200])
def test_few_or_many_files_are_all_durable_before_the_name_they_get(tmp_path: Path, monkeypatch, count: int) -> None:
    synced: list[str] = []
    real_fsync, real_rename = files._fsync, files._rename

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_fsync(descriptor)

    def rename(source: Path, target: Path) -> None:
        if target.name == "stage":
            assert {f"{number}.txt" for number in range(count)} | {"sub"} <= set(synced)
            assert synced.index("sub") >= count
        real_rename(source, target)

    monkeypatch.setattr(files, "_fsync", fsync)
    monkeypatch.setattr(files, "_rename", rename)
    with files.commit_folder(tmp_path / "stage") as folder:
        (folder / "sub").mkdir()
        for number in range(count):
            (folder / "sub" / f"{number}.txt").write_text(str(number))
    assert len(files.verify_folder(tmp_path / "stage")["files"]) == count


def test_a_full_disk_is_told_where_many_files_are_flushed_at_once(tmp_path: Path, monkeypatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    paths = [tmp_path / str(number) for number in range(100)]
    for path in paths:
        path.write_text("")
    monkeypatch.setattr(files, "_fsync", full)
    with pytest.raises(StorageError, match="No space left"), files.storage_errors("writing"):
        files.sync(paths, ())
