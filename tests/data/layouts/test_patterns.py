"""The language of patterns, the walk below it, and the rules by which names pair."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from s4al.data.layouts import tree as data_tree
from s4al.data.layouts.pairing import SAME, Rule, pairing_rules
from s4al.data.layouts.patterns import compile_pattern, list_by_pattern
from s4al.data.layouts.tree import walk
from s4al.errors import ConfigError, DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


# pattern, name, (split, id) or None
MATCHES = [
    ("*", "a.png", ("", "a")),
    ("*", "a.b.jpg", ("", "a.b")),
    ("*", "x/a.png", None),
    ("images/*", "images/a.PNG", ("", "a")),
    ("images/*", "Images/a.png", None),
    ("images/**", "images/a.png", ("", "a")),
    ("images/**", "images/x/y/a.png", ("", "x/y/a")),
    ("images/**/*.jpg", "images/x/a.JPG", ("", "x/a")),
    ("images/**/*.jpg", "images/x/a.png", None),
    ("*.jp*g", "a.jpeg", ("", "a")),
    ("labels/**/*_mask.png", "labels/x/a_mask.png", ("", "x/a")),
    ("labels/**/*_mask.png", "labels/x/a.png", None),
    ("*_mask.*", "a_mask.tif", ("", "a")),
    ("*_mask", "a_mask.tif", ("", "a")),
    ("seg_*", "seg_a.png", ("", "a")),
    ("v1.2_*", "v1.2_a.png", ("", "a")),
    ("a*b/*_x*.png", "a-b/1_x2.png", ("", "-/1_x2")),
    ("*/image.png", "sample 1/image.png", ("", "sample 1")),
    ("**/images/**", "x/images/y/a.png", ("", "x/y/a")),
    ("**/images/*", "images/a.png", ("", "a")),
    ("only.png", "only.png", ("", "only")),
    ("a[0]/(b)+/*", "a[0]/(b)+/c.png", ("", "c")),
    ("a?/*", "ab/c.png", None),
    ("{split}/*", "train/a.png", ("train", "a")),
    ("{split}/*", "TRAINING/a.png", ("train", "a")),
    ("{split}/*", "Valid/a.png", ("val", "a")),
    ("{split}/*", "dev/a.png", ("val", "a")),
    ("{split}/*", "validation/a.png", ("val", "a")),
    ("{split}/*", "testing/a.png", ("test", "a")),
    ("{split}/*", "tests/a.png", None),
    ("{split}/*", "trainval/a.png", None),
    ("{split}annot/*", "trainannot/a.png", ("train", "a")),
    ("{split}2017/**", "val2017/a.jpg", ("val", "a")),
    ("images/{split}_*.png", "images/test_07.png", ("test", "07")),
]


@pytest.mark.parametrize(("pattern", "name", "key"), MATCHES)
def test_matching(pattern: str, name: str, key: tuple[str, str] | None) -> None:
    assert compile_pattern(pattern, "data.images").key(name) == key


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "a path below the data folder"),
        ("/etc/*", "a path below the data folder"),
        ("../other/*", "a path below the data folder"),
        ("images/", "a path below the data folder"),
        ("a//b", "a path below the data folder"),
        ("./a", "a path below the data folder"),
        ("a**/b", r"\*\* stands alone"),
        ("{splt}/*", r"the only braces are \{split\}, once"),
        ("{split}/{split}", r"the only braces are \{split\}, once"),
        ("a}/*", r"the only braces are \{split\}, once"),
        ("*a" * 9, "up to 8 wildcards"),
    ],
)
def test_what_is_no_pattern(pattern: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"data.masks=.* is no pattern: .*{reason}"):
        compile_pattern(pattern, "data.masks")


def test_images_and_masks_have_one_id(tmp_path: Path) -> None:
    touch(
        tmp_path, "imgs/x/a.jpg", "imgs/b.jpg", "labels/x/a_mask.png", "labels/b_mask.png", "labels/b.txt", ".c/d.png"
    )
    images = list_by_pattern(tmp_path, "imgs/**/*.jpg")
    assert images == {("", "x/a"): tmp_path / "imgs/x/a.jpg", ("", "b"): tmp_path / "imgs/b.jpg"}
    assert list_by_pattern(tmp_path, "labels/**/*_mask.png").keys() == images.keys()
    assert list_by_pattern(tmp_path, "nowhere/*") == list_by_pattern(tmp_path / "nowhere", "*") == {}


def test_ids_are_composed(tmp_path: Path) -> None:
    touch(tmp_path, unicodedata.normalize("NFD", "é.png"))
    assert list(list_by_pattern(tmp_path, "*")) == [("", unicodedata.normalize("NFC", "é"))]


def test_two_files_of_one_id(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.png", "x/a.jpg")
    with pytest.raises(DataError, match=r"Two files have the id 'a': a.jpg and a.png in .*x. .*narrow the pattern"):
        list_by_pattern(tmp_path, "x/*")
    touch(tmp_path, "val/a.png", "valid/a.png")
    with pytest.raises(DataError, match=r"Two files have the id 'a': val/a.png and valid/a.png"):
        list_by_pattern(tmp_path, "{split}/*")


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31m.png", "a\x85.png", b"\xff.png"])
def test_names_that_cannot_be_ids(tmp_path: Path, name: str | bytes) -> None:
    (tmp_path / os.fsdecode(name)).touch()
    with pytest.raises(DataError, match="control characters or is not UTF-8") as caught:
        list_by_pattern(tmp_path, "*")
    assert str(caught.value).isprintable()


# --- the walk ---


def test_what_is_no_data_is_counted_or_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.JPEG", "c.webp", "d.bmp", "e.tif", "f.tiff", "g.gif", "h.json", "i.json", "README")
    touch(tmp_path, "Thumbs.db", "desktop.ini", ".hidden.png", ".cache/x.png", "deep/.x/y.png", "deep/z.png")
    tree = walk(tmp_path)
    assert tree.pictures == ("a.png", "b.JPEG", "c.webp", "d.bmp", "deep/z.png", "e.tif", "f.tiff")
    assert tree.skipped == {".json": 2, "": 1, ".gif": 1}


def test_links_lead_out_where_they_may(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "real/a.png")
    touch(tmp_path, "else/b.png", "c.png")
    (root / "linked").symlink_to(tmp_path / "else")
    (root / "c.png").symlink_to(tmp_path / "c.png")
    (root / "gone.png").symlink_to(tmp_path / "gone.png")
    (root / "again").symlink_to("real")
    assert walk(root).pictures == ("again/a.png", "c.png", "gone.png", "linked/b.png", "real/a.png")
    with pytest.raises(DataError, match=r"The folder linked in .* is a link that leaves the data folder"):
        walk(root, "inside")
    (root / "linked").unlink()
    assert walk(root, "inside").pictures == ("again/a.png", "c.png", "gone.png", "real/a.png")


def test_links_that_go_round(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a/x.png", "b/y.png")
    (root / "a/up").symlink_to("..")
    (root / "a/self").symlink_to("../a")
    (root / "a/other").symlink_to("../b")
    (root / "b/back").symlink_to("../a")
    (root / "circle.png").symlink_to("circle.png")
    names = walk(root).pictures
    assert names == ("a/other/y.png", "a/x.png", "b/back/x.png", "b/y.png", "circle.png")


def test_links_that_multiply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve folders that each link to all: 12 * 11 * ... * 1 ways."""
    for i in range(12):
        (tmp_path / f"{i}").mkdir()
        for j in range(12):
            (tmp_path / f"{i}" / f"{j}").symlink_to(tmp_path / f"{j}")
    monkeypatch.setattr(data_tree, "_MAX_LINKED_FOLDERS", 1000)
    with pytest.raises(DataError, match="more than 1,000 links to folders"):
        walk(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0)
    with pytest.raises(DataError, match=r"a cannot be listed \(Permission denied\)"):
        walk(tmp_path)


