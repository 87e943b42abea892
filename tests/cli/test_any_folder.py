"""From a folder of images to predictions, with no more than a person types; and settings that may still change."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al.cli.app import run
from s4al.run.state import Run

# What makes the preset `images` small enough for a test; nothing about the data.
SMALL = (
    "model.backbone=mobilenet_v2",
    "model.weights=none",
    "model.representation_dim=8",
    "trainer.epochs=2",
    "trainer.last_epochs=2",
    "trainer.iterations_per_epoch=2",
    "trainer.joint_iterations_per_epoch=2",
    "trainer.batch_labelled_only=2",
    "trainer.batch_labelled=2",
    "trainer.warmup_steps=1",
    "trainer.precision=32-true",
    "reco.num_queries=8",
    "reco.num_negatives=8",
    "export.probe_images=2",
    "scorer.threads=1",
)


def picture(seed: int, height: int = 64, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """An image with a box on it, and where the box is."""
    generator = np.random.default_rng(seed)
    image, mask = generator.integers(60, 110, (height, width, 3), np.uint8), np.zeros((height, width), bool)
    y, x = generator.integers(4, height - 28), generator.integers(4, width - 36)
    mask[y : y + 24, x : x + 32] = True
    image[mask] = (200, 60, 60)
    return image, mask


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def black_and_white(root: Path) -> tuple[str, ...]:
    """Photographs and masks of 0 and 255 in two folders, told apart by a suffix; no splits, no class file."""
    for i in range(16):
        image, mask = picture(i)
        save(root / "imgs" / f"room {i:02d}.jpg", image)
        save(root / "annotations" / f"room {i:02d}_mask.png", np.where(mask, 255, 0).astype(np.uint8))
    (root / "notes.json").write_text("{}")
    return ("data.classes=wall,furniture",)


def coloured(root: Path) -> tuple[str, ...]:
    """Splits, masks in colours that a file of the annotation tool names."""
    for split, count in (("train", 10), ("valid", 4)):
        for i in range(count):
            image, mask = picture(100 + i, 48, 64)
            colours = np.where(mask[..., None], np.array([250, 50, 83], np.uint8), np.array([0, 0, 0], np.uint8))
            save(root / split / "images" / f"{i:02d}.bmp", image)
            save(root / split / "labels" / f"{i:02d}.png", colours)
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nbox:250,50,83::\n")
    return ()


@pytest.mark.parametrize("layout", [black_and_white, coloured])
def test_check_train_predict(layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "mine"
    given = layout(data)
    assert run(["check", str(data), "--json", *given, *SMALL]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layout"] == "folder" and not found["bad"]
    assert found["settings"]["data.height"] % 32 == 0 and found["estimate_minutes"] > 0
    assert found["command"].startswith("s4al train runs/mine --data ")

    root = tmp_path / "run"
    assert run(["train", str(root), "--data", str(data), "--json", *given, *SMALL]) == 0
    out, said = capsys.readouterr()
    result = json.loads(out)
    assert len(result["cycles"]) == 2 and result["full_supervision_miou"] is None
    for line in ("Settings: the preset images", "Layout: ", "Network input: ", "Start: ", "Splits: "):
        assert line in said
    config = Run.open(root).config
    assert config.data.adapter == "folder" and config.data.images and config.data.masks and config.data.classes
    assert (config.data.height, config.data.width) == (
        found["settings"]["data.height"],
        found["settings"]["data.width"],
    )
    assert set(result["cycles"][0]["per_class_iou"]) == set(config.data.classes)
    assert run(["train", str(root), "--data", str(data), "--json", *given, *SMALL]) == 0  # the same command again
    assert "is finished" in capsys.readouterr().err

    new = tmp_path / "new"
    save(new / "a.png", picture(500, 50, 70)[0])
    assert run(["predict", str(root), "--images", str(new), "--out", str(tmp_path / "out"), "--json"]) == 0
    with Image.open(tmp_path / "out" / "masks" / "a.png") as mask:
        assert mask.size == (70, 50) and set(np.unique(np.asarray(mask))) <= {0, 1}
    capsys.readouterr()


def test_what_masks_of_0_and_255_mean_is_said_and_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    black_and_white(tmp_path / "mine")
    assert run(["check", str(tmp_path / "mine"), "--json"]) == 2
    problem = json.loads(capsys.readouterr().out)["error"]
    assert "0 and 255" in problem["what"] and "data.classes=" in problem["remedy"]
    assert run(["check", str(tmp_path / "mine"), "--json", "data.classes=wall,furniture"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["data.mask_values"] == {"0": "wall", "255": "furniture"}
    assert [(row["value"], row["class"]) for row in found["values"]] == [("0", "wall"), ("255", "furniture")]
    assert sum(row["share"] for row in found["values"]) == pytest.approx(1.0)
    assert sum(split["images"] for split in found["splits"]) == 16 and found["skipped"] == {".json": 1}


def test_check_reads_every_file_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "mine"
    coloured(data)
    broken = data / "train" / "images" / "03.bmp"
    broken.write_bytes(broken.read_bytes()[:400])
    save(data / "valid" / "images" / "02.bmp", picture(7, 40, 64)[0])  # its mask is 64 x 48
    assert run(["check", str(data), "--all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [bad["file"] for bad in found["bad"]] == ["train/images/03.bmp", "valid/images/02.bmp"] and found["read_all"]
    assert "it is 64 x 40, its mask is 64 x 48" in found["bad"][1]["reason"]
    assert run(["check", str(data), "--all"]) == 0
    assert capsys.readouterr().out.count("train/images/03.bmp") == 1  # its reason names it


def test_check_looks_where_links_lead_as_train_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "mine"
    coloured(data)
    for name in ("train/images/03.bmp", "train/labels/05.png"):
        (data / name).rename(tmp_path / Path(name).name)
        (data / name).symlink_to(tmp_path / Path(name).name)
    assert run(["check", str(data), "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)["bad"]
    assert run(["check", str(data), "--json", "data.links=inside"]) == 0
    bad = {each["file"]: each["reason"] for each in json.loads(capsys.readouterr().out)["bad"]}
    assert bad.keys() == {"train/images/03.bmp", "train/labels/05.png"}
    assert all("a link that leaves the data folder" in reason for reason in bad.values())
    assert run(["train", str(tmp_path / "run"), "--data", str(data), *SMALL, "data.links=inside"]) == 4
    assert "a link that leaves the data folder" in capsys.readouterr().err


def test_a_folder_of_images_alone_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        save(tmp_path / "mine" / f"{i}.jpg", picture(i)[0])
    assert run(["train", str(tmp_path / "run"), "--data", str(tmp_path / "mine")]) in (2, 4)
    said = capsys.readouterr().err
    assert "mask" in said and "data." in said
    assert not (tmp_path / "run").exists()


def test_the_demo_is_for_no_data_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coloured(tmp_path / "mine")
    assert run(["train", str(tmp_path / "run"), "--preset", "demo", "--data", str(tmp_path / "mine")]) == 2
    assert "need no data folder" in capsys.readouterr().err


def test_while_nothing_is_committed_new_settings_replace_the_old(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, root = tmp_path / "mine", tmp_path / "run"
    coloured(data)
    bad = data / "valid" / "labels" / "01.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:60])
    first = ["train", str(root), "--data", str(data), *SMALL]
    assert run(first) == 4
    assert "valid/labels/01.png" in capsys.readouterr().err and (root / "faults.csv").is_file()
    bad.write_bytes(whole)
    assert run([*first, "acquisition.regions_per_image=1", "--json"]) == 0
    out, said = capsys.readouterr()
    assert "nothing was committed, so they are replaced" in said
    assert Run.open(root).config.acquisition.regions_per_image == 1
    assert not (root / "faults.csv").exists()
    assert json.loads(out)["cycles"][1]["regions"] > 0
    assert run([*first, "acquisition.regions_per_image=2"]) == 2  # now there are results
    assert "was begun with other settings" in capsys.readouterr().err


def test_a_class_that_is_not_labelled_at_the_start_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "mine"
    coloured(data)
    (data / "labelmap.txt").write_text("background:0,0,0::\nbox:250,50,83::\nlamp:1,2,3::\n")
    assert run(["train", str(tmp_path / "run"), "--data", str(data), *SMALL, "run.cycles=1"]) == 0
    out, said = capsys.readouterr()
    assert "No labelled pixel at the start of: lamp." in said
    assert "No pixel in the test images, so no IoU, of: lamp." in said
    assert "lamp" in out
