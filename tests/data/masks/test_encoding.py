"""What masks and class files together mean: settings and printed lines, or the two readings and what decides."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al.config.toml import resolve
from s4al.data.masks import IGNORE, read_mask
from s4al.data.masks.class_files import find_class_table
from s4al.data.masks.encoding import Encoding, build_code, infer_encoding, sample_mask
from s4al.data.masks.settings import class_palette
from s4al.data.palettes import CAMVID, CITYSCAPES, distinct_palette
from s4al.errors import ConfigError, DataError, S4alError
from tests.offers import offered

ROAD, CAR, SKY, BLACK, PINK = (128, 64, 128), (64, 0, 128), (200, 200, 200), (0, 0, 0), (255, 0, 255)
ADE = ("wall", "building", *(f"thing {i}" for i in range(148)))
TWO, THREE = "background\nobject\n", "road\ncar\nsky\n"
DICT = "name,r,g,b\nroad,128,64,128\ncar,64,0,128\nsky,200,200,200\n"
MAP = "road:128,64,128::\ncar:64,0,128::\nsky:200,200,200::\n"


def grey(*values: int, dtype: type = np.uint8) -> Image.Image:
    """A mask of one row that holds these values."""
    return Image.fromarray(np.array([values], dtype))


def rgb(*colours: tuple[int, int, int]) -> Image.Image:
    return Image.fromarray(np.array([colours], np.uint8))


def palette(indices: Sequence[int], colours: Sequence[tuple[int, int, int]]) -> Image.Image:
    image = grey(*indices)
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def smooth(low: int, high: int) -> Image.Image:
    """Two flat halves with a narrow ramp between them."""
    row = np.concatenate([np.full(400, low), np.linspace(low, high, 40), np.full(400, high)])
    return Image.fromarray(np.tile(row.astype(np.uint8), (8, 1)))


def smooth_rgb() -> Image.Image:
    ramp = np.linspace(ROAD, SKY, 50).astype(np.uint8)
    row = np.concatenate([np.full((400, 3), ROAD, np.uint8), ramp, np.full((400, 3), SKY, np.uint8)])
    return Image.fromarray(np.tile(row, (8, 1, 1)))


def black_white(*values: int) -> Image.Image:
    return rgb(*((value,) * 3 for value in values))


@dataclass(frozen=True)
class Case:
    """`says` are pieces of the lines and warnings, or of the error with its remedy."""

    masks: tuple[Image.Image, ...]
    says: tuple[str, ...]
    file: tuple[str, str] | None = None
    set_classes: tuple[str, ...] = ()
    set_values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Good(Case):
    classes: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bad(Case):
    kind: type[S4alError] = DataError


NAMES = ("road", "car", "sky")
FROM_ONE = {"0": "ignore", "1": "road", "2": "car", "3": "sky"}
COLOURS = {"128,64,128": "road", "64,0,128": "car", "200,200,200": "sky"}
VOID_BLACK = {"0,0,0": "ignore"}
CAMVID_VOID = {**{str(i): name for i, name in enumerate(CAMVID)}, "11": "ignore"}
TRAIN_IDS_VOID = {**{str(i): name for i, name in enumerate(CITYSCAPES)}, "19": "ignore"}
LABEL_IDS = {str(id): name for name, (id, _) in CITYSCAPES.items()}

GOOD: dict[str, Good] = {
    # --- values in the order of the names ---
    "identity": Good((grey(0, 1, 2),), ("3 classes from classes.txt: road, car and sky.", "0-2 of 0 to 2 found"),
                     ("classes.txt", THREE), classes=NAMES),
    "identity with 255": Good((grey(0, 1, 2, 255),), ("255 is not labelled (ignore): 25.0 % of the pixels.",),
                              ("classes.txt", THREE), classes=NAMES),
    "16-bit identity": Good((grey(0, 1, 2, dtype=np.uint16),), ("1 mask (PNG, 16-bit grey)",),
                            ("classes.txt", THREE), classes=NAMES),
    "0 and 1": Good((grey(0, 1),), ("0-1 of 0 to 1 found",), ("classes.txt", TWO), classes=("background", "object")),
    "1-bit": Good((grey(0, 255).convert("1"),), ("1 mask (PNG, 1-bit)",), ("classes.txt", TWO),
                  classes=("background", "object")),
    "grey RGB": Good((black_white(0, 1, 2),), ("1 mask (PNG, RGB)",), ("classes.txt", THREE), classes=NAMES),
    "a class that is absent": Good((grey(0, 2),), ("No pixel of car in the 1 mask looked at.",),
                                   ("classes.txt", THREE), classes=NAMES),
    "data.classes alone": Good((grey(0, 1),), ("2 classes from data.classes: a and b.",), set_classes=("a", "b"),
                               classes=("a", "b")),
    "a word for void in data.classes": Good(
        (grey(0, 1, 2),), ("data.classes counts void as a class; if it is none, data.mask_values can",),
        set_classes=("a", "b", "void"), classes=("a", "b", "void")),
    "data.classes in another order than a file of colours": Good(
        (grey(0, 1, 1),), ("2 classes from labelmap.txt: car and road.",),
        ("labelmap.txt", "road:128,64,128::\ncar:64,0,128::\n"), ("car", "road"), classes=("car", "road")),
    "data.classes before the file": Good((grey(0, 1),), ("classes.txt has other classes than data.classes (road, car",),
                                         ("classes.txt", THREE), ("a", "b"), classes=("a", "b")),
    "never 0, but 0 is background": Good((grey(1, 2),), ("1-2 of 0 to 2 found",), ("codes.txt", "Background\na\nb\n"),
                                         classes=("Background", "a", "b")),
    "masks without a label": Good((grey(0, 1), grey(255, 255), grey(0, 255)), ("1 of 3 masks holds no label.",),
                                  ("classes.txt", THREE), classes=NAMES),
    "a word for void in the list": Good(
        (grey(0, 1, 2, 3),), ("void of codes.txt is read as ignore, and is no class.",),
        ("codes.txt", "road\nvoid\ncar\nsky\n"), classes=NAMES,
        values={"0": "road", "1": "ignore", "2": "car", "3": "sky"}),
    "unlabelled first in the list": Good(
        (grey(1, 2, 3),), ("Unlabeled of classes.txt is read as ignore",), ("classes.txt", "Unlabeled\n" + THREE),
        classes=NAMES, values=FROM_ONE),
    # --- black and white ---
    "0 and 255, two classes": Good(
        (grey(0, 255), grey(0, 0)), ("two classes: 0 is background, and 255 is object (25.0 % of the pixels).",),
        ("classes.txt", TWO), classes=("background", "object"), values={"0": "background", "255": "object"}),
    "black and white RGB": Good(
        (black_white(0, 255),), ("255 is object (50.0 % of the pixels)",), ("classes.txt", TWO),
        classes=("background", "object"), values={"0": "background", "255": "object"}),
    "0 and 255, stated as 0 and 1": Good(
        (grey(0, 255),), ("0 is a, and 255 is b",), ("classes.txt", "1 b\n0 a\n"), classes=("b", "a"),
        values={"0": "a", "255": "b"}),
    "black and white, white first in the file": Good(
        (grey(0, 255),), ("read by colour",), ("labelmap.txt", "a:255,255,255::\nb:0,0,0::\n"), classes=("a", "b"),
        values={"255,255,255": "a", "0,0,0": "b"}),
    "black and white RGB, white first in the file": Good(
        (black_white(0, 255),), ("read by colour",), ("labelmap.txt", "a:255,255,255::\nb:0,0,0::\n"),
        classes=("a", "b"), values={"255,255,255": "a", "0,0,0": "b"}),
    "1-bit, white first in the file": Good(
        (grey(0, 255).convert("1"),), ("read by colour",), ("labelmap.txt", "a:255,255,255::\nb:0,0,0::\n"),
        classes=("a", "b"), values={"255,255,255": "a", "0,0,0": "b"}),
    # --- greys up to white ---
    "three greys, three classes": Good(
        (grey(0, 127, 255), grey(0, 0, 127)),
        ("hold 0, 127 and 255, evenly from 0 to 255", "as many names: 0 is road, 127 is car and 255 is sky (16.7 %",
         "If 255 is not labelled, data.mask_values can say so."),
        ("classes.txt", THREE), classes=NAMES, values={"0": "road", "127": "car", "255": "sky"}),
    "three greys, rounded up": Good((grey(0, 128, 255),), ("evenly from 0 to 255",), ("classes.txt", THREE),
                                    classes=NAMES, values={"0": "road", "128": "car", "255": "sky"}),
    "four greys": Good((grey(0, 85, 170, 255),), ("170 is c and 255 is d",), set_classes=tuple("abcd"),
                       classes=tuple("abcd"), values={"0": "a", "85": "b", "170": "c", "255": "d"}),
    "greys, the first is void": Good((grey(0, 128, 255),), ("0 is ignore, 128 is car and 255 is sky",),
                                     ("classes.txt", "void\ncar\nsky\n"), classes=("car", "sky"),
                                     values={"0": "ignore", "128": "car", "255": "sky"}),
    "greys as set": Good((grey(0, 127, 255),), ("3 values of data.mask_values, for 2 classes.",), None, ("a", "b"),
                         {"0": "a", "127": "b", "255": "ignore"}, classes=("a", "b"),
                         values={"0": "a", "127": "b", "255": "ignore"}),
    "0, 1 and 255, three names": Good(
        (grey(0, 1, 255),), ("0-1 of 0 to 2 found.", """if it is sky, set 'data.mask_values={0="road", 1="car", 255=""",
                             "255 is not labelled (ignore): 33.3 %"), ("classes.txt", THREE), classes=NAMES),
    # --- from 1 ---
    "1 to C": Good((grey(1, 2, 3),), ("The masks hold 1 to 3 and there are 3 classes: 1 is road",),
                   ("classes.txt", THREE), classes=NAMES, values=FROM_ONE),
    "0 to C": Good((grey(0, 1, 2, 3),), ("0 is not labelled (ignore), 25.0 % of the pixels.",),
                   ("classes.txt", THREE), classes=NAMES, values=FROM_ONE),
    "0 to C with C + 1 names": Good((grey(0, 1, 2, 3),), ("0-3 of 0 to 3 found",), ("classes.txt", "other\n" + THREE),
                                    classes=("other", *NAMES)),
    # --- stated values ---
    "ids with gaps": Good((grey(7, 26, 23),), ("Values are read as classes.txt states them.",),
                          ("classes.txt", "7 road\n26 car\n23 sky\n"), classes=NAMES,
                          values={"7": "road", "26": "car", "23": "sky"}),
    "Roboflow": Good((grey(0, 1),), ("Values are read as _classes.csv states them.",),
                     ("_classes.csv", "Pixel Value, Class\n0, background\n1, cat\n"), classes=("background", "cat")),
    "ids from 1, and 0": Good((grey(0, 1, 2),), ("0, which classes.txt does not name, is not labelled (ignore): 33",),
                              ("classes.txt", "1 road\n2 car\n"), classes=("road", "car"),
                              values={"1": "road", "2": "car", "0": "ignore"}),
    "a stated void": Good((grey(1, 2, 9, 255),), ("255 is not labelled (ignore): 25.0 %",
                                                       "unknown of classes.txt is read as ignore",),
                          ("classes.txt", "1 road\n2 car\n9 unknown\n"), classes=("road", "car"),
                          values={"1": "road", "2": "car", "9": "ignore"}),
    "16-bit ids": Good((grey(1000, 2000, dtype=np.uint16),), ("1 mask (PNG, 16-bit grey)",),
                       ("classes.txt", "1000,road\n2000,car\n"), classes=("road", "car"),
                       values={"1000": "road", "2000": "car"}),
    "stated values, train ids in another order": Good(
        (grey(7, 26),), ("2 classes from classes.txt: car and road.",), ("classes.txt", "7 road\n26 car\n"),
        ("car", "road"), classes=("car", "road"), values={"7": "road", "26": "car"}),
    # --- published ---
    "CamVid's 11": Good((grey(*range(12)),), ("The names are those of CamVid, where 11 is void (ignore): 8.3 %",),
                        set_classes=tuple(CAMVID), classes=tuple(CAMVID), values=CAMVID_VOID),
    "Cityscapes' 19": Good((grey(*range(20)),), ("Cityscapes' train ids, where 19 is void (ignore): 5.0 %",),
                           set_classes=tuple(CITYSCAPES), classes=tuple(CITYSCAPES), values=TRAIN_IDS_VOID),
    "Cityscapes' label ids": Good(
        (grey(0, 7, 26, 33),), ("The values are Cityscapes' label ids",), set_classes=tuple(CITYSCAPES),
        classes=tuple(CITYSCAPES), values={str(id): LABEL_IDS.get(str(id), "ignore") for id in range(34)}),
    "ADE20K's 0": Good((grey(0, 1, 150), grey(3, 4, 4)), ("where 0 is void (ignore): 16.7 %",), set_classes=ADE,
                       classes=ADE, values={"0": "ignore", **{str(i): name for i, name in enumerate(ADE, 1)}}),
    # --- colours ---
    "colours": Good((rgb(ROAD, CAR, SKY),), ("Masks are read by colour, with the 3 colours of class_dict.csv.",),
                    ("class_dict.csv", DICT), classes=NAMES, values={**COLOURS, **VOID_BLACK}),
    "colours and black": Good((rgb(ROAD, CAR, SKY, BLACK),), ("which labelmap.txt does not name, is ignore: 25.0 %",),
                              ("labelmap.txt", MAP), classes=NAMES, values={**COLOURS, **VOID_BLACK}),
    "black is a class": Good((rgb(ROAD, BLACK),), ("2 classes from labelmap.txt: background and road.",),
                             ("labelmap.txt", "background:0,0,0::\nroad:128,64,128::\n"),
                             classes=("background", "road"), values={"0,0,0": "background", "128,64,128": "road"}),
    "a void colour": Good((rgb(ROAD, CAR, PINK),), ("Void of label_colors.txt is read as ignore",),
                          ("label_colors.txt", "128 64 128 road\n64 0 128 car\n255 0 255 Void\n0 0 0 ground\n"),
                          classes=("road", "car", "ground"),
                          values={"128,64,128": "road", "64,0,128": "car", "255,0,255": "ignore", "0,0,0": "ground"}),
    "colours, and an empty mask in grey": Good((rgb(ROAD, CAR), grey(0, 0)), ("1 of 2 masks holds no label.",),
                                               ("labelmap.txt", MAP), classes=NAMES, values={**COLOURS, **VOID_BLACK}),
    "colours, train ids in another order": Good(
        (rgb(ROAD, CAR, CAR),), ("read by colour",), ("labelmap.txt", "road:128,64,128::\ncar:64,0,128::\n"),
        ("car", "road"), classes=("car", "road"),
        values={"128,64,128": "road", "64,0,128": "car", "0,0,0": "ignore"}),
    # --- palettes ---
    "palette by index": Good((palette([0, 1, 2], [PINK, PINK, PINK]),), ("0-2 of 0 to 2 found",),
                             ("classes.txt", THREE), classes=NAMES),
    "palette in the file's order": Good((palette([0, 1, 2], [ROAD, CAR, SKY]),), ("0-2 of 0 to 2 found",),
                                        ("labelmap.txt", MAP), classes=NAMES),
    "palette in the file's order, 255 in black": Good(
        (palette([0, 1, 255], [BLACK, CAR, *[BLACK] * 254]),), ("255 is not labelled (ignore): 33.3 %",),
        ("labelmap.txt", "background:0,0,0::\ncar:64,0,128::\n"), classes=("background", "car")),
    "palette in another order": Good((palette([0, 1, 2, 3], [BLACK, SKY, ROAD, CAR]),),
                                     ("read by colour", "The palette has these colours, in another order."),
                                     ("labelmap.txt", MAP), classes=NAMES, values={**COLOURS, **VOID_BLACK}),
    "palette of other colours": Good((palette([0, 1, 2], [PINK, BLACK, SKY]),), ("0-2 of 0 to 2 found",),
                                     ("labelmap.txt", MAP), classes=NAMES),
    "palette by stated value": Good((palette([7, 9], [ROAD] * 10),), ("as classes.txt states them",),
                                    ("classes.txt", "7,road,128,64,128\n9,car,64,0,128\n"), classes=("road", "car"),
                                    values={"7": "road", "9": "car"}),
    # --- as set ---
    "set values": Good((grey(0, 5, 255),), ("2 values of data.mask_values, for 2 classes.",), ("classes.txt", THREE),
                       set_values={"5": "a", "0": "b"}, classes=("a", "b"), values={"5": "a", "0": "b"}),
    "set values and classes": Good((grey(0, 5, 6),), ("3 values of data.mask_values, for 2",), None, ("b", "a"),
                                   {"5": "a", "0": "b", "6": "a"}, classes=("b", "a"),
                                   values={"5": "a", "0": "b", "6": "a"}),
    "set 255": Good((grey(0, 255),), ("2 values of data.mask_values", "There is one class only (a)"), None,
                    set_values={"0": "ignore", "255": "a"}, classes=("a",), values={"0": "ignore", "255": "a"}),
    "set colours, of a palette": Good((palette([0, 1], [ROAD, CAR]),), ("2 colours of data.mask_values",), None,
                                      set_values={"#804080": "road", "64,0,128": "car"}, classes=("road", "car"),
                                      values={"#804080": "road", "64,0,128": "car"}),
}  # fmt: skip

