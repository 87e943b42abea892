"""What goes wrong outside of us: each case has one clear message, its exit code, and loses nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al import files
from s4al.cli.app import run
from s4al.config import resolve
from s4al.errors import ConfigError, DataError, RunStateError, StorageError
from s4al.watch import Watch
from tests.notes import Notes
from tests.tiny import TINY, digests, labelled_run, tiny_cycles

FOLDER = (
    "data.adapter=folder",
    "data.height=20",
    "data.width=30",
    "acquisition.region_height=7",
    "acquisition.region_width=7",
)


def folder_cycles(run: Path, data: Path, *overrides: str, watch: Watch | None = None) -> dict:
    return tiny_cycles(run, *FOLDER, f'data.root="{data}"', *overrides, watch=watch)


def test_one_bad_image_is_set_aside_listed_and_counted(tmp_path, folder_root):
    victim = folder_root / "train" / "images" / "05.png"
    victim.write_bytes(victim.read_bytes()[:200])
    watch = Notes()
    result = folder_cycles(tmp_path / "run", folder_root, "data.labelled_fraction=0.2", watch=watch)
    assert len(result["cycles"]) == 2
    assert any("1 of" in line and "05.png" in line for line in watch.lines)
    score = tmp_path / "run" / "cycles" / "001" / "score"
    aside = files.read_table(score / "quarantine.parquet").to_pylist()
    assert [row["image"] for row in aside] == ["train/05"]
    scored = {row["image"] for shard in score.glob("shard-*.parquet") for row in files.read_table(shard).to_pylist()}
    assert len(scored) == 12 - 1 - 2
    assert result["total_pixels"] == 11 * 600


def test_names_with_spaces_unicode_and_brackets(tmp_path, folder_root):
    for old, new in (("05", "a b"), ("06", "[red]ü"), ("07", "x;y'z")):
        for kind in ("images", "masks"):
            (folder_root / "train" / kind / f"{old}.png").rename(folder_root / "train" / kind / f"{new}.png")
    result = folder_cycles(tmp_path / "run", folder_root)
    assert result["cycles"][1]["regions"] == 9 * 2


def test_one_training_image(tmp_path, folder_root):
    for kind in ("images", "masks"):
        for path in sorted((folder_root / "train" / kind).iterdir())[1:]:
            path.unlink()
    watch = Notes()
    result = folder_cycles(tmp_path / "run", folder_root, watch=watch)
    assert [cycle["labelled_fraction"] for cycle in result["cycles"]] == [1.0, 1.0]  # nothing is left to ask
    assert [cycle["regions"] for cycle in result["cycles"]] == [0, 0]


def test_everything_labelled_at_the_start(tmp_path):
    result = tiny_cycles(tmp_path / "run", "data.labelled_fraction=1.0")
    assert [cycle["labelled_fraction"] for cycle in result["cycles"]] == [1.0, 1.0]


def test_a_budget_larger_than_the_pool_asks_for_all_of_it(tmp_path):
    watch = Notes()
    result = tiny_cycles(
        tmp_path / "run", "acquisition.strategy=global", "acquisition.budget_pixels=100000000", watch=watch
    )
    assert result["cycles"][1]["labelled_fraction"] == 1.0


def test_a_region_larger_than_the_image_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="larger than the network's input"):
        tiny_cycles(tmp_path / "run", "acquisition.region_width=65")
    assert not (tmp_path / "run").exists()


def test_an_empty_pool(tmp_path, folder_root):
    shutil.rmtree(folder_root / "train")
    with pytest.raises(DataError):
        folder_cycles(tmp_path / "run", folder_root)


@pytest.mark.parametrize("broken", ["id", "size", "rgb", "missing"])
def test_a_bad_mask_is_refused_before_anything_is_trained(tmp_path, folder_root, broken):
    mask = folder_root / "train" / "masks" / "03.png"
    if broken == "id":
        pixels = np.zeros((20, 30), np.uint8)
        pixels[4, 7] = 9
        Image.fromarray(pixels).save(mask)
    elif broken == "size":
        Image.fromarray(np.zeros((20, 31), np.uint8)).save(mask)
    elif broken == "rgb":
        Image.fromarray(np.full((20, 30, 3), (0, 9, 0), np.uint8)).save(mask)
    else:
        mask.unlink()
    with pytest.raises(DataError) as caught:
        folder_cycles(tmp_path / "run", folder_root)
    assert caught.value.exit_code == 4
    assert "03" in caught.value.what
    if broken == "id":
        assert "mask train/masks/03.png has 9 at 1 pixel" in caught.value.what
    assert not (tmp_path / "run" / "pool.parquet").exists() and not (tmp_path / "run" / "cycles").exists()
    assert not list((tmp_path / "run").rglob(".tmp-*"))


@pytest.mark.parametrize("change", ["content", "gone"])
def test_a_file_that_changed_since_the_run_began(tmp_path, folder_root, change):
    folder_cycles(tmp_path / "run", folder_root, "run.cycles=1")
    before = digests(tmp_path / "run")
    victim = folder_root / "train" / "images" / "05.png"
    if change == "gone":
        victim.unlink()
    else:
        data = bytearray(victim.read_bytes())
        data[-20] ^= 1
        victim.write_bytes(data)
    with pytest.raises(DataError, match=r"05\.png") as caught:
        folder_cycles(tmp_path / "run", folder_root, "run.cycles=2")
    assert caught.value.exit_code == 4
    assert digests(tmp_path / "run") == before


def test_a_changed_configuration_is_refused_with_the_difference(tmp_path):
    labelled_run(tmp_path / "run")
    before = digests(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"trainer\.lr was 0\.05, now 0\.5") as caught:
        tiny_cycles(tmp_path / "run", "trainer.lr=0.5")
    assert caught.value.exit_code == 2
    assert digests(tmp_path / "run") == before


def test_a_folder_that_is_not_a_run_is_left_alone(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(RunStateError, match="not a run"):
        tiny_cycles(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_disk_full_keeps_what_is_committed_and_the_same_command_goes_on(tmp_path, monkeypatch):
    """The first checkpoint does not fit; what was labelled before stays, and nothing is half-written."""
    import errno

    from s4al.trainer import checkpoint

    straight = tiny_cycles(tmp_path / "a", "run.cycles=1")
    real = checkpoint.save

    def full(tensors):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        tiny_cycles(tmp_path / "b", "run.cycles=1")
    assert caught.value.exit_code == 8
    assert (tmp_path / "b" / "cycles" / "000" / "labels" / "manifest.json").is_file()
    assert not list((tmp_path / "b").rglob("step-*"))
    monkeypatch.setattr(checkpoint, "save", real)
    again = tiny_cycles(tmp_path / "b", "run.cycles=1")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert again["cycles"][0]["miou"] == straight["cycles"][0]["miou"]


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("limit_bytes", [1_000, 50_000, 1_000_000])
def test_a_file_size_limit_is_a_storage_error_with_exit_code_8(tmp_path, limit_bytes):
    code = (
        "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))\n"
        "from s4al.cli import main\nmain(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "train", str(tmp_path / "run"), "--preset", "demo", *TINY, "run.cycles=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 8, done.stderr
    assert "larger than the system allows" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "run").rglob(".tmp-*"))


def test_a_read_only_run_is_a_storage_error(tmp_path, monkeypatch):
    import errno

    labelled_run(tmp_path / "run")
    real = os.open

    def read_only(path, flags, *args, **kwargs):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(StorageError, match="read-only") as caught:
        tiny_cycles(tmp_path / "run")
    assert caught.value.exit_code == 8


def test_two_commands_on_one_run(tmp_path):
    run, _, _ = labelled_run(tmp_path / "run")
    before = digests(run.root)
    with files.run_lock(run.root, "train"), pytest.raises(RunStateError, match=r"in use by process \d+") as caught:
        tiny_cycles(run.root)
    assert caught.value.exit_code == 5
    assert digests(run.root) == before


def test_resolved_configuration_is_what_the_run_says(tmp_path):
    run, _, _ = labelled_run(tmp_path / "run")
    assert resolve(None, run.root / "run.toml") == run.config


@pytest.mark.parametrize("edit", ["seed = 3109", "lr = 0.5", "", "half"])
def test_a_run_is_the_configuration_it_was_begun_with(tmp_path, edit):
    root = tmp_path / "run"
    tiny_cycles(root, "run.cycles=1", "trainer.epochs=1")
    file = root / "run.toml"
    sound = file.read_text()
    key = edit.partition(" ")[0]
    lines = [edit if edit and line.startswith(f"{key} =") else line for line in sound.splitlines()]
    changed = {"half": sound[: len(sound) // 2], "": sound.replace("[trainer]\n", "[trainer]\n\n")}
    file.write_text(changed.get(edit, "\n".join(lines) + "\n"))
    for command in (["train", str(root), "--cycles", "2"], ["status", str(root)], ["score", str(root)]):
        assert run(command) == 5
    file.write_text(sound)
    assert run(["status", str(root)]) == 0


@pytest.mark.parametrize(
    "name", ["cache/train/images.npy", "cache/test/masks.npy", "cache/train", "cache/train/cache.json"]
)
def test_a_damaged_cache_is_made_again_as_the_message_says(tmp_path, capsys, name):
    """The remedy, word for word: delete what it names, run the same command."""
    root = tmp_path / "run"
    tiny_cycles(root, "run.cycles=1")
    straight = tmp_path / "straight"
    tiny_cycles(straight, "run.cycles=2")
    path = root / name
    if path.is_file():
        data = bytearray(path.read_bytes())
        data[-5] ^= 4
        path.write_bytes(data)
        with pytest.raises(RunStateError, match="damaged") as caught:
            tiny_cycles(root, "run.cycles=2")
        folder = re.fullmatch(r"Delete (.+) and run the same command; it is made again\.", caught.value.remedy)
        assert folder is not None
        shutil.rmtree(folder[1])
    else:
        shutil.rmtree(path)
    notes = Notes()
    tiny_cycles(root, "run.cycles=2", watch=notes)
    assert any("is made again from the images" in note for note in notes.lines)
    kept, whole = digests(root), digests(straight)
    del kept["run.toml"], whole["run.toml"]  # the number of cycles is not written into a run that was begun
    assert kept == whole


def test_damaged_pseudo_labels_are_made_again_as_the_message_says(tmp_path):
    root, straight = tmp_path / "run", tmp_path / "straight"
    tiny_cycles(root, "run.cycles=1")
    tiny_cycles(straight, "run.cycles=2")
    path = root / "cycles" / "000" / "pseudo" / "masks.npy"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunStateError, match=r"masks\.npy is damaged: row 0") as caught:
        tiny_cycles(root, "run.cycles=2")
    assert caught.value.remedy == f"Delete {path.parent} and run the same command; it is made again."
    shutil.rmtree(path.parent)
    tiny_cycles(root, "run.cycles=2")
    kept, whole = digests(root), digests(straight)
    del kept["run.toml"], whole["run.toml"]
    assert kept == whole


def test_labels_swapped_with_other_valid_ones_are_noticed(tmp_path):
    root = tmp_path / "run"
    tiny_cycles(root, "run.cycles=1")
    first, second = sorted((root / "cycles" / "000" / "labels" / "masks").rglob("*.png"))[:2]
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    with pytest.raises(RunStateError, match="does not match its manifest"):
        tiny_cycles(root, "run.cycles=2")
