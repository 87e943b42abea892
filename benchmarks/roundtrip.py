"""Regions to the real Label Studio and back: pushed, answered through its HTTP interface, pulled, compared.

    python -m benchmarks.roundtrip

Label Studio has an environment of its own in the user's cache, is started on loopback with an empty database, and is
thrown away. Answers are bitmasks as its page makes them, brush strokes by its own SDK's codec, polygons, rectangles, a
skip and nothing at all; and guesses accepted in its page, in Chromium where there is one. Exact: bitmasks, brush
strokes and rectangles on pixel borders. Polygons: those pixels whose centres are inside, as
`skimage.draw.polygon2mask` says for vertices half a pixel up and left.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.other_tools.environment import environment
from benchmarks.other_tools.label_studio import PERSON, VERSION, LabelStudio, running, submit_in_page
from benchmarks.record import record
from s4al.annotate.exchange.brush_rle import decode_brush, encode_brush
from s4al.annotate.exchange.label_studio_http import TOKEN_VARIABLE
from s4al.annotate.exchange.receiving import import_answers, pull_answers
from s4al.annotate.exchange.sending import push_regions
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from tests.annotate.rounds import make_round

NAMES = ("road", 'a <b> & "c"', "straße", "日本", "sky")
COLOURS = ((128, 64, 128), (0, 0, 142), (70, 130, 180), (220, 20, 60), (250, 170, 30))
SIZE = (120, 180)
KINDS = ("bitmask", "brush", "polygon", "rectangle")
ROUNDS_OF_KINDS = 10
SECONDS = 3.25

Labels = NDArray[np.uint8]
Result = dict[str, Any]

_ENCODE = """
import json, sys
import numpy as np
from label_studio_sdk.converter import brush
masks = json.load(sys.stdin)
out = [brush.encode_rle(np.repeat(np.array(m, np.uint8).ravel() * 255, 4)) for m in masks]
json.dump([[int(value) for value in rle] for rle in out], sys.stdout)
"""
_DECODE = """
import json, sys
from label_studio_sdk.converter import brush
json.dump([brush.decode_rle(rle)[3::4].astype(bool).tolist() for rle in json.load(sys.stdin)], sys.stdout)
"""


@dataclass(frozen=True)
class Drawn:
    """What is drawn in a task, and the label map (H, W) that it stands for."""

    results: list[Result]
    expected_HW: Labels


def main() -> None:
    python = environment("label-studio", f"label-studio=={VERSION}")
    results: dict[str, Any] = {"label_studio": VERSION, "codec": compare_codecs(python)}
    with tempfile.TemporaryDirectory() as name, running(python, Path(name)) as studio:
        os.environ[TOKEN_VARIABLE] = studio.token
        for mode in ("crop", "full"):
            results[mode] = round_trip(python, studio, Path(name) / mode, mode)
            print(mode, json.dumps(results[mode]), flush=True)
        results["page"] = accept_in_page(studio, Path(name) / "page")
        print("page", json.dumps(results["page"]), flush=True)
    print(record("roundtrip", results))


def compare_codecs(python: Path) -> dict[str, Any]:
    """Our brush codec against that of label-studio-sdk, in both directions. Fails where they differ."""
    generator = np.random.default_rng(0)
    masks = [generator.random((40, 60)) < share for share in (0.0, 0.01, 0.3, 0.5, 0.99, 1.0)]
    masks += [np.kron(generator.random((4, 6)) < 0.5, np.ones((80, 90), bool)), generator.random((1, 1)) < 2]
    theirs = _in_environment(python, _ENCODE, [mask.tolist() for mask in masks])
    ours = _in_environment(python, _DECODE, [list(encode_brush(mask)) for mask in masks])
    for mask, rle, decoded in zip(masks, theirs, ours, strict=True):
        assert np.array_equal(decode_brush(bytes(rle), *mask.shape), mask), "we read what the SDK wrote"
        assert np.array_equal(np.reshape(decoded, mask.shape), mask), "the SDK reads what we wrote"
    return {"masks": len(masks), "we_read_theirs": "equal", "they_read_ours": "equal"}


def round_trip(python: Path, studio: LabelStudio, folder: Path, mode: Any) -> dict[str, Any]:
    """Push a round, answer it, pull it twice, and compare every region. Fails where a pixel differs."""
    round = make_round(folder, names=NAMES, colours=COLOURS, regions=_regions(), size=SIZE)
    store = AnswerStore(round)
    started = time.monotonic()
    pushed = push_regions(round, store, studio.url, mode=mode, margin=16)
    push_s = time.monotonic() - started
    project = int(pushed["out"].rpartition("/")[2])
    tasks = studio.call("GET", f"/api/tasks?project={project}&fields=all&page_size=1000")["tasks"]
    assert len(tasks) == pushed["pictures"], "every task arrived"
    drawn = _answer(python, studio, tasks[:-3])
    studio.call("POST", f"/api/tasks/{tasks[-1]['id']}/annotations", {"result": [], "was_cancelled": True})
    studio.call("DELETE", f"/api/tasks/{tasks[-2]['id']}")
    started = time.monotonic()
    pulled = pull_answers(round, store, pushed["out"])
    pull_s = time.monotonic() - started
    again = pull_answers(round, store, pushed["out"])
    from_file = _import_file(studio, project, folder, round, store)
    assert not again["saved"], "the same answers again are no change"
    assert not from_file["saved"], "nor are they from a file"
    return {
        "regions": pushed["regions"],
        "tasks": len(tasks),
        "push_s": push_s,
        "pull_s": pull_s,
        **{key: pulled[key] for key in ("saved", "skipped", "open", "missing")},
        "again_saved": again["saved"],
        "worst_iou": _compare(round, store, tasks[:-3], drawn, mode),
    }


def accept_in_page(studio: LabelStudio, folder: Path) -> dict[str, Any] | None:
    """Accept guesses in Label Studio's own page: they come back as they were. None where no Chromium is."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    regions = [("a", (20, 30, 80, 110)), ("b", (0, 0, 40, 50)), ("c", (60, 60, 61, 61))]
    round = make_round(folder, names=NAMES, colours=COLOURS, regions=regions, size=SIZE, block=5)
    store = AnswerStore(round)
    pushed = push_regions(round, store, studio.url, margin=16)
    project = int(pushed["out"].rpartition("/")[2])
    tasks = studio.call("GET", f"/api/tasks?project={project}")["tasks"]
    submit_in_page(studio, project, [task["id"] for task in tasks], chromium)
    assert pull_answers(round, store, pushed["out"])["saved"] == len(regions)
    worst = 1.0
    for query in round.queries:
        answer, guess_HW = store.first(query), round.guess(query)
        assert answer is not None
        assert guess_HW is not None
        worst = min(worst, _iou(store.labels(answer), guess_HW))
    assert worst == 1.0, worst
    return {"accepted": len(regions), "worst_iou": worst}