BAD: dict[str, Bad] = {
    # --- without names ---
    "no names": Bad((grey(0, 1, 2),), ("hold the values 0-2, and no class is named",
                                       """'data.classes=["name-of-0", "name-of-1", "name-of-2"]'"""), kind=ConfigError),
    "no names, 0 and 1": Bad((grey(0, 1),), ("""'data.classes=["background", "object"]'""",), kind=ConfigError),
    "no names, 0 and 255": Bad((grey(0, 255),), ("""'data.classes=["background", "object"]'""",), kind=ConfigError),
    "no names, gaps": Bad((grey(0, 7, 255),), ("""{0="name-of-0", 7="name-of-7", 255="name-of-255"}'""",
                                               """{0="name-of-0", 7="name-of-7", 255="ignore"}'""", "its name a line"),
                          kind=ConfigError),
    "no names, 0 to 2 and 255": Bad((grey(0, 1, 2, 255),), ("""'data.classes=["name-of-0", "name-of-1", "name""",
                                                       "255 is read as not labelled, unless data.mask_values names it"),
                                    kind=ConfigError),
    "no names, colours": Bad((rgb(ROAD, ROAD, CAR),),
                             ("128,64,128 (66.7 % of the pixels), 64,0,128 (33.3 % of the pixels)",
                              """'data.mask_values={"128,64,128"="name-1", "64,0,128"="name-2"}'"""), kind=ConfigError),
    "names, but no colours": Bad((rgb(ROAD, CAR, SKY),), ("nothing says which class each colour is",),
                                 ("classes.txt", THREE), kind=ConfigError),
    "some classes of the file": Bad((rgb(ROAD, CAR, SKY),), ("""{"64,0,128"="ignore", "128,64,128"="road", """,),
                                    ("labelmap.txt", MAP), ("road", "sky"), kind=ConfigError),
    # --- black and white ---
    "0 and 255, three classes": Bad((grey(0, 255),), ("255 may be a class, or not labelled",
                                                      """{0="road", 1="car", 255="sky"}'""",
                                                      """{0="road", 1="car", 2="sky", 255="ignore"}'"""),
                                    ("classes.txt", THREE)),
    "0 and 255, one class": Bad((grey(0, 255),), ("names 1 class (crack)",
                                                  """'data.mask_values={0="background", 255="crack"}'"""),
                                ("classes.txt", "crack\n")),
    "0 and 255, other stated values": Bad((grey(0, 255),), ("255 may be a class",), ("classes.txt", "1 a\n2 b\n")),
    "0, 1 and 0, 255": Bad((grey(0, 1), grey(0, 255)), ("others 0 and 255 (1.png)", "255 may be object",
                                                        """{0="background", 1="object", 255="object"}"""),
                           ("classes.txt", TWO)),
    "255 only": Bad((grey(255, 255), grey(255, 255)), ("None of the 2 masks looked at holds a label",
                                                        "if 255 is a class, such as object, set 'data.mask_val"),
                    ("classes.txt", TWO)),
    "ignore only": Bad((rgb(BLACK, BLACK), rgb(PINK, PINK)), ("None of the 2 masks looked at holds a label",),
                       ("labelmap.txt", MAP + "void:255,0,255::\n")),
    # --- counts ---
    "one class, 0 and 1": Bad((grey(0, 1),), ("hold 0-1, and classes.txt names 1 class (crack)",
                                              """'data.mask_values={0="background", 1="crack"}'"""),
                              ("classes.txt", "crack\n")),
    "0 to C, but 0 is background": Bad((grey(0, 1, 2),), ("names may be missing", "0 may be not labelled",
                                                          """["background", "object", "name-of-2"]"""),
                                       ("classes.txt", TWO)),
    "never 0": Bad((grey(1, 2),), ("hold 1-2 and never 0", "road may be 0 and not be in these masks, or be 1",
                                   """{0="road", 1="car", 2="sky"}""", """{0="ignore", 1="road", 2="car", 3="sky"}"""),
                   ("classes.txt", THREE)),
    "gaps, as many as names": Bad((grey(0, 7, 26),), ("in the order of the values", "names may be missing",
                                                      """'data.mask_values={0="road", 7="car", 26="sky"}'"""),
                                  ("classes.txt", THREE)),
    "gaps, up to C": Bad((grey(0, 3),), ("2 values (0 and 3)", "0 may be not labelled and 1 the first class",
                                         """{0="road", 1="car", 2="sky", 3="name-of-3"}"""),
                         ("classes.txt", THREE)),
    # --- greys ---
    "greys, one not in the masks": Bad((grey(0, 128),), ("2 values (0 and 128)", "greys from 0 to 255",
                                                       """{0="road", 128="car", 255="sky"}"""), ("classes.txt", THREE)),
    "greys, a name missing": Bad((grey(0, 127, 255),), (
        "3 values (0, 127 and 255), and classes.txt names 2", "in the order of the values", "255 may be a class",
        """{0="background", 127="object", 255="ignore"}""",
        """{0="background", 127="object", 255="name-of-255"}"""), ("classes.txt", TWO)),
    "as many values as names with 255, no greys": Bad((grey(0, 7, 255),), (
        "255 may be a class", """{0="road", 7="car", 255="sky"}""", "names may be missing",
        """{0="road", 1="car", 2="sky", 7="name-of-7", 255="ignore"}"""), ("classes.txt", THREE)),
    "never 0, and 255": Bad((grey(1, 2, 255),), ("hold 1-2 and 255 and never 0",
                                                  """{0="road", 1="car", 2="sky", 255="ignore"}""",
                                                  """2="car", 3="sky", 255="ignore"}"""), ("classes.txt", THREE)),
    "numbers of objects": Bad((grey(*range(0, 4000, 40), dtype=np.uint16),), (
        "99 values that nothing gives a meaning to, 40 in 0.png", "numbers of objects", "Set data.masks"),
        ("classes.txt", THREE)),
    "numbers of objects, no names": Bad((grey(*range(0, 4000, 40), dtype=np.uint16),), ("numbers of objects",)),
    "colours of objects": Bad((rgb(*((i, 2 * i, 99) for i in range(70))),), ("70 colours that nothing gives",)),
    "more values than names": Bad((grey(0, 1, 2, 3, 4),), ("5 values (0-4)", "names may be missing",
                                                           "some values may be no class", """4="ignore"}"""),
                                  ("classes.txt", THREE)),
    "void that is not known": Bad((grey(0, 1, 2, 99),), ("4 values (0-2 and 99)", """99="ignore"}"""),
                                  ("classes.txt", THREE)),
    "16-bit values without a mapping": Bad((grey(0, 300, dtype=np.uint16),), ("2 values (0 and 300)",),
                                           ("classes.txt", TWO)),
    "not in the stated values": Bad((grey(7, 23, 23, 9),), ("mask 0.png holds the value 9 at 1 pixel, which is not in",
                                                           "classes.txt (nor is 23)", """23="ignore"}"""),
                                    ("classes.txt", "7 road\n8 car\n")),
    # --- colours ---
    "a colour that is not in the file": Bad((rgb(ROAD, CAR), rgb(ROAD, (65, 1, 128))), (
        "mask 1.png holds the colour 65,1,128 at 1 pixel, without a meaning in labelmap.txt",
        "the nearest known colour is 64,0,128 = car",
        "Add it to labelmap.txt; or", """"65,1,128"="ignore"}"""), ("labelmap.txt", MAP)),
    "16-bit beside colours": Bad((rgb(ROAD, CAR), grey(0, 500, dtype=np.uint16)), ("mask 1.png (16-bit grey)",),
                                 ("labelmap.txt", MAP)),
    # --- smoothed ---
    "smoothed grey": Bad((smooth(0, 255),), ("mask 0.png holds", "different 8-bit grey values, most of them rare",
                                             "resized or saved with smoothing"), ("classes.txt", TWO)),
    "smoothed grey without names": Bad((smooth(0, 200),), ("resized or saved with smoothing",)),
    "smoothed grey, stated": Bad((smooth(0, 200),), ("saved with smoothing",), ("classes.txt", "0 a\n200 b\n")),
    "smoothed colours": Bad((smooth_rgb(),), ("different RGB values, most of them rare",), ("labelmap.txt", MAP)),
    # --- as set ---
    "set, but unknown": Bad((grey(0, 5),), ("mask 0.png holds the value 5 at 1 pixel, without a meaning in",),
                            set_values={"0": "a", "1": "b"}),
    "set by value, masks with colours": Bad((rgb(ROAD),), ("and mask 0.png is a picture with colours (RGB)",),
                                            set_values={"0": "a"}, kind=ConfigError),
    "set by colour, 16-bit masks": Bad((grey(999, dtype=np.uint16),), ("gives colours, and mask 0.png is without",),
                                       set_values={"#000000": "a"}, kind=ConfigError),
    "set to a name that is no class": Bad((grey(0, 1),), ("reads '1' as 'rode', which is not in data.classes",
                                                         "Did you mean 'road'?"), None, ("road",),
                                          {"0": "road", "1": "rode"}, kind=ConfigError),
}  # fmt: skip


