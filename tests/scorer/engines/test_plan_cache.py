"""The plan cache gives back what was put in, and nothing that anybody else could have put there."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from s4al.errors import EngineError
from s4al.scorer.engines import plan_cache
from s4al.scorer.engines.plan_cache import Facts, PlanCache, cache_folder, problem_of_cache
from tests.notes import Notes

FACTS = Facts("plan", "tensorrt", "11.4", "H100", "9.0", 13010, "c0ffee", "fp16", 8)
TIMING = Facts("timing", "tensorrt", "11.4", "H100", "9.0", 13010)


@pytest.fixture
def watch() -> Notes:
    return Notes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_stored_is_found_and_private(root: Path, watch: Notes) -> None:
    previous = os.umask(0)
    try:
        cache = PlanCache(watch, root)
        assert cache.find(FACTS) is None
        entry = cache.store(FACTS, b"plan")
        cache.store(TIMING, b"times")
    finally:
        os.umask(previous)
    found = PlanCache(watch, root).find(FACTS)
    assert found is not None
    assert (found.data, found.checked, found.path) == (b"plan", {}, entry.path)
    assert entry.path.name == f"{FACTS.key}.bin"
    assert mode(root) == mode(root / "plans") == 0o700
    assert {mode(path) for path in (root / "plans").iterdir()} == {0o600}
    assert watch.lines == []


def test_findings_are_kept_until_the_plan_is_replaced(root: Path, watch: Notes) -> None:
    cache = PlanCache(watch, root)
    cache.store(FACTS, b"plan")
    cache.record(FACTS, "weights 1", {"images": 2})
    cache.record(FACTS, "weights 2", {"images": 3})
    found = cache.find(FACTS)
    assert found is not None and found.checked == {"weights 1": {"images": 2}, "weights 2": {"images": 3}}
    assert cache.store(FACTS, b"plan").checked == {}
    cache.remove(FACTS)
    assert cache.find(FACTS) is None


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Facts)])
def test_a_plan_made_for_anything_else_is_not_found(field: str, root: Path, watch: Notes) -> None:
    cache = PlanCache(watch, root)
    cache.store(FACTS, b"plan")
    value = getattr(FACTS, field)
    other = dataclasses.replace(FACTS, **{field: value + 1 if isinstance(value, int) else f"{value}x"})
    assert cache.find(other) is None
    assert cache.find(FACTS) is not None


def test_a_new_driver_is_named(root: Path, watch: Notes) -> None:
    cache = PlanCache(watch, root)
    cache.store(FACTS, b"plan")
    assert cache.find(dataclasses.replace(FACTS, driver=13020)) is None
    assert watch.lines == ["A plan in the cache is not used: it was made for driver 13010, here it is 13020."]


def flip(cache: PlanCache, path: Path) -> None:
    path.write_bytes(b"p1an")


def truncate(cache: PlanCache, path: Path) -> None:
    path.write_bytes(b"")


def swap(cache: PlanCache, path: Path) -> None:
    """Another GPU's plan, with its description, under this one's name."""
    other = dataclasses.replace(FACTS, gpu="A100")
    stored = cache.store(other, b"plan of an A100").path
    stored.rename(path)
    stored.with_suffix(".json").rename(path.with_suffix(".json"))


def link(cache: PlanCache, path: Path) -> None:
    path.rename(cache.folder / "elsewhere")
    path.symlink_to("elsewhere")


def open_to_others(cache: PlanCache, path: Path) -> None:
    path.chmod(0o620)


def lose_description(cache: PlanCache, path: Path) -> None:
    path.with_suffix(".json").unlink()


def lose_plan(cache: PlanCache, path: Path) -> None:
    path.unlink()


def garble_description(cache: PlanCache, path: Path) -> None:
    path.with_suffix(".json").write_bytes(b"\xff[")


def replace_by_fifo(cache: PlanCache, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip, "its content has changed"),
        (truncate, "its content has changed"),
        (swap, "made for gpu 'A100', here it is 'H100'"),
        (link, "symbolic links"),
        (open_to_others, "others can write to it"),
        (lose_description, "half of it is missing"),
        (lose_plan, "half of it is missing"),
        (garble_description, "decode"),
        (replace_by_fifo, "no plain file"),
    ],
)
def test_what_cannot_be_trusted_is_removed_with_a_note(
    damage: Callable[[PlanCache, Path], None], reason: str, root: Path, watch: Notes
) -> None:
    cache = PlanCache(watch, root)
    damage(cache, cache.store(FACTS, b"plan").path)
    assert cache.find(FACTS) is None
    assert len(watch.lines) == 1
    assert watch.lines[0].startswith("A plan in the cache is not used but made again: ")
    assert reason in watch.lines[0]
    assert not [path for path in cache.folder.iterdir() if path.stem == FACTS.key]
    cache.store(FACTS, b"plan")
    assert cache.find(FACTS) is not None


@pytest.mark.parametrize("which", ["", "plans"])
def test_a_folder_that_others_can_write_to_is_refused(which: str, root: Path, watch: Notes) -> None:
    PlanCache(watch, root).store(FACTS, b"plan")
    (root / which).chmod(0o770)
    with pytest.raises(EngineError, match="others can write to it") as caught:
        PlanCache(watch, root)
    assert caught.value.exit_code == 6
    assert problem_of_cache(root)


def test_a_folder_of_somebody_else_is_refused(root: Path, watch: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    PlanCache(watch, root)
    owner = os.geteuid()
    monkeypatch.setattr(plan_cache.os, "geteuid", lambda: owner + 1)
    with pytest.raises(EngineError, match=f"it belongs to the user {owner}, not to {owner + 1}"):
        PlanCache(watch, root)


def test_a_linked_folder_is_refused(root: Path, watch: Notes, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    root.mkdir(mode=0o700)
    (root / "plans").symlink_to(tmp_path / "real")
    with pytest.raises(EngineError, match="it is no folder"):
        PlanCache(watch, root)


def test_the_oldest_go_when_there_are_too_many(root: Path, watch: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_cache, "_NEWEST", 3)
    cache = PlanCache(watch, root)
    facts = [dataclasses.replace(FACTS, model=f"{number}") for number in range(5)]
    for number, each in enumerate(facts):
        os.utime(cache.store(each, b"plan").path.with_suffix(".json"), (number, number))
        if number == 1:
            cache.find(facts[0])  # used again, so newer than the next one
    cache.store(TIMING, b"times")
    kept = [each.model for each in facts if (cache.folder / f"{each.key}.bin").exists()]
    assert kept == ["0", "4"]
    assert len(list(cache.folder.glob("*.json"))) == len(list(cache.folder.glob("*.bin"))) == 3


def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S4AL_CACHE_DIR", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("S4AL_CACHE_DIR")
    assert cache_folder() == tmp_path / "b" / "s4al"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "s4al"


def test_the_description_is_readable(root: Path, watch: Notes) -> None:
    path = PlanCache(watch, root).store(FACTS, b"plan").path.with_suffix(".json")
    assert json.loads(path.read_bytes())["facts"] == dataclasses.asdict(FACTS)
