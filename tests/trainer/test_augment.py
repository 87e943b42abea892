from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import functional as vision

from s4al.config import AugmentConfig
from s4al.trainer import augment
from s4al.trainer.augment import strong, weak

OFF = AugmentConfig(scale_min=1.0, scale_max=1.0, flip=0.0, blur=0.0, jitter=0.0, cutout=0.0)
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def set_(**values: float) -> AugmentConfig:
    return OFF.model_copy(update=values)


@pytest.fixture(scope="module")
def pair() -> Pair:
    """Blocks of colour, and labels that say which: class = red / 20."""
    rng = np.random.default_rng(0)
    label = np.kron(rng.integers(0, 11, (9, 12)), np.ones((10, 10))).astype(np.uint8)
    image = np.stack([label * 20, 255 - label * 20, rng.integers(0, 256, label.shape)], axis=2).astype(np.uint8)
    image.flags.writeable = label.flags.writeable = False
    return image, label


def run_weak(pair: Pair, config: AugmentConfig, seed: int = 0, height: int = 90, width: int = 120) -> Pair:
    return weak(*pair, rng=np.random.default_rng(seed), config=config, height=height, width=width)


def run_strong(pair: Pair, config: AugmentConfig, seed: int = 0) -> Pair:
    return strong(*pair, rng=np.random.default_rng(seed), config=config)


# -- weak --------------------------------------------------------------------------------------------------------------


def test_everything_off_is_the_identity_in_new_arrays(pair: Pair) -> None:
    for image, label in (run_weak(pair, OFF), run_strong(pair, OFF)):
        assert np.array_equal(image, pair[0]) and np.array_equal(label, pair[1])
        assert image.flags.writeable and label.flags.writeable
        assert image.flags.c_contiguous and label.flags.c_contiguous


def test_flip_mirrors_image_and_label(pair: Pair) -> None:
    image, label = run_weak(pair, set_(flip=1.0))
    assert np.array_equal(image, pair[0][:, ::-1]) and np.array_equal(label, pair[1][:, ::-1])


def test_shrunken_image_is_centred_in_black_and_ignore(pair: Pair) -> None:
    image, label = run_weak(pair, set_(scale_min=0.5, scale_max=0.5))
    inside = np.zeros((90, 120), bool)
    inside[22:67, 30:90] = True  # 45 x 60 in 90 x 120
    assert np.array_equal(label != 255, inside)
    assert not image[~inside].any()
    expected = np.asarray(Image.fromarray(pair[0]).resize((60, 45), Image.Resampling.BILINEAR))
    assert np.array_equal(image[22:67, 30:90], expected)
    assert np.array_equal(
        label[22:67, 30:90], np.asarray(Image.fromarray(pair[1]).resize((60, 45), Image.Resampling.NEAREST))
    )


@pytest.mark.parametrize("scale", [1.37, 2.0])
def test_window_of_an_enlarged_image_equals_resize_then_crop(pair: Pair, scale: float) -> None:
    config = set_(scale_min=scale, scale_max=scale)
    height, width = round(90 * scale), round(120 * scale)
    whole = np.asarray(Image.fromarray(pair[0]).resize((width, height), Image.Resampling.BILINEAR))
    whole_label = np.asarray(Image.fromarray(pair[1]).resize((width, height), Image.Resampling.NEAREST))
    image, label = run_weak(pair, config)
    rng = np.random.default_rng(0)
    rng.uniform(scale, scale)
    y, x = int(rng.integers(height - 90 + 1)), int(rng.integers(width - 120 + 1))
    assert np.abs(image.astype(int) - whole[y : y + 90, x : x + 120]).max() <= 1  # rounding of the window's corner
    assert (label == whole_label[y : y + 90, x : x + 120]).mean() > 0.999


def test_crops_reach_every_corner(pair: Pair) -> None:
    corners = set()
    for seed in range(400):
        _, label = run_weak(pair, OFF, seed, height=88, width=118)
        y, x = next(
            (y, x) for y in range(3) for x in range(3) if np.array_equal(label, pair[1][y : y + 88, x : x + 118])
        )
        corners.add((y, x))
    assert corners == {(y, x) for y in range(3) for x in range(3)}


def test_scales_are_uniform_in_their_range(pair: Pair) -> None:
    shares = [(run_weak(pair, set_(scale_min=0.5), seed)[1] != 255).mean() for seed in range(300)]
    scales = np.sqrt(shares)
    assert 0.49 < min(scales) < 0.52 and max(scales) > 0.98
    assert abs(np.mean(scales) - 0.75) < 4 * 0.5 / math.sqrt(12 * 300)


def test_image_and_label_stay_aligned(pair: Pair) -> None:
    for seed in range(20):
        image, label = run_weak(pair, AugmentConfig(), seed, height=70, width=130)
        assert image.shape == (70, 130, 3) and label.shape == (70, 130)
        assert image.dtype == label.dtype == np.uint8
        valid = label != 255
        agree = np.abs(image[valid][:, 0].astype(int) - 20 * label[valid].astype(int)) <= 10
        assert agree.mean() > 0.75  # all but the blended borders of the blocks


def test_other_sizes_than_the_crop(pair: Pair) -> None:
    image, label = run_weak(pair, OFF, height=200, width=60)  # taller and narrower than the image
    assert (label != 255).sum() == 90 * 60 and image.shape == (200, 60, 3)
    single = np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8)
    assert (run_weak(single, set_(scale_min=0.5, scale_max=0.5), height=3, width=3)[1] != 255).sum() == 1


