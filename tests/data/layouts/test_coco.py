"""COCO's annotations: shapes against a slow reference and by hand, whole folders, and files that lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from s4al.config import Config, resolve
from s4al.data import Dataset, open_dataset, verify_sources
from s4al.data.headers import Refused
from s4al.data.ingest import ingest, oracle_mask
from s4al.data.layouts.find import find_layout
from s4al.data.layouts.shapes import decode_counts, decode_shape, fill_polygon, fill_runs, paint
from s4al.data.masks import read_mask
from s4al.errors import ConfigError, DataError, MaskError

HEIGHT, WIDTH = 6, 8
Save = Callable[[Path, np.ndarray], Path]


# --- run lengths ---


def runs_of(mask_HW: NDArray[np.bool_]) -> list[int]:
    """The slow way: pixel by pixel, down the columns."""
    counts, current = [0], False
    for pixel in mask_HW.T.reshape(-1).tolist():
        if pixel != current:
            counts.append(0)
            current = pixel
        counts[-1] += 1
    return counts


def compress(counts: list[int]) -> str:
    """The published encoder, as its documentation describes it."""
    text = ""
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            text += chr((bits | 32 if more else bits) + 48)
    return text


@pytest.mark.parametrize("seed", range(12))
def test_run_lengths_there_and_back(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 90, 2).tolist()
    mask_HW = generator.random((height, width)) < generator.random()
    if seed % 2:  # long runs
        mask_HW = np.repeat(np.repeat(mask_HW, 7, axis=0), 5, axis=1)
        height, width = mask_HW.shape
    counts = runs_of(mask_HW)
    assert np.array_equal(fill_runs(counts, height, width), mask_HW)
    assert decode_counts(compress(counts), height * width + 1) == counts
    for form in (counts, compress(counts)):
        assert np.array_equal(decode_shape({"size": [height, width], "counts": form}, height, width), mask_HW)


def test_run_lengths_by_hand() -> None:
    # down the first column 1 zero, then 2 ones, which end it; then 1 zero, 1 one, 1 zero
    assert fill_runs([1, 2, 1, 1, 1], 3, 2).astype(int).tolist() == [[0, 0], [1, 1], [1, 0]]
    assert fill_runs([0, 4], 2, 2).all() and not fill_runs([4], 2, 2).any()


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("0", [0]),
        ("5", [5]),
        ("?", [15]),
        ("`0", [16]),  # 16 has the sign's bit: a second group says that it is positive: 110000, 000000
        ("o0", [31]),
        ("P1", [32]),
        ("T3", [100]),  # 00100 and more, 00011: 4 + 3 * 32
        ("1234", [1, 2, 3, 6]),  # the fourth is 4 more than the second
        ("565O", [5, 6, 5, 5]),  # O is 11111, -1
    ],
)
def test_compressed_counts_by_hand(text: str, counts: list[int]) -> None:
    assert decode_counts(text, 100) == counts
    assert compress(counts) == text


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "neither polygons nor run lengths"),
        ("6", "neither polygons nor run lengths"),
        ({"counts": [48]}, "of size None, its image is"),
        ({"size": [8, 6], "counts": [48]}, r"of size \[8, 6\], its image is \[6, 8\]"),
        ({"size": [6, 8]}, "no list of counts"),
        ({"size": [6, 8], "counts": [1, "2"]}, "no list of counts"),
        ({"size": [6, 8], "counts": [True, 47]}, "no list of counts"),
        ({"size": [6, 8], "counts": [50, -2]}, "no list of counts"),
        ({"size": [6, 8], "counts": [24.0, 24.0]}, "no list of counts"),
        ({"size": [6, 8], "counts": [40]}, "add up to 40 pixels, its image has 48"),
        ({"size": [6, 8], "counts": [10**9]}, "add up to 1,000,000,000 pixels"),
        ({"size": [6, 8], "counts": []}, "add up to 0 pixels"),
        ({"size": [6, 8], "counts": compress([47])}, "add up to 47 pixels"),
        ({"size": [6, 8], "counts": compress([50, 0, 0, -2])}, "no list of counts"),
        ({"size": [6, 8], "counts": "P"}, "cut off"),
        ({"size": [6, 8], "counts": "P" * 10**6}, "damaged"),
        ({"size": [6, 8], "counts": "0" * 10**6}, "damaged"),
        ({"size": [6, 8], "counts": "é"}, "damaged"),
        ([[0, 0, 1, 1]], "three or more points"),
        ([[0, 0, 1, 1, 2]], "three or more points"),
        ([[0, 0, 1, 1, 2, 2, 3]], "three or more points"),
        ([5], "three or more points"),
        ([["0", 0, 1, 1, 2, 2]], "no numbers, or far outside"),
        ([[float("nan"), 0, 1, 1, 2, 2]], "no numbers, or far outside"),
        ([[float("inf"), 0, 1, 1, 2, 2]], "no numbers, or far outside"),
        ([[10**400, 0, 1, 1, 2, 2]], "no numbers, or far outside"),
        ([[True, 0, 1, 1, 2, 2]], "no numbers, or far outside"),
    ],
)
def test_shapes_that_cannot_be(segmentation: Any, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        decode_shape(segmentation, HEIGHT, WIDTH)


# --- polygons ---


def inside(points: list[float], height: int, width: int) -> NDArray[np.bool_]:
    """The slow way: from every pixel's centre a ray to the right, counting the edges that it meets."""
    corners = list(zip(points[::2], points[1::2], strict=True))
    mask_HW = np.zeros((height, width), np.bool_)
    for row in range(height):
        for col in range(width):
            x, y = col + 0.5, row + 0.5
            for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
                if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) > x:
                    mask_HW[row, col] ^= True
    return mask_HW


