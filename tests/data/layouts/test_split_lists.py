"""Lists of splits as tools and people write them, and masks that their lines name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from s4al.config import resolve
from s4al.data.adapters import open_dataset
from s4al.data.layouts.find import Layout, find_layout
from s4al.data.layouts.list_files import Names
from s4al.errors import DataError
from tests.data.layouts.test_find import make

PAIRED = "JPEGImages/a{0-6}.jpg SegmentationClass/a{0-6}.png"


def records(root: Path, layout: Layout) -> dict[str, tuple[str, ...]]:
    """`{split: ids}` as a run reads the stored settings."""
    stored = [f'data.{key}="{value}"' for key, value in layout.settings.items()]
    given = [f'data.root="{root}"', "data.classes=road,car", "data.oracle=people", *stored]
    dataset = open_dataset(resolve(overrides=given), root / "rendered")
    splits = dict.fromkeys(record.split for record in dataset.records)
    return {split: tuple(r.id for r in dataset.records if r.split == split) for split in splits}


def lists(folder: str, line: str) -> dict[str, str]:
    """Four images for training, two to test on; `line` has {} for the name."""
    at = (f"{folder}/" if folder else "") + "{}.txt"
    names = {"train": ("a00", "a01", "a02", "a03"), "test": ("a04", "a05")}
    return {at.format(split): "".join(line.format(name) + "\n" for name in of) for split, of in names.items()}


# tree, folder of the lists, a line
READ: dict[str, tuple[str, str, str]] = {
    "pairs": (PAIRED, "", "JPEGImages/{0}.jpg SegmentationClass/{0}.png"),
    "pairs with a tab": (PAIRED, "", "JPEGImages/{0}.jpg\tSegmentationClass/{0}.png"),
    "pairs with a comma": (PAIRED, "", "JPEGImages/{0}.jpg,SegmentationClass/{0}.png"),
    "pairs with comma and blank": (PAIRED, "", "JPEGImages/{0}.jpg, SegmentationClass/{0}.png"),
    "pairs of paths from the top": (PAIRED, "ImageSets/Segmentation", "/JPEGImages/{0}.jpg /SegmentationClass/{0}.png"),
    "pairs of file names": (PAIRED, "", "{0}.jpg {0}.png"),
    "pairs of ids": (PAIRED, "", "{0} {0}"),
    "absolute": (PAIRED, "", "/home/ada/voc/JPEGImages/{0}.jpg"),
    "absolute pairs": (PAIRED, "", "/home/ada/voc/JPEGImages/{0}.jpg /home/ada/voc/SegmentationClass/{0}.png"),
    "of another system": (PAIRED, "", "C:\\data\\JPEGImages\\{0}.jpg"),
    "from the folder around it": (PAIRED, "", "voc/JPEGImages/{0}.jpg"),
    "a dot in front": (PAIRED, "", "./JPEGImages/{0}.jpg"),
    "from the list's own folder": (PAIRED, "splits", "../JPEGImages/{0}.jpg ../SegmentationClass/{0}.png"),
    "beside the folders": (
        "d/JPEGImages/a{0-6}.jpg d/SegmentationClass/a{0-6}.png",
        "d/lists",
        "JPEGImages/{0}.jpg SegmentationClass/{0}.png",
    ),
    "one sub-folder": (
        "JPEGImages/sub/a{0-6}.jpg SegmentationClass/sub/a{0-6}.png",
        "ImageSets/Segmentation",
        "sub/{0}",
    ),
    "blanks in names": (
        "my_images/a{0-6}.jpg my_masks/a{0-6}.png",
        "",
        "my_images/{0}.jpg   my_masks/{0}.png",
    ),
    "images at the top": ("a{0-6}.jpg a{0-6}_mask.png", "", "/mnt/x/{0}.jpg /mnt/x/{0}_mask.png"),
    "one folder, told apart by format": ("x/a{0-6}.jpg x/a{0-6}.bmp", "", "/mnt/x/{0}.jpg /mnt/x/{0}.bmp"),
    "one folder, bare names": ("x/a{0-6}.jpg x/a{0-6}_mask.bmp", "", "{0}.jpg {0}_mask.bmp"),
    "an id beside": ("images/a{0-6}.jpg masks/a{0-6}_m.png", "", "{0}.jpg {0}"),
    "masks that are not there": (
        "images/a{0-6}.jpg masks/a{0-4}.png",
        "",
        "images/{0}.jpg masks/{0}.png",
    ),
}


@pytest.mark.parametrize("case", READ)
def test_lists_are_read_as_the_splits(tmp_path: Path, case: str) -> None:
    tree, folder, line = READ[case]
    root = make(tmp_path, tree, lists(folder, line))
    if case == "blanks in names":
        for name in ("images", "masks"):
            (root / f"my_{name}").rename(root / f"my {name}")
        for path in root.glob("*.txt"):
            path.write_text(path.read_text().replace("my_", "my "))
        layout = find_layout(root, images="my images/*", masks="my masks/*")
    else:
        layout = find_layout(root)
    assert layout.settings["lists"] == (f"{folder}/" if folder else "") + "{split}.txt"
    assert {split: n for split, (n, _) in layout.counts.items()} == {"train": 4, "test": 2}
    if case != "masks that are not there":
        assert layout.settings["test_split"] == "test"
        assert records(root, layout) == {"train": ("a00", "a01", "a02", "a03"), "test": ("a04", "a05")}


def test_a_list_whose_lines_have_classes_behind_is_none(tmp_path: Path) -> None:
    """As of Pascal VOC's ImageSets/Main: 1 and -1 are no masks."""
    root = make(tmp_path, PAIRED, lists("ImageSets/Main", "{0} -1"))
    layout = find_layout(root)
    assert layout.settings["lists"] == ""
    assert any("no image in 2 of 2 lines, as 'a04 -1'" in line for line in layout.lines)