def infer(case: Case, folder: Path) -> Encoding:
    for i, mask in enumerate(case.masks):
        mask.save(folder / f"{i}.png")
    if case.file:
        (folder / case.file[0]).write_text(case.file[1], encoding="utf-8")
    samples = [sample_mask(folder / f"{i}.png", f"{i}.png", max_megapixels=1) for i in range(len(case.masks))]
    return infer_encoding(samples, find_class_table(folder), case.set_classes, case.set_values)


@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_known_is_said_and_stored(name: str, tmp_path: Path) -> None:
    case = GOOD[name]
    encoding = infer(case, tmp_path)
    assert (encoding.classes, encoding.mask_values) == (case.classes, case.values)
    told = "\n".join((*encoding.lines, *encoding.warnings))
    for piece in case.says:
        assert piece in told
    assert encoding.palette.shape == (len(case.classes), 3)
    # What is stored reads every mask that was looked at, and the table is what it reads.
    code = build_code(encoding.classes, encoding.mask_values)
    masks = [read_mask(tmp_path / f"{i}.png", code, len(case.classes), m.size[::-1]) for i, m in enumerate(case.masks)]
    ids, counts = np.unique(np.concatenate([mask.ravel() for mask in masks]), return_counts=True)
    told_pixels: dict[int, int] = {}
    for row in encoding.values:
        id = IGNORE if row.meaning == "ignore" else case.classes.index(row.meaning)
        told_pixels[id] = told_pixels.get(id, 0) + row.pixels
    assert told_pixels == dict(zip(ids.tolist(), counts.tolist(), strict=True))
    assert sum(row.share for row in encoding.values) == pytest.approx(1)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_known_is_refused_with_the_setting_that_decides(name: str, tmp_path: Path) -> None:
    case = BAD[name]
    with pytest.raises(S4alError) as caught:
        infer(case, tmp_path)
    assert type(caught.value) is case.kind
    assert caught.value.what.endswith(".") and caught.value.remedy.endswith((".", "?"))
    for piece in case.says:
        assert piece in str(caught.value)