@pytest.mark.parametrize("seed", range(10))
def test_polygons_against_the_slow_way(seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = (generator.random(2 * generator.integers(3, 12)) * 30 - 5).tolist()
    assert np.array_equal(fill_polygon(points, 17, 23), inside(points, 17, 23))


def test_polygons_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    points = (np.random.default_rng(3).random(400) * 20).tolist()
    monkeypatch.setattr("s4al.data.layouts.shapes._MAX_CROSSINGS", 40)
    assert np.array_equal(fill_polygon(points, 17, 23), inside(points, 17, 23))


def test_polygons_by_hand() -> None:
    square = fill_polygon([1, 1, 3, 1, 3, 4, 1, 4], 5, 5)
    assert square[1:4, 1:3].all() and square.sum() == 6
    assert not fill_polygon([1.6, 1.6, 2.4, 1.6, 2.4, 2.4, 1.6, 2.4], 5, 5).any()  # between the centres
    assert fill_polygon([-9, -9, 99, -9, 99, 99, -9, 99], 5, 5).all()  # cut off
    assert not fill_polygon([9, 9, 12, 9, 12, 12], 5, 5).any()
    bow = fill_polygon([0, 0, 4, 4, 4, 0, 0, 4], 4, 4)  # crosses itself; its left and right are inside
    assert bow.astype(int).tolist() == inside([0, 0, 4, 4, 4, 0, 0, 4], 4, 4).astype(int).tolist() and bow.sum() == 8
    # of one annotation, polygons are joined: where two overlap, it is not outside again
    both = decode_shape([[0, 0, 3, 0, 3, 3, 0, 3], [1, 1, 4, 1, 4, 4, 1, 4]], 5, 5)
    assert both.sum() == 9 + 9 - 4


def box(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def test_smaller_shapes_lie_above_larger_ones() -> None:
    large, small, tiny = box(0, 0, 8, 6), box(1, 1, 3, 3), box(2, 2, 1, 1)
    expected = np.full((HEIGHT, WIDTH), 1)
    expected[1:4, 1:4] = 2
    expected[2, 2] = 3
    for order in ([(large, 1), (small, 2), (tiny, 3)], [(tiny, 3), (large, 1), (small, 2)]):
        assert paint(order, HEIGHT, WIDTH, 0).tolist() == expected.tolist()
    assert paint([(small, 4), (small, 5)], HEIGHT, WIDTH, 0).max() == 5  # of two alike, the later
    assert (paint([], HEIGHT, WIDTH, 7) == 7).all()


# --- whole folders ---

CATEGORIES = [{"id": 7, "name": "car"}, {"id": 3, "name": "road"}]


def shapes(*images: int) -> dict[str, Any]:
    """Each image has a road over its lower half and a car of 2 x 2 pixels; the car as compressed run lengths."""
    car_HW = np.zeros((HEIGHT, WIDTH), np.bool_)
    car_HW[3:5, 2:4] = True
    annotations: list[dict[str, Any]] = []
    for image in images:
        car = {"size": [HEIGHT, WIDTH], "counts": compress(runs_of(car_HW))}
        annotations += [
            {"id": 10 * image, "image_id": image, "category_id": 7, "segmentation": car, "iscrowd": 1},
            {"id": 10 * image + 1, "image_id": image, "category_id": 3, "segmentation": box(0, 3, 8, 3), "iscrowd": 0},
        ]
    listed = [{"id": i, "file_name": f"{i:04d}.jpg", "height": HEIGHT, "width": WIDTH} for i in images]
    return {"images": listed, "annotations": annotations, "categories": [{**category} for category in CATEGORIES]}


def expected_mask(background: int, road: int, car: int) -> list[list[int]]:
    ids_HW = np.full((HEIGHT, WIDTH), background)
    ids_HW[3:] = road
    ids_HW[3:5, 2:4] = car
    return ids_HW.tolist()


def save_images(folder: Path, *images: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in images:
        Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(folder / f"{i:04d}.jpg")


def save_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for split, images in (("train", (1, 2, 3)), ("val", (4,))):
        save_images(root / f"{split}2017", *images)
        save_json(root / f"annotations/instances_{split}2017.json", shapes(*images))
    save_images(root / "test2017", 9)
    return root


@pytest.fixture
def panoptic(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    segments = {3: 70_000, 7: 300}  # category -> segment: one of more than two bytes
    ids_HW = np.array(expected_mask(0, segments[3], segments[7]))
    pixels_HWC = np.stack([ids_HW & 255, ids_HW >> 8 & 255, ids_HW >> 16], axis=2).astype(np.uint8)
    for split, images in (("train", (1, 2)), ("val", (4,))):
        save_images(root / f"{split}2017", *images)
        value = shapes(*images)
        info = [{"id": id, "category_id": category} for category, id in segments.items()]
        value["annotations"] = [{"image_id": i, "file_name": f"{i:04d}.png", "segments_info": info} for i in images]
        save_json(root / f"annotations/panoptic_{split}2017.json", value)
        for i in images:
            folder = root / f"annotations/panoptic_{split}2017"
            folder.mkdir(exist_ok=True)
            Image.fromarray(pixels_HWC).save(folder / f"{i:04d}.png")
    return root


def config(root: Path, *overrides: str) -> Config:
    small = ("data.height=16", "data.width=16", "acquisition.region_height=8", "acquisition.region_width=8")
    given = ['data.adapter="coco"', f'data.root="{root}"', 'data.test_split="val"', *small, *overrides]
    return resolve(overrides=given)


def open_coco(root: Path, *overrides: str) -> Dataset:
    return open_dataset(config(root, *overrides), root.parent / "rendered")


def mask_of(dataset: Dataset, index: int) -> list[list[int]]:
    path = dataset.records[index].mask
    assert path is not None
    return read_mask(path, dataset.mask_code, dataset.num_classes, (HEIGHT, WIDTH)).tolist()


def test_instances(instances: Path) -> None:
    layout = find_layout(instances)
    assert layout.settings == {
        "adapter": "coco",
        "images": "{split}2017/*",
        "masks": "annotations/instances_{split}2017.json",
        "lists": "",
        "test_split": "val",
    }
    assert layout.counts == {"train": (3, 3), "val": (1, 1), "test": (1, 0)}
    assert layout.lines == (
        "Layout: COCO annotations (pixels of none are the class 'background'), images={split}2017/*, "
        "masks=annotations/instances_{split}2017.json.",
        "Splits: train 3 images (3 with a mask), val 1 image (1 with a mask), test 1 image (0 with a mask).",
        "The test split has no masks and is not used: the val split (1 image with a mask) is tested on.",
    )
    dataset = open_coco(instances)
    assert dataset.class_names == ("background", "road", "car")  # in the order of the categories' ids
    assert [(record.id, record.split) for record in dataset.records] == [
        ("0001", "train"),
        ("0002", "train"),
        ("0003", "train"),
        ("0004", "test"),
    ]
    assert all(mask_of(dataset, i) == expected_mask(0, 1, 2) for i in range(4))


def test_panoptic(panoptic: Path) -> None:
    layout = find_layout(panoptic)
    assert layout.settings["masks"] == "annotations/panoptic_{split}2017.json" and layout.unused == ()
    dataset = open_coco(panoptic)
    assert dataset.class_names == ("road", "car")
    assert all(mask_of(dataset, i) == expected_mask(255, 0, 1) for i in range(3))


def test_a_pool_of_rendered_masks(instances: Path, tmp_path: Path) -> None:
    settings = config(instances)
    dataset = open_dataset(settings, tmp_path / "rendered")
    (tmp_path / "out").mkdir()
    pool = ingest(dataset, settings, tmp_path / "out", lambda *call: None, tmp_path / "faults.csv")
    assert pool.train.rows[0].image == "train2017/0001.jpg" and pool.train.rows[0].mask == "train/0001.png"
    assert oracle_mask(pool, dataset, 1).tolist() == expected_mask(0, 1, 2)
    verify_sources(pool, instances, masks_root=dataset.masks_root)
    (dataset.masks_root / "train/0002.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"train/0002.png changed"):
        verify_sources(pool, instances, masks_root=dataset.masks_root)


def test_rendered_once_for_the_same_annotations(instances: Path) -> None:
    first = open_coco(instances)
    stamp = (first.masks_root / "train/0001.png").stat().st_mtime_ns
    assert open_coco(instances).masks_root == first.masks_root
    assert (first.masks_root / "train/0001.png").stat().st_mtime_ns == stamp
    value = shapes(4)
    value["annotations"].pop(0)
    save_json(instances / "annotations/instances_val2017.json", value)
    second = open_coco(instances)
    assert second.masks_root != first.masks_root
    seen: list[tuple[str, int, int]] = []
    open_dataset(config(instances), instances.parent / "rendered", progress=lambda *call: seen.append(call))
    assert not seen
    open_dataset(config(instances), instances.parent / "elsewhere", progress=lambda *call: seen.append(call))
    assert seen == [("draw masks", done, 4) for done in (1, 2, 3, 4)]
    assert mask_of(second, 3) == expected_mask(0, 1, 1)


def test_a_category_that_is_called_background(instances: Path) -> None:
    for split, images in (("train", (1, 2, 3)), ("val", (4,))):
        value = shapes(*images)
        value["categories"] = [*CATEGORIES, {"id": 9, "name": "background"}]
        save_json(instances / f"annotations/instances_{split}2017.json", value)
    dataset = open_coco(instances)
    assert dataset.class_names == ("road", "car", "background")
    assert mask_of(dataset, 0) == expected_mask(2, 0, 1)


def test_images_without_annotations(instances: Path, panoptic: Path) -> None:
    value = shapes(1, 2, 3)
    value["annotations"] = value["annotations"][2:]
    save_json(instances / "annotations/instances_train2017.json", value)
    with pytest.raises(DataError, match="can be read as") as caught:  # both kinds lie in one folder now
        find_layout(instances)
    assert 'data.masks="annotations/panoptic_{split}2017.json"' in str(caught.value)
    dataset = open_coco(instances, 'data.masks="annotations/instances_{split}2017.json"')
    assert mask_of(dataset, 0) == [[0] * WIDTH] * HEIGHT  # nothing is in it: COCO says so
    value = json.loads((panoptic / "annotations/panoptic_train2017.json").read_text())
    value["annotations"].pop(0)
    save_json(panoptic / "annotations/panoptic_train2017.json", value)
    panoptic_only = ('data.masks="annotations/panoptic_{split}2017.json"', 'data.oracle="people"')
    assert open_coco(panoptic, *panoptic_only).records[0].mask is None


def test_roboflow(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for split, images in (("train", (1, 2)), ("valid", (4,))):
        save_images(root / split, *images)
        save_json(root / split / "_annotations.coco.json", shapes(*images))
    layout = find_layout(root)
    assert layout.settings["images"] == "{split}/*" and layout.settings["masks"] == "{split}/_annotations.coco.json"
    assert len(open_coco(root).records) == 3


def test_cvat(tmp_path: Path) -> None:
    root = tmp_path / "data"
    save_images(root / "images/default", 1, 2, 3)
    save_json(root / "annotations/instances_default.json", shapes(1, 2, 3))
    layout = find_layout(root)
    assert (layout.settings["images"], layout.settings["test_split"]) == ("images/{split}/*", "drawn")
    dataset = open_coco(root, 'data.test_split="drawn"')
    assert sorted({record.split for record in dataset.records}) == ["test", "train"]


def test_folders_of_masks_are_read_before_json(instances: Path, save_png: Save) -> None:
    for split, images in (("train", (1, 2, 3)), ("val", (4,))):
        for i in images:
            save_png(instances / "masks" / f"{split}2017" / f"{i:04d}.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    layout = find_layout(instances)
    assert layout.adapter == "folder" and layout.settings["masks"] == "masks/{split}2017/*"


# --- annotation files of any name ---

ORDINARY = [
    "annotations.json",
    "instances.json",
    "result.json",
    "labels/my annotations.json",
    "a/b/_annotations.coco.json",
]


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("adapter", ["auto", "coco"])
def test_annotation_files_are_known_by_their_content(tmp_path: Path, name: str, adapter: str) -> None:
    root = tmp_path / "data"
    save_images(root / "images", 1, 2, 3)
    save_json(root / name, shapes(1, 2, 3))
    save_json(root / "meta.json", {"images": 3, "categories": []})
    layout = find_layout(root, adapter=adapter)
    assert (layout.adapter, layout.settings["masks"], layout.settings["images"]) == ("coco", name, "images/*")
    assert layout.counts == {"train": (3, 3)}
    images, masks = (f'data.{key}="{layout.settings[key]}"' for key in ("images", "masks"))
    dataset = open_coco(root, 'data.test_split="drawn"', images, masks)
    assert dataset.class_names == ("background", "road", "car") and len(dataset.records) == 3


@pytest.mark.parametrize(
    ("files", "pattern"),
    [
        (("train.json", "val.json"), "{split}.json"),
        (("annotations/my_train.json", "annotations/my_val.json"), "annotations/my_{split}.json"),
        (("train/coco.json", "valid/coco.json"), "{split}/coco.json"),
        (("train/train.json", "val/val.json"), "*/{split}.json"),
        (("test-data/train.json", "test-data/val.json"), "test-data/{split}.json"),
    ],
)
def test_splits_by_annotation_files_alone(tmp_path: Path, files: tuple[str, str], pattern: str) -> None:
    """All images lie in one folder: which split one belongs to say the files that list it."""
    root = tmp_path / "data"
    save_images(root / "images", 1, 2, 3, 4, 5)
    for name, images in zip(files, ((1, 2, 3), (4,)), strict=True):
        save_json(root / name, shapes(*images))
    layout = find_layout(root)
    assert (layout.adapter, layout.settings["test_split"]) == ("coco", "val")
    assert layout.settings["masks"] == pattern
    assert layout.counts == {"train": (3, 3), "val": (1, 1)}
    given = [f'data.{key}="{layout.settings[key]}"' for key in ("images", "masks")]
    assert [(r.id, r.split) for r in open_coco(root, *given).records if r.split == "test"] == [("0004", "test")]


def test_an_image_of_two_splits(tmp_path: Path) -> None:
    root = tmp_path / "data"
    save_images(root / "images", 1, 2, 3)
    save_json(root / "train.json", shapes(1, 2))
    save_json(root / "val.json", shapes(2, 3))
    with pytest.raises(DataError, match=r"images/0002.jpg is listed in train.json and in val.json"):
        open_coco(root)


def test_candidates_are_named_with_the_setting_that_picks_one(tmp_path: Path) -> None:
    root = tmp_path / "data"
    save_images(root / "images", 1, 2)
    for name in ("first.json", "second.json"):
        save_json(root / name, shapes(1, 2))
    with pytest.raises(DataError, match=r'data.masks="first.json", or as .* data.masks="second.json"'):
        find_layout(root, adapter="coco")
    assert find_layout(root, masks="second.json").settings["masks"] == "second.json"
    assert find_layout(root, adapter="coco", masks="first.json").settings["adapter"] == "coco"


def test_masks_are_read_before_annotations_but_where_coco_is_asked_for(tmp_path: Path, save_png: Save) -> None:
    root = tmp_path / "data"
    save_images(root / "images", 1, 2)
    save_json(root / "annotations.json", shapes(1, 2))
    for i in (1, 2):
        save_png(root / "masks" / f"{i:04d}.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    assert find_layout(root).adapter == "folder"
    assert find_layout(root, adapter="coco").settings["masks"] == "annotations.json"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds no annotation file of COCO: there is no \.json"),
        ({"a.json": "[1, 2]"}, r"none of its 1 JSON file \(a.json\) has the lists images, annotations and categories"),
        ({"a.json": '{"images": [], "annotations": []}'}, r"none of its 1 JSON file"),
        ({"images/0001.json": json.dumps(shapes(1))}, r"none of its 1 JSON file"),  # one image's own
    ],
)
def test_no_annotation_file(tmp_path: Path, files: dict[str, str], message: str) -> None:
    root = tmp_path / "data"
    save_images(root / "images", 1, 2)
    for name, text in files.items():
        save_json(root / name, text)
    with pytest.raises(DataError, match=message) as caught:
        find_layout(root, adapter="coco")
    assert "Export the annotations as COCO" in caught.value.remedy
    assert find_layout(root).adapter == "folder"


def test_keys_are_found_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    save_images(root / "images", 1, 2)
    text = json.dumps(shapes(1, 2), indent=1)
    save_json(root / "a.json", "\ufeff" + text)
    for chunk in (60, 97, 333):  # keys are cut in two
        monkeypatch.setattr("s4al.data.layouts.coco_files._CHUNK", chunk)
        assert find_layout(root).adapter == "coco"
    monkeypatch.setattr("s4al.data.layouts.coco_files.MAX_BYTES", len(text) // 2)
    assert find_layout(root).adapter == "folder"


def test_boxes_alone_are_no_masks(instances: Path) -> None:
    value = shapes(1, 2, 3)
    for annotation in value["annotations"]:
        annotation["segmentation"] = []
    save_json(instances / "annotations/instances_train2017.json", value)
    with pytest.raises(DataError, match=r"instances_train2017.json holds boxes alone.* all its 6 annotations"):
        open_coco(instances)


# --- files that lie ---


def change(value: dict[str, Any], path: str, new: Any) -> None:
    """Set `value` at "images.0.id"; None removes."""
    *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in way:
        value = value[key]
    if new is None:
        del value[last]
    else:
        value[last] = new


@pytest.mark.parametrize(
    ("path", "new", "kind", "message"),
    [
        ("images", None, DataError, r"'images' is missing or no list, so it is no COCO annotation file"),
        ("categories", 3, DataError, r"'categories' is missing or no list"),
        ("annotations", {}, DataError, r"'annotations' is missing or no list"),
        ("categories", [], DataError, r"different categories"),
        ("categories.0", 5, DataError, r"a category of .*'id' is missing"),
        ("categories.0.name", None, DataError, r"a category of .*'name' is missing or no text"),
        ("categories.0.name", "road", DataError, r"different categories"),
        ("images.0", "x", DataError, r"an image of .*'id' is missing or no whole number"),
        ("images.0.id", True, DataError, r"'id' is missing or no whole number"),
        ("images.0.id", 2, DataError, r"lists image 2 more than once"),
        ("images.0.height", None, DataError, r"image 1 of .*'height' is missing"),
        ("images.0.height", 0, DataError, r"is 8 x 0 \(limit 40 megapixels\)"),
        ("images.0.height", -6, DataError, r"is 8 x -6"),
        ("images.0.width", 10**9, DataError, r"is 1000000000 x 6 \(limit 40 megapixels\)"),
        ("images.0.file_name", "../1.jpg", DataError, r"leaves the folder"),
        ("images.0.file_name", "/etc/passwd.jpg", DataError, r"leaves the folder"),
        ("images.0.file_name", "a\x1b.jpg", DataError, r"control characters"),
        ("images.0.file_name", "gone.jpg", DataError, r"lists 1 image \(gone.jpg\) not found as \{split\}2017/\*"),
        ("images.0.file_name", "0002.jpg", DataError, r"lists 0002.jpg more than once"),
        ("annotations.0.image_id", 77, DataError, r"an annotation of image 77, which it does not list"),
        ("annotations.0.image_id", None, DataError, r"'image_id' is missing"),
        ("annotations.0", [], DataError, r"'image_id' is missing"),
        ("annotations.0.category_id", 8, MaskError, r"0001.jpg in .*an annotation has category 8, which is not listed"),
        ("annotations.0.category_id", "7", DataError, r"'category_id' is missing or no whole number"),
        ("annotations.0.segmentation", None, MaskError, r"neither polygons nor run lengths"),
        ("annotations.0.segmentation.counts", [10**9], MaskError, r"add up to 1,000,000,000 pixels, its image has 48"),
        ("annotations.0.segmentation.counts", [-1, 49], MaskError, r"no list of counts from 0 on"),
        ("annotations.0.segmentation.size", [8, 6], MaskError, r"of size \[8, 6\], its image is \[6, 8\]"),
        ("annotations.1.segmentation.0", [1, 2], MaskError, r"three or more points"),
    ],
)
def test_annotations_that_lie(instances: Path, path: str, new: Any, kind: type[DataError], message: str) -> None:
    value = shapes(1, 2, 3)
    change(value, path, new)
    save_json(instances / "annotations/instances_train2017.json", value)
    with pytest.raises(kind, match=message) as caught:
        open_coco(instances)
    assert str(caught.value).isprintable() and caught.value.remedy
    assert not (instances.parent / "rendered").exists() or not list((instances.parent / "rendered").iterdir())


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff", "1" * 5000, "[]", "null"])
def test_what_is_no_annotation_file(instances: Path, text: str) -> None:
    path = instances / "annotations/instances_train2017.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"instances_train2017.json.* (is not JSON|is missing or no list)"):
        open_coco(instances)


def test_sizes_must_agree_with_the_image(instances: Path) -> None:
    """The entry is at fault, and named; not the mask that would be rendered by it."""
    Image.fromarray(np.zeros((WIDTH, HEIGHT, 3), np.uint8)).save(instances / "train2017/0002.jpg")
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(instances / "train2017/0003.jpg")
    said = (
        r"instances_train2017.json gives image 2 \(0002.jpg\) 8 x 6 pixels, and train2017/0002.jpg has 6 x 8; .*image 3"
    )
    with pytest.raises(MaskError, match=said) as caught:
        open_coco(instances)
    assert "Correct the width and height of the entry" in caught.value.remedy
    assert not (instances.parent / "rendered").exists() or not list((instances.parent / "rendered").iterdir())


@pytest.mark.parametrize("orientation", [3, 6])
def test_sizes_may_be_those_of_an_image_that_exif_turns(instances: Path, orientation: int) -> None:
    """Whether stored or shown as the entry says: so is the image then read beside its mask."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = (WIDTH, HEIGHT, 3) if orientation == 6 else (HEIGHT, WIDTH, 3)
    Image.fromarray(np.zeros(stored, np.uint8)).save(instances / "train2017/0002.jpg", exif=exif)
    assert len(open_coco(instances).records) == 4


@pytest.mark.parametrize(
    ("path", "new", "kind", "message"),
    [
        ("annotations.0.file_name", "gone.png", MaskError, r"its panoptic PNG 'gone.png' is neither in annotations/"),
        ("annotations.0.file_name", "../../train2017/0001.jpg", MaskError, r"is neither in annotations/panoptic_train"),
        ("annotations.0.segments_info.0", {"id": 5, "category_id": 3}, MaskError, r"segment 70000, which is not list"),
        ("annotations.0.segments_info.0.category_id", 4, MaskError, r"category 4, which is not listed"),
        ("annotations.0.segments_info.0.id", None, DataError, r"'id' is missing"),
        ("annotations.1.image_id", 1, MaskError, r"it has 2 panoptic annotations"),
    ],
)
def test_panoptic_annotations_that_lie(
    panoptic: Path, path: str, new: Any, kind: type[DataError], message: str
) -> None:
    name = panoptic / "annotations/panoptic_train2017.json"
    value = json.loads(name.read_text())
    change(value, path, new)
    save_json(name, value)
    with pytest.raises(kind, match=message):
        open_coco(panoptic)


def test_a_panoptic_png_of_another_size_or_none(panoptic: Path) -> None:
    name = panoptic / "annotations/panoptic_train2017/0001.png"
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(name)
    with pytest.raises(MaskError, match=r"panoptic_train2017/0001.png is 3 x 3, its image is 8 x 6"):
        open_coco(panoptic)
    name.write_bytes(b"no picture")
    with pytest.raises(MaskError, match=r"panoptic_train2017/0001.png: "):
        open_coco(panoptic)


def test_classes_and_patterns_that_do_not_fit(instances: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.classes is not what the categories .* are: background, road, car"):
        open_coco(instances, 'data.classes=["road", "car"]')
    with pytest.raises(DataError, match=r"No file in .* fits data.masks='other_\{split\}.json'"):
        open_coco(instances, 'data.masks="other_{split}.json"')