OTHER = "images/a{0-6}.jpg masks/a{0-6}.png fine/a{0-6}.png"


def test_lists_that_name_other_masks_are_refused_with_both_readings(tmp_path: Path) -> None:
    root = make(tmp_path, OTHER, lists("", "images/{0}.jpg fine/{0}.png"))
    with pytest.raises(DataError) as caught:
        find_layout(root)
    assert "names fine/a04.png as the mask of images/a04.jpg, by names it is masks/a04.png" in caught.value.what
    assert "6 of 6 pairs" in caught.value.what
    offered = re.findall(r'data\.masks="([^"]+)"', caught.value.remedy)
    assert offered == ["masks/*", "fine/*"]
    by_names, by_lists = (find_layout(root, masks=masks) for masks in offered)
    assert by_names.settings["masks"] == "masks/*" and by_lists.settings["masks"] == "fine/*"
    assert by_names.settings["lists"] == by_lists.settings["lists"] == "{split}.txt"
    assert any("WARNING: test.txt names fine/a04.png as the mask" in line for line in by_names.lines)
    assert not any("WARNING" in line for line in by_lists.lines)


def test_a_mask_that_is_not_there(tmp_path: Path) -> None:
    root = make(tmp_path, "images/a{0-6}.jpg masks/a{0-6}.png", lists("", "images/{0}.jpg masks/{0}_new.png"))
    with pytest.raises(
        DataError, match=r"names masks/a04_new.png, which is not there, as the mask of images/a04.jpg, "
    ):
        find_layout(root)
    assert find_layout(root, masks="masks/*").counts == {"train": (4, 4), "test": (2, 2)}


def test_masks_that_no_pattern_can_say(tmp_path: Path) -> None:
    root = make(tmp_path, "images/a{0-2}.jpg masks/a{0-2}.png")
    (root / "train.txt").write_text("images/a00.jpg masks/a01.png\nimages/a01.jpg masks/a00.png\n")
    with pytest.raises(DataError) as caught:
        find_layout(root)
    assert 'set data.masks="masks/*"' in caught.value.remedy and "rename" in caught.value.remedy
    assert find_layout(root, masks="masks/*").counts == {"train": (2, 2)}