# --- pairs ---

NUMBERS = [f"{i}" for i in range(1, 120)]
# images, masks, the rules
PAIRS = {
    "the same": (["a", "b"], ["a", "b"], [SAME]),
    "the same for most": (["a", "b", *"cdefghijkl"], [*"abcdefghijk", "z"], [SAME]),
    "suffix": (["a", "b"], ["a_m", "b_m"], [Rule(mask_suffix="_m")]),
    "suffix below folders": (["x/a", "x/b"], ["x/a_m", "x/b_m"], [Rule(mask_suffix="_m")]),
    "prefix below folders": (["x/a", "x/b"], ["x/m_a", "x/m_b"], [Rule(mask_prefix="m_")]),
    "on the images": (["a_rgb", "b_rgb"], ["a", "b"], [Rule(image_suffix="_rgb")]),
    "both": (["a_sat", "b_sat"], ["a_mask", "b_mask"], [Rule(image_suffix="_sat", mask_suffix="_mask")]),
    "both, alike": (["a_map", "b_map"], ["a_mask", "b_mask"], [Rule(image_suffix="_map", mask_suffix="_mask")]),
    "numbers of any length": (
        [f"img_{n}" for n in NUMBERS],
        [f"img_{n}_mask" for n in NUMBERS],
        [Rule(mask_suffix="_mask")],
    ),
    "both, numbers of any length": (
        [f"img_{n}_sat" for n in NUMBERS],
        [f"img_{n}_gt" for n in NUMBERS],
        [Rule(image_suffix="_sat", mask_suffix="_gt")],
    ),
    "extension of the image in the mask's name": (["a", "b"], ["a.jpg", "b.jpg"], [Rule(mask_suffix=".jpg")]),
    "two suffixes": (
        ["a", "b"],
        ["a_x", "b_x", "a_y", "b_y"],
        [Rule(mask_suffix="_x"), Rule(mask_suffix="_y")],
    ),
    "no number is cut": ([f"f{i:03d}" for i in range(9)], [f"f{i:03d}" for i in range(100, 109)], []),
    "one pair with two affixes is chance": (["photo_1"], ["phone_1"], []),
    "nothing alike": (["a"], ["b"], []),
    "no masks": (["a"], [], []),
    "few of the same": ([*"abcdefghij"], ["a", *"qrstuvwxy"], [SAME]),
}


@pytest.mark.parametrize("case", PAIRS)
def test_rules(case: str) -> None:
    images, masks, rules = PAIRS[case]
    assert sorted(pairing_rules(images, masks), key=str) == rules