def test_the_settings_that_are_offered_can_be_given(tmp_path: Path) -> None:
    """Each line that an error offers is one that the configuration reads and that settles the matter."""
    settled = 0
    for name, case in BAD.items():
        with pytest.raises(S4alError) as caught:
            infer(case, tmp_path)
        if case.file:
            (tmp_path / case.file[0]).unlink()
        for setting in offered(caught.value.remedy):
            config = resolve(overrides=[setting]).data
            encoding = infer(Case(case.masks, (), None, config.classes, dict(config.mask_values)), tmp_path)
            assert set(encoding.classes) == set(config.classes or config.mask_values.values()) - {"ignore"}, name
            settled += 1
    assert settled >= 40


def test_the_other_reading_that_a_line_offers_can_be_given(tmp_path: Path) -> None:
    case = GOOD["0, 1 and 255, three names"]
    (setting,) = offered("\n".join(infer(case, tmp_path).lines))
    config = resolve(overrides=[setting]).data
    encoding = infer(Case(case.masks, (), None, config.classes, dict(config.mask_values)), tmp_path)
    assert encoding.classes == NAMES and encoding.mask_values == {"0": "road", "1": "car", "255": "sky"}


def test_long_offers_are_whole(tmp_path: Path) -> None:
    """Two hundred names in the order of as many values with gaps: every one of them is in the setting."""
    names = [f"kind {i}" for i in range(200)]
    case = Case((grey(*[0] * 200, *range(0, 400, 2), dtype=np.uint16),), (), ("classes.txt", "\n".join(names)))
    with pytest.raises(DataError) as caught:
        infer(case, tmp_path)
    settings = [resolve(overrides=[setting]).data for setting in offered(caught.value.remedy)]
    assert list(settings[0].mask_values.values()) == names and "..." not in caught.value.remedy