def _regions() -> list[tuple[str, tuple[int, int, int, int]]]:
    """Of all sizes, on their own images and several of one, some at the edges; three more are not answered."""
    generator = np.random.default_rng(1)
    regions = []
    for number in range(len(KINDS) * ROUNDS_OF_KINDS + 3):
        height, width = generator.integers(5, 50, 2)
        top, left = generator.integers(0, SIZE[0] - height + 1), generator.integers(0, SIZE[1] - width + 1)
        regions.append((f"image {number}", (int(top), int(left), int(top + height), int(left + width))))
        if number % 7 == 0:  # a second region of the same image, beside the first
            regions.append((f"image {number}", (0, 0, max(int(top), 1), 180)))
    return regions


def _answer(python: Path, studio: LabelStudio, tasks: list[dict[str, Any]]) -> list[Drawn]:
    """Draw in every task what nobody could foresee, and submit it as the page does."""
    generator = np.random.default_rng(2)
    drawn = [_draw(KINDS[i % len(KINDS)], _size(task), generator) for i, task in enumerate(tasks)]
    strokes = [result for item in drawn for result in item.results if result["type"] == "brushlabels"]
    encoded = _in_environment(python, _ENCODE, [result["value"].pop("mask").tolist() for result in strokes])
    for result, rle in zip(strokes, encoded, strict=True):
        result["value"]["rle"] = rle
    for task, item in zip(tasks, drawn, strict=True):
        frame = [result for result in task["predictions"][0]["result"] if result["from_name"] == "query"]
        annotation = {"result": [*frame, *item.results], "lead_time": SECONDS}
        studio.call("POST", f"/api/tasks/{task['id']}/annotations", annotation)
    return drawn


def _size(task: dict[str, Any]) -> tuple[int, int]:
    result = task["predictions"][0]["result"][0]
    return result["original_height"], result["original_width"]


def _draw(kind: str, size: tuple[int, int], generator: np.random.Generator) -> Drawn:
    """Four shapes of a kind, one above the other, over a rectangle that leaves nothing unpainted."""
    shapes: list[tuple[int, Result, NDArray[np.bool_]]] = []
    for make in (_rectangle_of_all, *[_SHAPES[kind]] * 4):
        id = int(generator.integers(len(NAMES)))
        result, mask_HW = make(size, generator)
        result["value"][result["type"]] = [NAMES[id]]
        shapes.append((id, result, mask_HW))
    expected_HW = np.full(size, 255, np.uint8)
    for id, _, mask_HW in shapes:
        expected_HW[mask_HW] = id
    return Drawn([result for _, result, _ in shapes], expected_HW)


def _result(kind: str, size: tuple[int, int], value: dict[str, Any]) -> Result:
    about = {"id": os.urandom(5).hex(), "type": kind, "from_name": _CONTROLS[kind], "to_name": "image"}
    return about | {"original_height": size[0], "original_width": size[1], "image_rotation": 0, "value": value}


