"""The labelling page: how long a person waits, and what the server needs.

    python -m benchmarks.annotate_page [--regions 60] [--pending 100000]

Pictures are the embedded scenes. In the browser a script plays somebody who knows the truth: it starts from a guess
that is shifted and has a patch of another class, gives superpixels the class that most of their pixels have, and goes
on. `actions` are its keys and clicks. Times in the browser are those that the page measures itself
(`performance.measure`): from the start of the navigation, and from Enter, to the drawing of the picture.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from playwright.sync_api import sync_playwright

from benchmarks.record import record
from s4al.annotate.page.superpixels import superpixels
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.data.scenes.scenes import CLASSES, render
from tests.annotate.page.browser import CHROMIUM, Annotator, Server
from tests.annotate.page.rounds import Box, picture_round

_MEDIUM, _FINE = 1, 2  # levels of superpixels
_CELL = (45, 60)


def superpixel_ms(sizes: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)) -> dict[str, dict[str, float]]:
    """Median of five crops of a scene, by side length: by the clock, and of the processor's time."""
    image_HWC, _ = render(0, "train", 0, max(sizes), max(sizes))
    superpixels(image_HWC[:32, :32])
    return {
        f"{size} x {size}": {
            name: round(_median_ms(lambda n=size: superpixels(image_HWC[:n, :n]), clock), 1)
            for name, clock in (("clock", time.perf_counter), ("processor", time.process_time))
        }
        for size in sizes
    }


def _median_ms(act: Callable[[], object], clock: Callable[[], float] = time.perf_counter, times: int = 5) -> float:
    spent = []
    for _ in range(times):
        started = clock()
        act()
        spent.append(1000 * (clock() - started))
    return statistics.median(spent)


# -------------------------------------------------------------------------------------------------------- the browser


def labelling(folder: Path, count: int) -> dict[str, Any]:
    """A script labels `count` regions of 45 x 60 pixels."""
    scenes = {f"scene-{i:02d}": render(1, "train", i, 360, 480) for i in range(20)}
    regions, truths = _interesting(scenes, count)
    guesses = [_guess(truth, seed) for seed, truth in enumerate(truths)]
    pictures = {name: image for name, (image, _) in scenes.items()}
    palette = np.array(list(CLASSES.values()), np.uint8)
    round_ = picture_round(folder, pictures, regions, names=tuple(CLASSES), palette=palette, guesses=guesses)
    server = Server(round_.run.root)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        person = Annotator(page, server.page)
        started = time.monotonic()
        actions = [_correct(person, round_, truths) for _ in range(count)]
        person.all_saved()
        seconds = time.monotonic() - started
        first = _measures(page, "s4al first region")
        following = _measures(page, "s4al next region")
        browser.close()
    server.stop()
    store = AnswerStore(round_)
    before = [_agreement(guess, truth) for guess, truth in zip(guesses, truths, strict=True)]
    after = [_agreement(_labels(store, round_, n), truth) for n, truth in enumerate(truths)]
    return {
        "regions": count,
        "first_region_ms": round(first[0], 1),
        "next_region_ms": _spread(following),
        "script_seconds": round(seconds, 1),
        "actions_per_region": round(statistics.mean(actions), 1),
        "pixels_right_in_guess": round(statistics.mean(before), 4),
        "pixels_right_in_answer": round(statistics.mean(after), 4),
    }


def _interesting(
    scenes: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]], count: int
) -> tuple[list[tuple[str, Box]], list[NDArray[np.uint8]]]:
    """Cells with three classes or more, and their truth."""
    height, width = _CELL
    found: list[tuple[tuple[str, Box], NDArray[np.uint8]]] = []
    for name, (_, label_HW) in scenes.items():
        for y in range(0, label_HW.shape[0] - height + 1, height):
            for x in range(0, label_HW.shape[1] - width + 1, width):
                cell = label_HW[y : y + height, x : x + width]
                if len(np.unique(cell)) > 2:
                    found.append(((name, (y, x, y + height, x + width)), cell))
    chosen = np.random.default_rng(0).permutation(len(found))[:count]
    return [found[i][0] for i in chosen], [found[i][1] for i in chosen]