def test_the_table_of_values(tmp_path: Path) -> None:
    encoding = infer(Case((rgb(SKY, ROAD, ROAD, BLACK),), (), ("labelmap.txt", MAP)), tmp_path)
    rows = [(row.value, row.colour, row.meaning, row.pixels, row.share) for row in encoding.values]
    assert rows == [
        ("128,64,128", ROAD, "road", 2, 0.5),
        ("200,200,200", SKY, "sky", 1, 0.25),
        ("0,0,0", BLACK, "ignore", 1, 0.25),
    ]
    assert encoding.palette.tolist() == [list(ROAD), list(CAR), list(SKY)]
    by_value = infer(Case((grey(2, 0, 255, 0),), (), ("labelmap.txt", MAP)), tmp_path)
    assert [(row.value, row.colour, row.meaning) for row in by_value.values] == [
        ("0", ROAD, "road"),
        ("2", SKY, "sky"),
        ("255", BLACK, "ignore"),
    ]


def test_a_palette_of_classes_without_colours_is_made_up(tmp_path: Path) -> None:
    encoding = infer(Case((grey(0, 1),), (), ("classes.txt", TWO)), tmp_path)
    np.testing.assert_array_equal(encoding.palette, distinct_palette(2))
    assert class_palette(("road", "sky"), {}).tolist() == [list(CAMVID["road"]), list(CAMVID["sky"])]
    assert class_palette(("terrain", "sky"), {}).tolist() == [[152, 251, 152], [70, 130, 180]]
    assert class_palette(("b", "a"), {"1,2,3": "a", "4,5,6": "a", "#010101": "b"}).tolist() == [[1, 1, 1], [1, 2, 3]]


