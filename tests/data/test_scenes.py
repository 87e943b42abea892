from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from s4al.config import ScenesConfig
from s4al.data.images import read_image
from s4al.data.scenes import scenes
from s4al.data.scenes.canvas import Canvas, Dice, Street
from s4al.data.scenes.scenes import CLASSES, VOID, render, render_folder
from s4al.errors import DataError

SMALL = ScenesConfig(train=3, val=1, test=2, height=48, width=64)


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray]:
    """80 scenes: images (80, 96, 128, 3) and labels (80, 96, 128)."""
    rendered = [render(0, "train", i, 96, 128) for i in range(80)]
    return np.stack([image for image, _ in rendered]), np.stack([label for _, label in rendered])


def test_scenes_are_the_same_for_ever() -> None:
    """Pinned pixels: results on the embedded data stay comparable. New pictures need a new `_VERSION`."""
    digest = hashlib.sha256()
    for split in ("train", "val", "test"):
        for index in range(3):
            for array in render(0, split, index, 96, 128):
                digest.update(array.tobytes())
    assert digest.hexdigest() == "07305e88d4c19fc4a149edff6816981fc3ad7f94d32a2f3729a6c1ddaa12a135"


def test_every_key_gives_another_scene() -> None:
    keys = [(0, "train", 0), (0, "train", 1), (0, "test", 0), (0, "val", 0), (1, "train", 0)]
    assert len({render(*key, 48, 64)[0].tobytes() for key in keys}) == len(keys)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (97, 131), (180, 240), (64, 40)])
def test_sizes_and_types(height: int, width: int) -> None:
    image, label = render(3, "val", 2, height, width)
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
    assert label.shape == (height, width) and label.dtype == np.uint8


def test_labels_are_classes_or_void(sample: tuple[np.ndarray, np.ndarray]) -> None:
    assert set(np.unique(sample[1]).tolist()) == {*range(len(CLASSES)), VOID}
    assert len(CLASSES) >= 8


def test_class_shares_are_those_of_a_street(sample: tuple[np.ndarray, np.ndarray]) -> None:
    share = {name: float((sample[1] == i).mean()) for i, name in enumerate(CLASSES)}
    present = {name: float((sample[1] == i).any((1, 2)).mean()) for i, name in enumerate(CLASSES)}
    assert share["road"] > 0.25 and share["building"] > 0.15 and share["sky"] > 0.08
    assert all(
        0.005 < share[name] < 0.05 for name in ("fence", "person", "bicycle", "pole", "sign")
    )  # small, but there
    assert all(present[name] > 0.2 for name in CLASSES)
    assert 0.01 < (sample[1] == VOID).mean() < 0.08


def test_colour_alone_does_not_solve_it(sample: tuple[np.ndarray, np.ndarray]) -> None:
    """The best lookup table from 16 x 16 x 16 colours to classes, made on half the scenes, fails on the other half."""
    images, labels = sample
    code = (images // 16).astype(np.int64) @ np.array([256, 16, 1])
    count = np.zeros((4096, len(CLASSES)), np.int64)
    learn = labels[:40] != VOID
    np.add.at(count, (code[:40][learn], labels[:40][learn]), 1)
    known = labels[40:] != VOID
    guess, truth = count.argmax(1)[code[40:]][known], labels[40:][known]
    union = [np.sum((guess == i) | (truth == i)) for i in range(len(CLASSES))]
    iou = [np.sum((guess == i) & (truth == i)) / u for i, u in enumerate(union)]
    assert np.mean(iou) < 0.3


def test_one_class_differs_in_brightness_from_scene_to_scene(sample: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = sample
    road = list(CLASSES).index("road")
    mean = [image[label == road].mean() for image, label in zip(images, labels, strict=True)]
    assert np.std(mean) > 15  # grey levels


def test_nearer_things_hide_farther_ones() -> None:
    canvas = Canvas(10, 10)
    canvas.box(2, 2, 8, 8, (1.0, 0.0, 0.0), 3, 20.0)
    canvas.box(4, 4, 6, 6, (0.0, 1.0, 0.0), 7, 5.0)
    assert canvas.label_HW[5, 5] == 7 and canvas.depth_HW[5, 5] == 5
    assert canvas.label_HW[3, 3] == 3 and np.count_nonzero(canvas.label_HW == 3) == 36 - 4


def test_a_box_thinner_than_a_pixel_still_shows() -> None:
    canvas = Canvas(10, 10)
    canvas.box(4.1, 0, 4.2, 10, (1.0, 1.0, 1.0), 9, 30.0)
    assert np.count_nonzero(canvas.label_HW == 9) == 10


def test_perspective() -> None:
    street = Street.roll(Dice(0), 96, 128)
    assert street.y(0, 5) > street.y(0, 50) > street.horizon > street.y(10, 50)
    near, far = (street.x(street.road_right, d) - street.x(street.road_left, d) for d in (10, 20))
    assert near == pytest.approx(2 * far)


def test_folder_goes_through_the_one_decoder(tmp_path: Path) -> None:
    render_folder(tmp_path / "scenes", SMALL)
    files = sorted(path.relative_to(tmp_path / "scenes").as_posix() for path in (tmp_path / "scenes").rglob("*.png"))
    assert len(files) == 12 and files[0] == "test/images/scene-0000.png"
    image, _ = render(SMALL.seed, "train", 2, 48, 64)
    np.testing.assert_array_equal(read_image(tmp_path / "scenes/train/images/scene-0002.png", max_megapixels=1), image)


def test_folder_is_rendered_once_and_only_for_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scenes"
    render_folder(folder, SMALL)
    monkeypatch.setattr(scenes, "render", lambda *_: pytest.fail("rendered again"))
    render_folder(folder, SMALL)
    with pytest.raises(DataError, match="other settings"):
        render_folder(folder, SMALL.model_copy(update={"seed": 1}))


def test_an_interrupted_rendering_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scenes, "render", fail)
    with pytest.raises(KeyboardInterrupt):
        render_folder(tmp_path / "scenes", SMALL)
    assert list(tmp_path.iterdir()) == []
