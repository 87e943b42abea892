"""Settings for people's own images, from their sizes and numbers."""

from __future__ import annotations

from typing import Any

import pytest

from s4al.cli.suggestions import SUGGESTED, describe, input_size, suggest
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


def described(settings: dict[str, Any], train: int, labelled: int, *given: str) -> tuple[str, ...]:
    return describe(resolve("images", None, given, settings), train, labelled)


def test_with_all_masks_the_rest_answers_for_people():
    settings = suggest([(360, 480)], 367, 367, gpu=False)
    assert (settings["data.height"], settings["data.width"]) == (288, 384)
    assert settings["acquisition.region_height"] == 24  # a twelfth of the height
    assert settings["data.oracle"] == "masks" and settings["data.labelled_fraction"] == 0.1
    # 37 images, each seen 100 times in batches of 4: 925 steps, in whole epochs
    assert settings["trainer.epochs"] * settings["trainer.iterations_per_epoch"] == 920
    assert settings["trainer.last_epochs"] * settings["trainer.joint_iterations_per_epoch"] == 2760
    assert described(settings, 367, 367) == (
        "Network input: 288 x 384 pixels (height x width); regions: 24 x 24 of them.",
        "Labels: 37 of 367 training images at the start; the masks of the others answer for people.",
        "Steps: 920, then 2,760 with what was asked and pseudo-labels.",
    )


@pytest.mark.parametrize(("images", "of_the_pool"), [(40, False), (50, False), (51, True), (5000, True)])
def test_with_no_mask_people_are_asked_for_as_much_as_they_can_do(images, of_the_pool):
    settings = suggest([(360, 480)], images, 0, gpu=False)
    assert settings["data.oracle"] == "people" and settings["trainer.ce_reduction"] == "valid"
    assert "run.cycles" not in settings and settings["trainer.iterations_per_epoch"] > 0
    assert (settings.get("acquisition.strategy") == "global") == of_the_pool
    if of_the_pool:
        region_pixels = (360 // 12) ** 2  # the input is 288 x 384, a region 24 x 24 of it
        assert settings["acquisition.budget_pixels"] == 200 * region_pixels
        assert settings["acquisition.most_per_image"] == 4
    assert settings.keys() <= set(SUGGESTED)
    assert any("has a mask; people are asked" in line for line in described(settings, images, 0))


def test_with_some_masks_people_are_asked():
    settings = suggest([(360, 480)], 300, 20, gpu=False)
    assert settings["data.oracle"] == "people" and settings["data.labelled_fraction"] == 1.0
    assert "20 of 300 training images have a mask; people" in described(settings, 300, 20)[1]


def test_a_handful_is_labelled_whole_and_trained_once():
    settings = suggest([(360, 480)], 5, 5, gpu=False)
    assert settings["run.cycles"] == 1 and settings["data.labelled_fraction"] == 1.0
    assert settings["trainer.epochs"] * settings["trainer.iterations_per_epoch"] == 400
    lines = described(settings, 5, 5)
    assert lines[1:] == ("Labels: all 5 training images, from the start.", "Steps: 400; nothing is asked.")


def test_what_is_said_is_what_was_set_not_what_was_suggested():
    settings = suggest([(360, 480)], 100, 100, gpu=False)
    given = (
        "data.height=64",
        "data.labelled_fraction=0.5",
        "run.cycles=3",
        "trainer.epochs=2",
        "trainer.warmup_steps=1",
    )
    assert described(settings, 100, 100, *given) == (
        "Network input: 64 x 384 pixels (height x width); regions: 24 x 24 of them.",
        "Labels: 50 of 100 training images at the start; the masks of the others answer for people.",
        "Steps: 40, then 80 and at last 1,200 with what was asked and pseudo-labels.",
    )
    assert (
        "then 80 in each of 3 trainings and at last 1,200" in described(settings, 100, 100, *given, "run.cycles=5")[2]
    )
    listed = described(settings, 100, 100, "data.labelled_list=mine.txt")
    assert listed[1] == "Labels: those of mine.txt at the start."


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("train", "labelled"), [(1, 1), (3, 1), (50, 50), (100_000, 100_000)])
def test_all_suggestions_make_a_configuration(size, train, labelled, gpu):
    settings = suggest([size], train, labelled, gpu=gpu)
    assert set(settings) <= set(SUGGESTED)
    config = resolve("images", None, ["data.root=x"], settings)
    assert config.model.weights == "imagenet" and not config.run.full_supervision