def test_no_masks() -> None:
    with pytest.raises(DataError, match="There is no mask to look at"):
        infer_encoding([], None)


def test_files_that_agree_are_said(tmp_path: Path) -> None:
    (tmp_path / "codes.txt").write_text(THREE)
    encoding = infer(Case((rgb(ROAD, CAR),), (), ("labelmap.txt", MAP)), tmp_path)
    assert any("codes.txt agrees with it and says no more." in line for line in encoding.lines)


# --- the settings ---


def test_code_of_settings() -> None:
    code = build_code((), {"7": "a", " 300 ": "b", "0": "ignore", "8": "a"})
    assert code.class_names == ("a", "b")
    assert code.values[[7, 8, 300, 0, 255, 1]].tolist() == [0, 0, 1, 255, 255, -1]
    assert not code.colours
    colours = build_code(("b", "a"), {"128, 64,0": "a", "#0000fF": "b", "#000000": "ignore"})
    assert colours.colours == {(128, 64, 0): 1, (0, 0, 255): 0, (0, 0, 0): 255}
    identity = build_code(("a", "b"), {})
    assert identity.values[[0, 1, 2, 255]].tolist() == [0, 1, -1, 255]
    assert build_code(("a", "b"), {"0": "a", "255": "b"}).values[255] == 1