def _noise(size: tuple[int, int], generator: np.random.Generator) -> NDArray[np.bool_]:
    """Blocks with holes, and single pixels."""
    blocks = np.kron(generator.random((size[0] // 8 + 1, size[1] // 8 + 1)) < 0.4, np.ones((8, 8), bool))
    return blocks[: size[0], : size[1]] ^ (generator.random(size) < 0.05)


def _bitmask(size: tuple[int, int], generator: np.random.Generator) -> tuple[Result, NDArray[np.bool_]]:
    mask_HW, data = _noise(size, generator), io.BytesIO()
    pixels = np.zeros((*size, 4), np.uint8)
    pixels[mask_HW] = (*generator.integers(0, 256, 3), 255)
    Image.fromarray(pixels).save(data, "PNG")
    url = "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
    return _result("bitmasklabels", size, {"imageDataURL": url}), mask_HW


def _brush(size: tuple[int, int], generator: np.random.Generator) -> tuple[Result, NDArray[np.bool_]]:
    """Its run lengths are filled in later, all at once by the SDK."""
    mask_HW = _noise(size, generator)
    return _result("brushlabels", size, {"format": "rle", "mask": mask_HW}), mask_HW


def _polygon(size: tuple[int, int], generator: np.random.Generator) -> tuple[Result, NDArray[np.bool_]]:
    from skimage.draw import polygon2mask

    points_P2 = generator.uniform(-5, 105, (8, 2))  # percent, x and y; it crosses itself
    mask_HW = polygon2mask(size, points_P2[:, ::-1] / 100 * size - 0.5)
    return _result("polygonlabels", size, {"points": points_P2.tolist(), "closed": True}), mask_HW


def _rectangle(size: tuple[int, int], generator: np.random.Generator) -> tuple[Result, NDArray[np.bool_]]:
    (y0, y1), (x0, x1) = (sorted(generator.choice(side + 1, 2, replace=False).tolist()) for side in size)
    return _rectangle_at(size, y0, x0, y1, x1)


def _rectangle_of_all(size: tuple[int, int], _: np.random.Generator) -> tuple[Result, NDArray[np.bool_]]:
    return _rectangle_at(size, 0, 0, *size)


def _rectangle_at(size: tuple[int, int], y0: int, x0: int, y1: int, x1: int) -> tuple[Result, NDArray[np.bool_]]:
    mask_HW = np.zeros(size, bool)
    mask_HW[y0:y1, x0:x1] = True
    high, wide = size
    corner = {"x": 100 * x0 / wide, "y": 100 * y0 / high, "rotation": 0}
    value = corner | {"width": 100 * (x1 - x0) / wide, "height": 100 * (y1 - y0) / high}
    return _result("rectanglelabels", size, value), mask_HW


_SHAPES: dict[str, Callable[[tuple[int, int], np.random.Generator], tuple[Result, NDArray[np.bool_]]]] = {
    "bitmask": _bitmask,
    "brush": _brush,
    "polygon": _polygon,
    "rectangle": _rectangle,
}
_CONTROLS = {"bitmasklabels": "seg", "brushlabels": "brush", "polygonlabels": "poly", "rectanglelabels": "rect"}


def _import_file(studio: LabelStudio, project: int, folder: Path, round: Round, store: AnswerStore) -> dict[str, Any]:
    """What a person downloads from the page, and imports."""
    exported = studio.call("GET", f"/api/projects/{project}/export?exportType=JSON")
    (folder / "project.json").write_text(json.dumps(exported))
    return import_answers(round, store, folder / "project.json")


def _compare(
    round: Round, store: AnswerStore, tasks: list[dict[str, Any]], drawn: list[Drawn], mode: str
) -> dict[str, float]:
    """The worst intersection over union, by kind; 1.0 says that every pixel is the same."""
    worst: dict[str, float] = dict.fromkeys(KINDS, 1.0)
    for i, (task, item) in enumerate(zip(tasks, drawn, strict=True)):
        for id in task["data"]["query_id"].split(", "):
            query = round.query(id)
            answer = store.first(query)
            assert answer is not None, id
            assert (answer.annotator, answer.tool) == (PERSON, "label-studio")
            top, left = (max(query.y0 - 16, 0), max(query.x0 - 16, 0)) if mode == "crop" else (0, 0)
            window = np.s_[query.y0 - top : query.y1 - top, query.x0 - left : query.x1 - left]
            kind = KINDS[i % len(KINDS)]
            worst[kind] = min(worst[kind], _iou(store.labels(answer), item.expected_HW[window]))
    assert set(worst.values()) == {1.0}, worst
    return worst


def _iou(found_HW: Labels, expected_HW: Labels) -> float:
    """The smallest of all classes that either has."""
    values = []
    for id in np.union1d(found_HW, expected_HW):
        found, expected = found_HW == id, expected_HW == id
        values.append(np.count_nonzero(found & expected) / np.count_nonzero(found | expected))
    return float(min(values))


def _in_environment(python: Path, script: str, value: Any) -> Any:
    done = subprocess.run([python, "-c", script], input=json.dumps(value), capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