def test_lists_decide_between_two_readings(tmp_path: Path) -> None:
    tree = "images/a{0-6}.jpg masks/a{0-6}.png labels/a{0-6}.png"
    layout = find_layout(make(tmp_path, tree, lists("", "images/{0}.jpg labels/{0}.png")))
    assert layout.settings["masks"] == "labels/*" and "labels/*" in layout.lines[0]


def test_lists_say_where_the_masks_are(tmp_path: Path) -> None:
    """Folders' names do not."""
    tree = "one/a{0-6}.png two/a{0-6}.png three/a{0-6}.png"
    layout = find_layout(make(tmp_path, tree, lists("", "two/{0}.png three/{0}.png")))
    assert (layout.settings["images"], layout.settings["masks"]) == ("two/*", "three/*")
    assert layout.counts == {"train": (4, 4), "test": (2, 2)}


@pytest.mark.parametrize("pattern", ["{}_list.txt", "list_{}.txt", "sets/{}Set.txt", "{}-ids.txt"])
def test_lists_of_longer_names(tmp_path: Path, pattern: str) -> None:
    names = {"train": "a00\na01\n", "val": "a02\n"}
    root = make(tmp_path, PAIRED, {pattern.format(split): text for split, text in names.items()})
    layout = find_layout(root)
    assert layout.settings["lists"] == pattern.format("{split}")
    assert layout.counts == {"train": (2, 2), "val": (1, 1)}
    assert find_layout(root, lists=layout.settings["lists"]).counts == layout.counts


def test_lists_that_are_read_are_not_passed_over(tmp_path: Path) -> None:
    texts = lists("", "{0}") | {"notes.txt": "a"}
    layout = find_layout(make(tmp_path, PAIRED, texts))
    assert "Files that are no images, passed over: 1 .txt." in layout.lines
    assert layout.skipped == {".txt": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("../images/a00.jpg\n", r"leaves the folder"),
        ("images/../../b/a00.jpg\n", r"leaves the folder"),
        ("/etc/passwd\n", r"lists 1 image \(/etc/passwd\) not found as"),
        ("images/a00.jpg masks/a00.png\nimages/a00.jpg masks/a01.png\n", r"lists 1 id \(a00\) more than once"),
        (" ".join(["a00"] * 5000) + "\n", r"lists 1 image"),
        ("a\x1b00\n", r"control characters"),
    ],
)
def test_lines_that_lie(tmp_path: Path, text: str, message: str) -> None:
    root = make(tmp_path, "images/a{0-2}.jpg masks/a{0-2}.png", {"train.txt": text})
    with pytest.raises(DataError, match=message):
        find_layout(root, lists="{split}.txt")


def test_a_list_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s4al.data.layouts.list_files._MAX_BYTES", 10)
    root = make(tmp_path, "images/a{0-2}.jpg masks/a{0-2}.png", {"train.txt": "images/a00.jpg\n"})
    with pytest.raises(DataError, match="has more than 10 bytes"):
        find_layout(root, lists="{split}.txt")


FOUND = {
    ("", "x/a"): "images/x/a.jpg",
    ("", "y/a"): "images/y/a.jpg",
    ("", "y/b"): "images/y/b.jpg",
    ("", "c"): "c.jpg",
}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("b", "y/b"),
        ("b.png", "y/b"),
        ("a", None),  # two images end so
        ("x/a", "x/a"),
        ("/data/images/x/a.jpg", "x/a"),
        ("/data/x/a.jpg", "x/a"),
        ("/data/z/b.jpg", None),  # another folder: a bare name says too little
        ("/data/c.jpg", "c"),
        ("images//y/./b.jpg", "y/b"),
        ("images\\y\\b.jpg", "y/b"),
        ("", None),
        ("/", None),
    ],
)
def test_what_a_line_names(text: str, key: str | None) -> None:
    assert Names(FOUND).key(text) == (None if key is None else ("", key))


def test_an_image_of_another_split_is_named_by_its_whole_path_alone() -> None:
    names = Names({("train", "a"): "images/train/a.png", ("test", "b"): "images/test/b.png"})
    assert names.key("a", "test") is None
    assert names.key("images/train/a.png", "test") == ("train", "a")
    assert names.key("a", "train") == ("train", "a")