def _guess(truth_HW: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The truth, a pixel too low, with another class in one patch."""
    generator = np.random.default_rng(seed)
    guess_HW = np.roll(truth_HW, 1, axis=0)
    y, x = generator.integers(0, np.array(truth_HW.shape) - 14)
    guess_HW[y : y + 14, x : x + 14] = generator.integers(len(CLASSES))
    guess_HW[guess_HW == 255] = 1
    return guess_HW


def _correct(person: Annotator, round_: Round, truths: list[NDArray[np.uint8]]) -> int:
    """Clicks on superpixels of whose pixels most have another class; the number of keys and clicks."""
    number = person.number(round_)
    about, arrays = person.message(number)
    labels, truth = arrays["guess"].copy(), truths[number]
    actions, chosen = 0, ""
    person.key("g")
    for level, key in ((_MEDIUM, ""), (_FINE, "[")):
        actions += len(key)
        person.key(*key)
        segments = arrays["segments"][level]
        for wanted, at, inside in _wrong(segments, labels, truth):
            if wanted != chosen:
                person.choose(wanted)
                chosen = wanted
                actions += 1
            person.click((at[0] + 0.5, at[1] + 0.5), about)
            labels[inside] = list(CLASSES).index(wanted)
            actions += 1
    person.key("]")
    person.done(round_)
    return actions + 2


def _wrong(
    segments: NDArray[np.uint16], labels: NDArray[np.uint8], truth: NDArray[np.uint8]
) -> list[tuple[str, tuple[int, int], NDArray[np.bool_]]]:
    """(class, a pixel, its segment) for every segment that is worth a click, by class."""
    worth = []
    names = list(CLASSES)
    for id in range(int(segments.max()) + 1):
        inside = segments == id
        ids, counts = np.unique(truth[inside & (truth != 255)], return_counts=True)
        if len(ids) == 0:
            continue
        best = int(ids[counts.argmax()])
        gain = int(counts.max()) - int((labels == truth)[inside].sum())
        if gain > 8:
            y, x = np.argwhere(inside)[inside.sum() // 2]
            worth.append((names[best], (int(y), int(x)), inside))
    return sorted(worth, key=lambda each: each[0])


def _agreement(labels_HW: NDArray[np.uint8], truth_HW: NDArray[np.uint8]) -> float:
    known = truth_HW != 255
    return float((labels_HW == truth_HW)[known].mean())


def _labels(store: AnswerStore, round_: Round, number: int) -> NDArray[np.uint8]:
    answer = store.first(round_.query(number))
    assert answer is not None
    return store.labels(answer)


def _measures(page: Any, name: str) -> list[float]:
    return page.evaluate("name => performance.getEntriesByName(name).map(entry => entry.duration)", name)


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    at = {"median": 0.5, "p95": 0.95, "most": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) for name, share in at.items()}


# --------------------------------------------------------------------------------------------------------- the server


def pending(folder: Path, count: int) -> dict[str, Any]:
    """The server's memory while `count` regions wait and twenty were shown."""
    pictures = {f"scene-{i:02d}": render(2, "train", i, 600, 800)[0] for i in range(10)}
    side = 6
    cells = [(y, x, y + side, x + side) for y in range(0, 594, side) for x in range(0, 794, side)]
    regions = [(name, cell) for cell in cells for name in pictures][:count]
    return {"regions": len(regions), **_serving(picture_round(folder, pictures, regions), shown=20)}


def large_image(folder: Path) -> dict[str, Any]:
    """The same with an image of 40 megapixels in the pool, of which every second region is."""
    small, _ = render(3, "train", 0, 540, 740)
    pictures = {"large": small.repeat(10, 0).repeat(10, 1), "small": small}
    places = [(y, x, y + 100, x + 100) for y in range(0, 400, 100) for x in range(0, 600, 100)]
    regions = [(name, place) for place in places for name in pictures]
    megapixels = pictures["large"].shape[0] * pictures["large"].shape[1] / 1e6
    round_ = picture_round(folder, pictures, regions, quality=90)
    return {"megapixels": round(megapixels, 1), **_serving(round_, shown=20)}


def _serving(round_: Round, shown: int) -> dict[str, Any]:
    import httpx

    started = time.monotonic()
    server = Server(round_.run.root)
    begun = time.monotonic() - started
    origin = "/".join(server.page.split("/")[:3])
    person = {"client": "benchmark", "annotator": "script"}
    spent: list[float] = []
    with httpx.Client(base_url=origin, headers={"origin": origin}, timeout=60) as client:
        client.get(server.page)
        known = client.get("/api/round").json()["id"]
        leased = _median_ms(
            lambda: client.post("/api/lease", json={**person, "round": known, "holding": [], "more": 4})
        )
        for number in range(shown):
            started = time.monotonic()
            client.get(f"/api/regions/{number}", params=person).raise_for_status()
            spent.append(1000 * (time.monotonic() - started))
    memory = psutil.Process(server.process.pid).memory_info().rss / 2**20
    most = _most_memory(server.process.pid)
    server.stop()
    return {
        "start_s": round(begun, 1),
        "lease_ms": round(leased, 1),
        "region_ms": _spread(spent),
        "memory_mib": round(memory),
        "most_memory_mib": most,
    }


def _most_memory(pid: int) -> int | None:
    """The process's peak so far; None where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return round(int(line.split()[1]) / 1024) if line else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=60)
    parser.add_argument("--pending", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="s4al-page-") as name:
        folder = Path(name)
        results = {
            "load_average": round(os.getloadavg()[0], 1),
            "superpixels_ms": superpixel_ms(),
            "labelling": labelling(folder / "labelling", arguments.regions),
            "pending": pending(folder / "pending", arguments.pending),
            "large_image": large_image(folder / "large"),
        }
    for part, values in results.items():
        print(part, values)
    print(record("annotate_page", results))


if __name__ == "__main__":
    main()
