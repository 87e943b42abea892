"""Settings for people's own images, from their sizes and numbers."""

from __future__ import annotations

import pytest

from s4al.cli.suggestions import SUGGESTED, input_size, suggest
from s4al.config import resolve

SIZES = [(20, 30), (31, 500), (40, 50), (360, 480), (375, 500), (500, 375), (512, 512), (1080, 1920), (3000, 4000)]


@pytest.mark.parametrize("longest", [384, 1024])
@pytest.mark.parametrize("size", SIZES)
def test_the_input_is_no_larger_than_the_images_and_a_multiple_of_32(size, longest):
    height, width = input_size([size], longest=longest)
    assert 16 <= height <= size[0] and 16 <= width <= size[1] and max(height, width) <= longest
    if min(size) >= 40:
        assert height % 32 == width % 32 == 0


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((360, 480), 384, (288, 384)),
        ((360, 480), 1024, (352, 480)),
        ((480, 640), 1024, (480, 640)),
        ((1080, 1920), 1024, (576, 1024)),
        ((500, 375), 384, (384, 288)),
        ((512, 512), 384, (384, 384)),
        ((40, 50), 384, (32, 32)),
        ((20, 30), 384, (20, 30)),
    ],
)
def test_input_sizes_by_hand(size, longest, expected):
    assert input_size([size], longest=longest) == expected


def test_the_median_image_decides():
    assert input_size([(64, 64), (480, 640), (480, 640), (480, 640), (4000, 3000)], longest=1024) == (480, 640)


def test_with_all_masks_the_rest_answers_for_people():
    suggested = suggest([(360, 480)], 367, 367, gpu=False)
    settings = suggested.settings
    assert (settings["data.height"], settings["data.width"]) == (288, 384)
    assert settings["acquisition.region_height"] == 24  # a twelfth of the height
    assert settings["data.oracle"] == "masks" and settings["data.labelled_fraction"] == 0.1
    # 37 images, each seen 100 times in batches of 4: 925 steps, in whole epochs
    assert settings["trainer.epochs"] * settings["trainer.iterations_per_epoch"] == 920
    assert settings["trainer.last_epochs"] * settings["trainer.joint_iterations_per_epoch"] == 2760
    assert any("37 of 367 training images at the start" in line for line in suggested.lines)


def test_with_some_masks_people_are_asked():
    suggested = suggest([(360, 480)], 300, 20, gpu=False)
    assert suggested.settings["data.oracle"] == "people" and suggested.settings["data.labelled_fraction"] == 1.0
    assert any("20 of 300 training images have a mask; people" in line for line in suggested.lines)


def test_a_handful_is_labelled_whole_and_trained_once():
    suggested = suggest([(360, 480)], 5, 5, gpu=False)
    assert suggested.settings["run.cycles"] == 1 and suggested.settings["data.labelled_fraction"] == 1.0
    assert suggested.settings["trainer.epochs"] * suggested.settings["trainer.iterations_per_epoch"] == 400


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("train", "labelled"), [(1, 1), (3, 1), (50, 50), (100_000, 100_000)])
def test_all_suggestions_make_a_configuration(size, train, labelled, gpu):
    suggested = suggest([size], train, labelled, gpu=gpu)
    assert set(suggested.settings) <= set(SUGGESTED)
    config = resolve("images", None, ["data.root=x"], suggested.settings)
    assert config.model.weights == "imagenet" and not config.run.full_supervision
