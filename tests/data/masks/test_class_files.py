"""Class files as other tools write them, and what people make of them in an editor."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from s4al.data.masks.class_files import ClassEntry, find_class_table, read_class_table
from s4al.errors import DataError

ROAD, SKY = (128, 64, 128), (70, 130, 180)
PLAIN = (ClassEntry("road"), ClassEntry("sky"))
VALUED = (ClassEntry("road", 7), ClassEntry("sky", 23))
COLOURED = (ClassEntry("road", None, ROAD), ClassEntry("sky", None, SKY))
FULL = (ClassEntry("road", 7, ROAD), ClassEntry("sky", 23, SKY))


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


READ: dict[str, tuple[str, str | bytes, tuple[ClassEntry, ...]]] = {
    "CVAT": ("labelmap.txt", "# label:color_rgb:parts:actions\nroad:128,64,128::\nsky:70,130,180::\n", COLOURED),
    "CVAT without colours": ("labelmap.txt", "road:::\nsky:::\n", PLAIN),
    "CVAT, parts and actions": ("labelmap.txt", "road:128,64,128:lane,kerb:\nsky:70,130,180::a,b\n", COLOURED),
    "CVAT, a colon in a name": ("labelmap.txt", "a:b:1,2,3::\n", (ClassEntry("a:b", None, (1, 2, 3)),)),
    "labelmap of names": ("labelmap.txt", "road\nsky\n", PLAIN),
    "Kaggle": ("class_dict.csv", "name,r,g,b\nroad,128,64,128\nsky,70,130,180\n", COLOURED),
    "Kaggle, other order": ("class_dict.csv", "Red, Green, Blue, Class\n128,64,128,road\n70,130,180,sky\n", COLOURED),
    "Kaggle, quoted": ("class_dict.csv", '"name","r","g","b"\n"road","128","64","128"\n"sky",70,130,180\n', COLOURED),
    "Kaggle, more columns": ("class_dict.csv", "id;name;used;r;g;b\n7;road;;128;64;128\n23;sky;;70;130;180\n", FULL),
    "Roboflow": ("_classes.csv", "Pixel Value, Class\n7, road\n23, sky\n", VALUED),
    "CamVid, tabs": ("label_colors.txt", "128 64 128\t\troad\n70 130 180\t\tsky\n", COLOURED),
    "CamVid, spaces": ("label_colors.txt", "128 64 128 road\n70  130 180  sky\n", COLOURED),
    "CamVid, name first": ("label_colors.txt", "road 128 64 128\nsky\t70\t130\t180\n", COLOURED),
    "CamVid, commas": ("label_colors.txt", "128,64,128,road\n70, 130, 180, sky\n", COLOURED),
    "CamVid, names of words": (
        "label_colors.txt",
        "128 64 128\tmain road\n70 130 180 open sky\n",
        (ClassEntry("main road", None, ROAD), ClassEntry("open sky", None, SKY)),
    ),
    "fastai": ("codes.txt", "road\nsky\n", PLAIN),
    "fastai, whatever a name holds": (
        "codes.txt",
        "1 road\nsky, open\n",
        (ClassEntry("1 road"), ClassEntry("sky, open")),
    ),
    "names": ("classes.txt", "road\nsky\n", PLAIN),
    "value name": ("classes.txt", "7 road\n23 sky\n", VALUED),
    "value: name": ("classes.txt", "7: road\n23: sky\n", VALUED),
    "value,name": ("classes.txt", "7,road\n23, sky\n", VALUED),
    "name,value": ("classes.txt", "road,7\nsky, 23\n", VALUED),
    "value tab name": ("classes.txt", "7\troad\n23\tsky\n", VALUED),
    "value,name,r,g,b": ("classes.txt", "7,road,128,64,128\n23,sky,70,130,180\n", FULL),
    "value name r g b": ("classes.txt", "7 road 128 64 128\n23 sky 70 130 180\n", FULL),
    "value,r,g,b,name": ("classes.txt", "7,128,64,128,road\n23,70,130,180,sky\n", FULL),
    "name,r,g,b": ("classes.txt", "road,128,64,128\nsky,70,130,180\n", COLOURED),
    "names that end in a number": ("classes.txt", "road 1\nroad 2\n", (ClassEntry("road 1"), ClassEntry("road 2"))),
    "names in quotes": ("classes.txt", "\"2 wheels\"\n'sky'\n", (ClassEntry("2 wheels"), ClassEntry("sky"))),
    "a value and a name in quotes": ("classes.txt", '0 "2 wheels"\n', (ClassEntry("2 wheels", 0),)),
    "byte order mark": ("classes.txt", b"\xef\xbb\xbfroad\nsky\n", PLAIN),
    "CRLF, blank lines, comments": ("classes.txt", "# mine\r\n\r\nroad\r\n  # more\r\n   \r\n  sky  \r\n\r\n", PLAIN),
    "old Mac line ends, none at the end": ("classes.txt", "road\rsky", PLAIN),
    "umlauts, composed": ("classes.txt", "Ba\u0308ume\n", (ClassEntry("B\u00e4ume"),)),
    "another name of file": ("mine.csv", "7,road\n23,sky\n", VALUED),
}


@pytest.mark.parametrize("kind", READ)
def test_forms(kind: str, tmp_path: Path) -> None:
    name, text, expected = READ[kind]
    table = read_class_table(write(tmp_path, name, text))
    assert table.entries == expected
    assert table.path == tmp_path / name
    assert table.has_values == (expected[0].value is not None)
    assert table.has_colours == (expected[0].colour is not None)


REFUSED: dict[str, tuple[str, str | bytes, str]] = {
    "empty": ("classes.txt", "", "classes.txt holds no class names"),
    "comments only": ("classes.txt", "# a\n\n", "classes.txt holds no class names"),
    "header only": ("class_dict.csv", "name,r,g,b\n", "class_dict.csv holds no class names"),
    "UTF-16": ("classes.txt", "road\n".encode("utf-16"), "classes.txt is UTF-16 text; class files are UTF-8"),
    "Latin-1": ("classes.txt", b"road\nB\xe4ume\n", "classes.txt, line 2: not UTF-8 text"),
    "twice": ("classes.txt", "road\n\nsky\nroad\n", "classes.txt, line 4: the name 'road' is on line 1 too"),
    "value twice": ("classes.txt", "7 road\n7 sky\n", "line 2: the value 7 is on line 1 too"),
    "colour twice": (
        "class_dict.csv",
        "name,r,g,b\na,1,2,3\nb,1,2,3\n",
        "line 3: the colour (1, 2, 3) is on line 2 too",
    ),
    "some with values": ("classes.txt", "0 road\nsky\n", "line 2: 'sky' has no value, unlike the line before"),
    "some without": ("classes.txt", "sky\n2 wheels\n", "line 2: 'wheels' has a value, unlike the line before"),
    "some with colours": ("labelmap.txt", "road:1,2,3::\nsky:::\n", "line 2: 'sky' has no colour, unlike"),
    "no name": ("classes.txt", "0\n1\n", "line 1: has no class name"),
    "CVAT, no name": ("labelmap.txt", ":1,2,3::\n", "line 1: has no class name"),
    "two numbers": ("classes.txt", "1 2 road\n", "line 1: '1 2 road' is not understood"),
    "two names": ("classes.txt", "road, lane, 7\n", "line 1: 'road, lane, 7' has two names"),
    "CVAT, and a name alone": ("labelmap.txt", "road:1,2,3::\nsky\n", "line 2: 'sky' is not understood"),
    "colour beyond 255": (
        "labelmap.txt",
        "road:128,64,256::\n",
        "'256' is not a colour's number, which is from 0 to 255",
    ),
    "colour of words": ("labelmap.txt", "road:red,0,0::\n", "'red' is not a colour's number"),
    "half a colour": ("labelmap.txt", "road:128,64::\n", "'road' has 2 of the three numbers of a colour"),
    "value beyond 16 bits": ("classes.txt", "65536 road\n", "'65536' is not a mask's value, which is from 0 to 65535"),
    "huge number": ("classes.txt", "1" * 900 + " road\n", "is not a mask's value"),
    "too few columns": ("class_dict.csv", "name,r,g,b\nroad,1\n", "line 2: has 2 columns, and the first line names 4"),
    "control characters": (
        "classes.txt",
        "ro\x1b[31mad\n",
        "line 1: the name 'ro\\x1b[31mad' holds control characters",
    ),
    "a long line": ("classes.txt", "a\n" + "b" * 5000, "line 2: 5,000 characters, which is no class"),
    "many lines": ("classes.txt", "a\n" * 5000, "has 5,001 lines; a class file has one for each class"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals_name_file_and_line(kind: str, tmp_path: Path) -> None:
    name, text, expected = REFUSED[kind]
    with pytest.raises(DataError) as caught:
        read_class_table(write(tmp_path, name, text))
    assert caught.value.what.startswith(str(tmp_path / name)) and expected in caught.value.what
    assert caught.value.remedy


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"classes.txt: cannot be read \(No such file"):
        read_class_table(tmp_path / "classes.txt")
    os.mkfifo(tmp_path / "classes.txt")
    with pytest.raises(DataError, match=r"classes.txt: not a regular file\."):
        read_class_table(tmp_path / "classes.txt")


@pytest.mark.parametrize(
    "name",
    [
        "void",
        "Void",
        "unlabelled",
        "Unlabeled",
        "ignore",
        "__ignore__",
        "ignored",
        "unknown",
        "don't care",
        "dont_care",
    ],
)
def test_words_for_no_class(name: str, tmp_path: Path) -> None:
    table = read_class_table(write(tmp_path, "classes.txt", f"road\n{name}\navoid\n"))
    assert table.names == ("road", "avoid")
    assert [entry.is_class for entry in table.entries] == [True, False, True]


def test_whatever_the_bytes_are_it_is_read_or_refused(tmp_path: Path) -> None:
    generator, verdicts = random.Random(0), {"read": 0, "refused": 0}
    pieces = ["road", "sky", "7", "300", "1,2,3", ",", ";", "\t", " ", ":", '"', "'", "#", "\n", "\r", "\0", "\udcff"]
    for turn in range(600):
        name = ("labelmap.txt", "class_dict.csv", "classes.txt", "codes.txt")[turn % 4]
        text = "".join(generator.choices(pieces, k=generator.randrange(1, 12)))
        path = write(tmp_path, name, text.encode("utf-8", "surrogateescape"))
        try:
            assert read_class_table(path).entries
            verdicts["read"] += 1
        except DataError as error:
            assert str(path) in error.what
            verdicts["refused"] += 1
    assert min(verdicts.values()) > 50


# --- finding ---


def test_no_class_file(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "a\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    write(tmp_path, "a/b/classes.txt", "too deep\n")
    assert find_class_table(tmp_path) is None


def test_root_comes_before_its_folders_and_case_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, "sub/classes.txt", "other\n")
    table = find_class_table(tmp_path)
    assert table is not None and table.names == ("other",)
    write(tmp_path, "Classes.TXT", "road\nsky\n")
    write(tmp_path, ".cache/classes.txt", "hidden\n")
    table = find_class_table(tmp_path)
    assert table is not None and (table.names, table.note) == (("road", "sky"), "")


def test_of_files_that_agree_the_one_that_says_more_is_taken(tmp_path: Path) -> None:
    names = write(tmp_path, "codes.txt", "road\nsky\n")
    dictionary = write(tmp_path, "class_dict.csv", "name,r,g,b\nroad,128,64,128\nsky,70,130,180\n")
    table = find_class_table(tmp_path)
    assert table is not None and (table.path, table.entries) == (dictionary, COLOURED)
    assert table.note == f"{names} agrees with it and says no more."
    full = write(tmp_path, "classes.txt", "7,road,128,64,128\n23,sky,70,130,180\n")
    table = find_class_table(tmp_path)
    assert table is not None and (table.path, table.entries) == (full, FULL)
    assert table.note == f"{dictionary}, {names} agree with it and say no more."


def test_the_same_file_in_every_split(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        write(tmp_path, f"{split}/_classes.csv", "Pixel Value, Class\n7, road\n23, sky\n")
    table = find_class_table(tmp_path)
    assert table is not None and (table.path, table.entries) == (tmp_path / "test" / "_classes.csv", VALUED)
    assert "agree with it" in table.note


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("codes.txt", "sky\nroad\n"),
        ("codes.txt", "road\nsky\ntree\n"),
        ("classes.txt", "8 road\n23 sky\n"),
        ("label_colors.txt", "128 64 128 road\n70 130 181 sky\n"),
    ],
)
def test_files_that_disagree_are_both_named(name: str, text: str, tmp_path: Path) -> None:
    first = write(tmp_path, "class_dict.csv", "id,name,r,g,b\n7,road,128,64,128\n23,sky,70,130,180\n")
    other = write(tmp_path, name, text)
    with pytest.raises(DataError) as caught:
        find_class_table(tmp_path)
    assert f"Two class files disagree: {first} (2 names: road, sky) and {other} (" in caught.value.what
    assert "data.classes" in caught.value.remedy and "data.mask_values" in caught.value.remedy