@pytest.mark.parametrize(
    ("classes", "mask_values", "says"),
    [
        ((), {}, "needs class names"),
        (("a",), {"seven": "a"}, "the key 'seven', which is neither a value from 0 to 65535 nor a colour"),
        (("a",), {"65536": "a"}, "the key '65536'"),
        (("a",), {"-1": "a"}, "the key '-1'"),
        (("a",), {"1,2": "a"}, "the key '1,2'"),
        (("a",), {"1,2,256": "a"}, "the key '1,2,256'"),
        (("a",), {"#12345": "a"}, "the key '#12345'"),
        (("a",), {"١": "a"}, "which is neither"),
        (("a", "b"), {"7": "a", "07": "b"}, "gives '07' two meanings, 'a' and 'b'"),
        (("a", "b"), {"#000000": "a", "0,0,0": "b"}, "gives '0,0,0' two meanings, 'a' and 'b'"),
        (("a",), {"7": "a", "1,2,3": "a"}, "mixes values (7) and colours (1,2,3)"),
        (("a",), {"7": "Ignore"}, "reads '7' as 'Ignore', which is not in data.classes. Did you mean 'ignore'?"),
        (("a", "a"), {}, "2 class names, 1 of them different"),
        (("a", "ignore"), {}, "data.classes has the name 'ignore', which no class can have"),
        (("a", ""), {}, "data.classes has the name ''"),
        ((), {"0": "ignore"}, "needs class names"),
        (tuple(f"{i}" for i in range(255)), {}, "255 class names; up to 254 can be had"),
    ],
)
def test_settings_that_cannot_be_used(classes: tuple[str, ...], mask_values: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_code(classes, mask_values)
    assert says in str(caught.value)


def test_254_classes(tmp_path: Path) -> None:
    code = build_code(tuple(f"class {i}" for i in range(254)), {})
    grey(0, 253, 255).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png", code, 254, (1, 3)).tolist() == [[0, 253, 255]]


def test_names_are_quoted_in_settings(tmp_path: Path) -> None:
    case = Case((grey(0, 255),), (), ("classes.txt", 'it\'s "odd"\nb\nc\n'))
    with pytest.raises(DataError) as caught:
        infer(case, tmp_path)
    setting = offered(caught.value.remedy)[0]
    assert tomllib.loads(setting)["data"]["mask_values"] == {"0": 'it\'s "odd"', "1": "b", "255": "c"}
