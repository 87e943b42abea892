"""From a folder of images without any mask to a network, recorded: the pictures of docs/LABELLING.md.

    python -m benchmarks.labelling_walk OUT [--images 30] [--epochs 8]

The images are embedded scenes. The page's buttons and keys are used as a person does for what is seen in the pictures;
the other regions are answered over the page's own HTTP interface by a script that knows the truth.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.data.scenes.scenes import CLASSES, render
from s4al.run.state import Run
from tests.annotate.page.browser import CHROMIUM, Annotator, Server

_SIZE = (192, 256)
_WIDTH = 960  # of the pictures
_SETTINGS = (
    "data.oracle=people",
    "data.height=96",
    "data.width=128",
    "data.test_regions=20",
    "run.cycles=2",
    "trainer.iterations_per_epoch=20",
    "trainer.joint_iterations_per_epoch=20",
    "acquisition.region_height=16",
    "acquisition.region_width=16",
    "acquisition.regions_per_image=2",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="s4al-walk-") as name:
        walk(Path(name), arguments.out, arguments.images, arguments.epochs)


def walk(folder: Path, out: Path, images: int, epochs: int) -> None:
    """Writes 1-folder.jpg to 5-network.jpg into `out`."""
    photos, run = folder / "photos", folder / "runs" / "mine"
    photos.mkdir()
    truth: dict[str, np.ndarray] = {}
    for index in range(images):
        image, truth[f"street-{index:02d}"] = render(4, "train", index, *_SIZE)
        Image.fromarray(image).save(photos / f"street-{index:02d}.png")
    _contact_sheet(sorted(photos.iterdir())[:10], out / "1-folder.jpg")
    train = ["train", str(run), "--data", str(photos), *_SETTINGS]
    train += [f"trainer.epochs={epochs}", f"trainer.last_epochs={epochs}"]
    _s4al(*train, expect=3)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        _first_round(browser.new_page(viewport={"width": 1280, "height": 720}), run, truth, out)
        _s4al(*train, expect=3)
        _second_round(browser.new_page(viewport={"width": 1280, "height": 720}), run, truth, out)
        browser.close()
    _s4al(*train, expect=0)
    _s4al("predict", str(run), "--images", str(photos), "--out", str(folder / "seen"), expect=0)
    overlays = sorted((folder / "seen").rglob("*overlay*/*.*"))
    _contact_sheet(overlays[:3], out / "5-network.jpg", columns=3)


def _first_round(page: Page, run: Path, truth: dict[str, np.ndarray], out: Path) -> None:
    """Nothing is known yet: classes are typed in, regions are labelled from nothing."""
    server = Server(run)
    person = Annotator(page, server.page)
    for name in CLASSES:
        person.key("/", *name, "Enter")
        page.wait_for_selector(f'.class[title="{name}"][aria-selected="true"]')
    round = Round.open(Run.open(run))
    number = _first_of_many_classes(person, round, truth)
    about, arrays = person.message(number)
    query = round.query(number)
    cell = truth[query.image][query.box]
    segments = arrays["segments"][1]
    for id in range(int(segments.max()) * 2 // 3):
        y, x = np.argwhere(segments == id)[0]
        if cell[y, x] != 255:
            person.choose(list(CLASSES)[cell[y, x]])
            person.click((y + 0.5, x + 0.5), about)
    middle = np.argwhere(segments == int(segments.max()))[0]
    page.mouse.move(*person.screen((middle[0] + 0.5, middle[1] + 0.5), about))
    _save(page, out / "2-first-round.jpg")
    _answer_the_rest(server, round, truth)
    server.stop()


def _first_of_many_classes(person: Annotator, round: Round, truth: dict[str, np.ndarray]) -> int:
    """Plain regions before it get one class: choose, F, Enter."""
    while True:
        number = person.number(round)
        query = round.query(number)
        cell = truth[query.image][query.box]
        ids, counts = np.unique(cell[cell != 255], return_counts=True)
        if (counts > 60).sum() > 2:
            return number
        if len(ids):
            person.choose(list(CLASSES)[ids[counts.argmax()]])
            person.key("f")
        person.done(round)


def _second_round(page: Page, run: Path, truth: dict[str, np.ndarray], out: Path) -> None:
    """The network's guess is there, and where it is unsure."""
    server = Server(run)
    person = Annotator(page, server.page)
    for _ in range(3):
        page.wait_for_timeout(1500)
        person.key("Enter")
    page.mouse.move(620, 330)
    page.wait_for_timeout(300)
    _save(page, out / "3-guess.jpg")
    person.all_saved()
    round = Round.open(Run.open(run))
    _answer_the_rest(server, round, truth)
    page.goto(server.overview)
    page.wait_for_timeout(1500)
    page.mouse.wheel(0, 380)
    page.wait_for_timeout(500)
    _save(page, out / "4-answers.jpg")
    print(server.stop())


def _answer_the_rest(server: Server, round: Round, truth: dict[str, np.ndarray]) -> None:
    """Over HTTP, as the page does."""
    origin = "/".join(server.page.split("/")[:3])
    person = {"client": "walk-script", "annotator": "Gil"}
    store = AnswerStore(round)
    with httpx.Client(base_url=origin, headers={"origin": origin}, timeout=60) as client:
        client.get(server.page)
        id = client.get("/api/round").json()["id"]
        for query in round.queries:
            if store.first(query) is None:
                labels = truth[query.image][query.box]
                head = json.dumps({**person, "round": id, "seconds": 4.0, "tool": "segment"}).encode()
                content = len(head).to_bytes(4, "little") + head + labels.tobytes()
                client.post(f"/api/regions/{query.number}/answer", content=content).raise_for_status()


def _s4al(*arguments: str, expect: int) -> None:
    print("s4al", *arguments)
    done = subprocess.run([sys.executable, "-m", "s4al", *arguments], capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    if done.returncode != expect:
        raise SystemExit(f"exit code {done.returncode}, expected {expect}")


def _save(page: Page, path: Path) -> None:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    height = round(picture.height * _WIDTH / picture.width)
    picture.resize((_WIDTH, height), Image.Resampling.LANCZOS).save(path, quality=72)


def _contact_sheet(paths: list[Path], out: Path, columns: int = 5) -> None:
    width = _WIDTH // columns
    pictures = [Image.open(path).convert("RGB") for path in paths]
    height = max(round(picture.height * width / picture.width) for picture in pictures)
    sheet = Image.new("RGB", (_WIDTH, height * -(-len(pictures) // columns)), "white")
    for i, picture in enumerate(pictures):
        small = picture.resize(
            (width - 4, round(picture.height * (width - 4) / picture.width)), Image.Resampling.LANCZOS
        )
        sheet.paste(small, (i % columns * width + 2, i // columns * height + 2))
    sheet.save(out, quality=72)


if __name__ == "__main__":
    main()
