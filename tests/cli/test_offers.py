"""What a refusal of a data folder offers can be pasted: each offered setting is given to the same folder, and settles
the matter it was offered for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al import config as settings
from s4al.cli.new_run import Wanted, look, new_settings
from s4al.data.understand import Understanding
from s4al.errors import S4alError
from s4al.watch import Watch
from tests.offers import offered, offered_together

HEIGHT, WIDTH = 40, 64
NAMES = ("ground", "car", "sky")


def photo(seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(60, 110, (HEIGHT // 8, WIDTH // 8, 3))
    return blocks.repeat(8, 0).repeat(8, 1).astype(dtype)


def drawn(*values: int, dtype: type = np.uint8) -> np.ndarray:
    """A mask of as many stripes as values."""
    return np.repeat(np.array(values, dtype), -(-WIDTH // len(values)))[:WIDTH][None].repeat(HEIGHT, 0)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def fill(root: Path, *, mask: np.ndarray, count: int = 4, folder: str = "", names: tuple[str, ...] = NAMES) -> None:
    for i in range(count):
        save(root / folder / "images" / f"{i}.png", photo(i))
        save(root / folder / "masks" / f"{i}.png", mask)
    if names:
        (root / "classes.txt").write_text("\n".join(names))


# --- folders that cannot be understood without a setting ---


def white_or_void(root: Path) -> None:
    fill(root, mask=drawn(0, 255))


def gaps(root: Path) -> None:
    fill(root, mask=drawn(0, 7, 26))


def no_names(root: Path) -> None:
    fill(root, mask=drawn(0, 1, 2, 255), names=())


def colours_without_names(root: Path) -> None:
    fill(root, mask=np.stack([drawn(0, 200), drawn(0, 10), drawn(0, 90)], axis=2), names=())


def two_kinds_of_masks(root: Path) -> None:
    fill(root, mask=drawn(0, 1, 2))
    for i in range(4):
        save(root / "labels" / f"{i}.png", drawn(0, 2))


def a_split_of_unknown_name(root: Path) -> None:
    for folder in ("train", "validation", "holdout"):
        fill(root, mask=drawn(0, 1, 2), folder=folder)


def folders_whose_names_say_nothing(root: Path) -> None:
    for i in range(4):
        save(root / "a" / f"{i}.png", photo(i))
        save(root / "b" / f"{i}.png", drawn(0, 1, 2))
    (root / "classes.txt").write_text("\n".join(NAMES))


def images_of_16_bits(root: Path) -> None:
    fill(root, mask=drawn(0, 1, 2))
    for i in range(4):
        save(root / "images" / f"{i}.png", photo(i, np.uint16)[..., 0] * 300)


FOLDERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...], int]] = {
    "255 is a class or void": (white_or_void, (), 2),
    "values with gaps": (gaps, (), 2),
    "no names": (no_names, (), 1),
    "colours without names": (colours_without_names, (), 1),
    "two kinds of masks": (two_kinds_of_masks, (), 2),
    "a split of unknown name": (a_split_of_unknown_name, (), 2),
    "images of 16 bits": (images_of_16_bits, (), 1),
    "small limit": (lambda root: fill(root, mask=drawn(0, 1, 2)), ("data.max_megapixels=0.001",), 1),
}


def understood(root: Path, given: tuple[str, ...]) -> Understanding:
    wanted = Wanted(overrides=(f"data.root={json.dumps(str(root))}", *given), device="cpu")
    return look(settings.resolve(wanted.start, None, wanted.overrides), wanted)[0]


@pytest.mark.parametrize("kind", FOLDERS)
def test_what_a_refusal_offers_is_accepted(kind: str, tmp_path: Path) -> None:
    make, given, count = FOLDERS[kind]
    make(tmp_path)
    with pytest.raises(S4alError) as caught:
        understood(tmp_path, given)
    assert caught.value.remedy
    offers = {tuple(offer) for offer in offered_together(f"{caught.value.what} {caught.value.remedy}")}
    assert len(offers) == count
    for offer in offers:
        assert "..." not in " ".join(offer)
        found = understood(tmp_path, (*given, *offer))  # accepted, and understood
        assert found.dataset.class_names and not found.bad


def images_alone(root: Path) -> None:
    for i in range(3):
        save(root / f"{i}.png", photo(i))


def test_images_alone_are_for_people(tmp_path: Path) -> None:
    images_alone(tmp_path)
    given = (f"data.root={json.dumps(str(tmp_path))}",)
    with pytest.raises(S4alError) as caught:
        new_settings(Wanted(overrides=given, device="cpu"), Watch())
    offers = offered_together(caught.value.remedy)
    assert offers == [["data.oracle=people"]]
    accepted = new_settings(Wanted(overrides=(*given, *offers[0]), device="cpu"), Watch())
    assert accepted.data.oracle == "people" and accepted.data.classes == ()


def test_of_two_folders_one_reading_is_right(tmp_path: Path) -> None:
    """Which folder holds the masks its name does not say: what is pasted wrongly is refused by what the files hold."""
    folders_whose_names_say_nothing(tmp_path)
    with pytest.raises(S4alError) as caught:
        understood(tmp_path, ())
    right, wrong = offered_together(caught.value.what)
    assert right == ["data.images=a/*", "data.masks=b/*"]
    assert understood(tmp_path, tuple(right)).dataset.class_names == NAMES
    with pytest.raises(S4alError, match=r"in a/0.png among them: numbers of objects, distances or photographs"):
        understood(tmp_path, tuple(wrong))


def test_a_split_of_unknown_name_is_offered_with_its_own_masks(tmp_path: Path) -> None:
    a_split_of_unknown_name(tmp_path)
    with pytest.raises(S4alError) as caught:
        understood(tmp_path, ())
    assert offered_together(caught.value.what) == [
        ["data.images=holdout/images/*", "data.masks=holdout/masks/*"],
        ["data.images={split}/images/*", "data.masks={split}/masks/*"],
    ]
    assert "named train, val or test" in caught.value.remedy


def bad_masks(extension: str, pixels: np.ndarray) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        fill(root, mask=drawn(0, 1, 2), count=6)
        for i in range(6):
            (root / "masks" / f"{i}.png").unlink()
            save(root / "masks" / f"{i}.{extension}", pixels)

    return make


@pytest.mark.parametrize(
    ("extension", "pixels", "reason", "remedy"),
    [
        ("jpg", drawn(0, 1, 2), "a JPEG, which does not keep class ids exactly", "Export the masks again without loss"),
        (
            "png",
            np.dstack([photo(), np.full((HEIGHT, WIDTH), 9, np.uint8)]),
            "pixels are transparent",
            "Save them again without transparency.",
        ),
        ("tif", drawn(0, 1, dtype=np.float32), "a TIFF of floating-point samples", "Save them again with 8 bits"),
    ],
)
def test_masks_of_one_fault_are_told_once_with_what_to_do(
    extension: str, pixels: np.ndarray, reason: str, remedy: str, tmp_path: Path
) -> None:
    bad_masks(extension, pixels)(tmp_path)
    with pytest.raises(S4alError) as caught:
        understood(tmp_path, ())
    files = f"masks/0.{extension}, masks/1.{extension}, masks/2.{extension} and 3 more"
    assert caught.value.what.startswith(f"No mask of 6 looked at can be used: 6 files ({files}): ")
    assert caught.value.what.count(reason) == 1 and caught.value.remedy.startswith(remedy)
    assert ("without loss" in caught.value.remedy) == (extension == "jpg")


def test_images_of_several_faults_are_told_by_kind(tmp_path: Path) -> None:
    fill(tmp_path, mask=drawn(0, 1, 2), count=5)
    for i in range(3):
        alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
        alpha[:, : i + 1] = 0
        save(tmp_path / "images" / f"{i}.png", np.dstack([photo(), alpha]))
    (tmp_path / "images" / "3.png").write_bytes(b"")
    save(tmp_path / "images" / "4.png", photo()[:8])
    with pytest.raises(S4alError) as caught:
        understood(tmp_path, ())
    assert caught.value.what == (
        "No image of 5 looked at can be used: 3 files (images/0.png, images/1.png, images/2.png): of the first, 40 of "
        "its 2,560 pixels are transparent (opaque images are read); images/3.png: the file is empty; "
        "images/4.png: it is 64 x 8, its mask is 64 x 40."
    )
    assert caught.value.remedy == (
        "Save them again without transparency. Give each image a mask of its own size: masks are never resized."
    )


def test_images_alone_have_the_classes_of_any_setting(tmp_path: Path) -> None:
    images_alone(tmp_path)
    assert understood(tmp_path, ("data.mask_values=0:wall,255:car,128:ignore",)).dataset.class_names == ("wall", "car")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    assert understood(tmp_path, ()).dataset.class_names == ("a", "b")


def test_one_image_alone_says_what_is_needed(tmp_path: Path) -> None:
    fill(tmp_path, mask=drawn(0, 1, 2), count=1)
    with pytest.raises(S4alError) as caught:
        understood(tmp_path, ())
    assert "test split" in caught.value.what and "at least one to learn from and one to test on" in caught.value.remedy
    fill(tmp_path, mask=drawn(0, 1, 2), count=3)
    with pytest.raises(S4alError) as caught:
        understood(tmp_path, ("data.test_split=test",))
    (setting,) = offered(caught.value.remedy)
    assert len(understood(tmp_path, (setting,)).train) == 2
