"""Segmentation mask 1.1 as CVAT and others export it: sorted and renumbered labels, palettes, label maps with gaps."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al.annotate.exchange.colours import class_colours
from s4al.annotate.queries import Round
from s4al.errors import DataError
from tests.annotate.label_maps import receive
from tests.annotate.rounds import make_round

Q = "r001-000000"  # without an export, the picture is the region
HEIGHT, WIDTH = 10, 15
EXPECTED = np.repeat([[0] * 7 + [1] * 8], HEIGHT, axis=0).astype(np.uint8)
EXPECTED[-1] = 255


def _masks(path: Path, labelmap: str, mask: Image.Image) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labelmap.txt", labelmap)
        with archive.open(f"SegmentationClass/{Q}.png", "w") as stream:
            mask.save(stream, "PNG")
    return path


def _colours(round: Round) -> Image.Image:
    """Left road, right car, the last row black."""
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[:, :7], colours[:, 7:] = class_colours(round.palette)[:2]
    colours[-1] = 0
    return Image.fromarray(colours)


@pytest.mark.parametrize(
    "labelmap",
    [
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:0,0,142::\nroad:128,64,128::\nsky:70,130,180::\n",
        "car:0,0,142::\nroad:128,64,128::\n",  # sorted, without the background and what is not used
        "sky:0,0,0::\r\nroad:128,64,128::\r\ncar:0,0,142:a,b:c\r\n\r\n",  # black is not painted whatever it is called
    ],
)
def test_masks_go_by_colour_and_name_and_black_is_not_painted(labelmap: str, tmp_path: Path) -> None:
    round = make_round(tmp_path)
    found, _ = receive(round, _masks(tmp_path / "x.zip", labelmap, _colours(round)))
    assert np.array_equal(found[0], EXPECTED)


def test_palette_masks_go_by_the_palettes_colours_not_its_numbers(tmp_path: Path) -> None:
    round = make_round(tmp_path)
    indices = np.where(EXPECTED == 255, 200, np.where(EXPECTED == 0, 41, 3)).astype(np.uint8)
    palette = np.zeros((256, 3), np.uint8)
    palette[41], palette[3] = class_colours(round.palette)[:2]
    mask = Image.fromarray(indices)
    mask.putpalette(palette.tobytes())
    found, _ = receive(round, _masks(tmp_path / "x.zip", "road:128,64,128::\ncar:0,0,142::\n", mask))
    assert np.array_equal(found[0], EXPECTED)


def test_the_colour_of_frames_is_not_painted(tmp_path: Path) -> None:
    round = make_round(tmp_path)
    found, _ = receive(round, _masks(tmp_path / "x.zip", "QUERY:0,0,142::\nroad:128,64,128::\n", _colours(round)))
    assert np.array_equal(found[0], np.where(EXPECTED == 1, 255, EXPECTED))


@pytest.mark.parametrize(
    ("labelmap", "reason"),
    [
        ("road:128,64,128::\n", "colour 0,0,142 at 72 pixels is not in labelmap.txt"),
        ("road:128,64,128::\ncar:0,0,142::\nsky:0,0,142::\n", "is that of car and sky"),
        ("road:128,64,128::\nCar:0,0,142::\n", "class 'Car' is not one of this run's, but 'car' is"),
        ("road:128,64::\n", "is no name:r,g,b:parts:actions"),
        ("road\n", "is no name:r,g,b:parts:actions"),
    ],
)
def test_label_maps_that_do_not_name_the_colours(labelmap: str, reason: str, tmp_path: Path) -> None:
    round = make_round(tmp_path)
    with pytest.raises(DataError) as caught:
        receive(round, _masks(tmp_path / "x.zip", labelmap, _colours(round)))
    assert reason in caught.value.what


def test_a_grey_mask_holds_no_colours_of_classes(tmp_path: Path) -> None:
    path = _masks(tmp_path / "x.zip", "road:128,64,128::\n", Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint8)))
    with pytest.raises(DataError, match="colour 1,1,1 at 150 pixels is not in labelmap"):
        receive(make_round(tmp_path), path)