def test_padding_may_be_the_mirrored_image_and_is_ignored_all_the_same(pair: Pair) -> None:
    half = set_(scale_min=0.5, scale_max=0.5)
    black, label = run_weak(pair, half)
    rng = np.random.default_rng(0)
    mirrored, same = weak(*pair, rng=rng, config=half, height=90, width=120, reflect=True)
    assert np.array_equal(label, same) and np.array_equal(mirrored[22:67, 30:90], black[22:67, 30:90])
    assert np.array_equal(mirrored[22:67, 29], mirrored[22:67, 30]) and np.array_equal(mirrored[21], mirrored[22])
    assert np.array_equal(mirrored[22:67, 90:], mirrored[22:67, 89:59:-1])


# -- strong ------------------------------------------------------------------------------------------------------------


def test_cutout_blackens_and_ignores_the_same_clipped_square(pair: Pair) -> None:
    config = set_(cutout=1.0, cutout_pixels=25)
    areas, centres = [], []
    for seed in range(300):
        image, label = run_strong(pair, config, seed)
        hole = label == 255
        rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
        assert hole.sum() == len(rows) * len(columns) and not image[hole].any()
        assert np.array_equal(image[~hole], pair[0][~hole]) and np.array_equal(label[~hole], pair[1][~hole])
        areas.append(hole.sum())
        centres.append((rows.mean(), columns.mean()))
    assert max(areas) == 625 and min(areas) < 300  # whole, and clipped at a border
    assert np.ptp(centres, axis=0)[0] > 75 and np.ptp(centres, axis=0)[1] > 105


def test_hole_larger_than_the_image_covers_at_most_all_of_it(pair: Pair) -> None:
    _, label = run_strong(pair, set_(cutout=1.0, cutout_pixels=1000))
    assert (label == 255).all()


def test_blur_averages_and_leaves_the_label(pair: Pair) -> None:
    image, label = run_strong(pair, set_(blur=1.0, blur_sigma_min=1.0, blur_sigma_max=1.0))
    assert np.array_equal(label, pair[1])
    before, after = (x[..., 2].astype(float) for x in (pair[0], image))  # noise
    assert after.mean() == pytest.approx(before.mean(), abs=1.0)
    assert after.std() / before.std() == pytest.approx(1 / (2 * math.sqrt(math.pi)), rel=0.15)  # white noise, sigma 1


def test_jitter_only_where_not_blurred_and_grey_only_where_jittered(pair: Pair) -> None:
    never = set_(blur=1.0, jitter=1.0, grey=1.0, blur_sigma_min=0.5, blur_sigma_max=0.5)
    assert not is_grey(run_strong(pair, never)[0])
    assert is_grey(run_strong(pair, set_(jitter=1.0, grey=1.0))[0])
    assert np.array_equal(run_strong(pair, set_(jitter=0.0, grey=1.0))[0], pair[0])


def is_grey(image_HWC: NDArray[np.uint8]) -> bool:
    return bool((image_HWC == image_HWC[..., :1]).all())


def test_frequencies_of_the_published_setting(pair: Pair) -> None:
    config = AugmentConfig(cutout_pixels=1, blur_sigma_min=0.9, blur_sigma_max=1.0)
    small = pair[0][:20, :20], pair[1][:20, :20]
    trials, same, grey, hole = 1500, 0, 0, 0
    for seed in range(trials):
        image, label = run_strong(small, config, seed)
        hole += int((label == 255).any())
        grey += is_grey(image)
        same += np.array_equal(image[label != 255], small[0][label != 255])
    for count, probability in ((hole, 0.5), (grey, 0.25 * 0.75), (same, 0.25)):
        assert abs(count / trials - probability) < 4 * math.sqrt(probability * (1 - probability) / trials)


def test_jitter_without_strength_is_the_identity(pair: Pair) -> None:
    config = set_(jitter=1.0, grey=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    difference = np.abs(run_strong(pair, config)[0].astype(int) - pair[0])
    assert difference.max() <= 8  # of 8-bit HSV and back


def test_factors_stay_in_their_range(pair: Pair) -> None:
    config = set_(jitter=1.0, grey=0.0, brightness=0.8, contrast=0.0, saturation=0.0, hue=0.0)
    plain = np.full((8, 8, 3), 100, np.uint8), np.zeros((8, 8), np.uint8)
    levels = [int(run_strong(plain, config, seed)[0][0, 0, 0]) for seed in range(300)]
    assert 20 <= min(levels) < 30 and 170 < max(levels) <= 180


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.03, 0.2, 0.5])
def test_hue_equals_torchvision(pair: Pair, turn: float) -> None:
    image = Image.fromarray(pair[0])
    assert np.array_equal(np.asarray(augment._shift_hue(image, turn)), np.asarray(vision.adjust_hue(image, turn)))


# -- randomness --------------------------------------------------------------------------------------------------------


def test_the_generator_decides_everything(pair: Pair) -> None:
    def both(seed: int) -> Pair:
        rng = np.random.default_rng(seed)
        return strong(
            *weak(*pair, rng=rng, config=AugmentConfig(), height=80, width=100), rng=rng, config=AugmentConfig()
        )

    results = [both(seed) for seed in range(8)]
    again = [both(seed) for seed in range(8)]
    assert all(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(results, again, strict=True))
    assert len({image.tobytes() for image, _ in results}) == 8
