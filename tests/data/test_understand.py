"""What a folder says of itself, from its names to the settings of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from s4al.config import resolve
from s4al.data import open_dataset
from s4al.data.layouts import tree
from s4al.data.understand import understand
from s4al.errors import DataError

Save = Callable[[Path, np.ndarray], Path]
PIXELS = np.zeros((16, 16, 3), np.uint8)


def pairs(root: Path, save_png: Save, *names: str) -> Path:
    mask_HW = np.zeros((16, 16), np.uint8)
    mask_HW[8:] = 1
    for name in names:
        save_png(root / "images" / f"{name}.png", PIXELS)
        save_png(root / "masks" / f"{name}.png", mask_HW)
    (root / "classes.txt").write_text("road\ncar\n")
    return root


def test_every_folder_is_listed_once(tmp_path: Path, save_png: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    root = pairs(tmp_path / "data", save_png, "a", "b", "c")
    listed: Counter[Path] = Counter()
    scan = tree._scan

    def counted(folder: Path) -> list[object]:
        listed[folder] += 1
        return scan(folder)  # type: ignore[return-value]

    monkeypatch.setattr(tree, "_scan", counted)
    found = understand(resolve(overrides=[f'data.root="{root}"', "data.adapter=auto"]), {"data.root"})
    assert found.settings["data.masks"] == "masks/*" and len(found.dataset.records) == 3
    assert listed == {root: 1, root / "images": 1, root / "masks": 1}


def test_the_stored_settings_say_the_same(tmp_path: Path, save_png: Save) -> None:
    """With lists of pairs, written on another machine."""
    root = pairs(tmp_path / "data", save_png, "a", "b", "c")
    for split, names in (("train", "ab"), ("test", "c")):
        lines = (f"/mnt/x/images/{name}.png /mnt/x/masks/{name}.png" for name in names)
        (root / f"{split}.txt").write_text("\n".join(lines))
    config = resolve(overrides=[f'data.root="{root}"', "data.adapter=auto"])
    found = understand(config, {"data.root"})
    stored = config.data.model_copy(update={key.removeprefix("data."): v for key, v in found.settings.items()})
    again = open_dataset(config.model_copy(update={"data": stored}), tmp_path / "rendered")
    assert again.records == found.dataset.records
    assert [(record.split, record.id) for record in again.records] == [("train", "a"), ("train", "b"), ("test", "c")]


def test_masks_that_are_missing_for_their_format_are_named_so(tmp_path: Path, save_png: Save) -> None:
    """Where the settings say all, as in a run of a file's settings."""
    root = pairs(tmp_path / "data", save_png, "a", "b", "c")
    (root / "masks/b.png").rename(root / "masks/b.gif")
    given = [f'data.root="{root}"', "data.adapter=folder", "data.images=images/*", "data.masks=masks/*"]
    config = resolve(overrides=[*given, "data.test_split=drawn"])
    with pytest.raises(DataError, match=r"1 image \(b\) .* without a mask in .*; of formats that are not read: masks/"):
        open_dataset(config, tmp_path / "rendered")
    for name in ("a", "c"):
        (root / f"masks/{name}.png").unlink()
    with pytest.raises(DataError, match=r"no masks were found; of formats that are not read: masks/ \(1 .gif\)"):
        open_dataset(config, tmp_path / "rendered")
