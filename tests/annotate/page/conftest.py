"""A browser, and a server over pictures that the tests make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from s4al.annotate.page.app import PageSettings, build_app
from s4al.annotate.page.desk import Desk
from s4al.annotate.queries import Round
from tests.annotate.page.browser import CHROMIUM, Annotator, Server
from tests.annotate.page.client import HOSTILE, TOKENS, Client, make_desk
from tests.annotate.page.rounds import picture_round

NAMES = ("road", "car", "sky", "a <b>name</b>")


@pytest.fixture(scope="module")  # Playwright keeps an event loop running, beside which no other test could have one
def chromium() -> Iterator[Browser]:
    """Skipped where there is none; S4AL_CHROMIUM says where it is."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"Chromium is not at {CHROMIUM}; set S4AL_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., Round]:
    """Makes a round of `count` regions over blotchy pictures."""

    def make(count: int, *, guess: bool = True, names: tuple[str, ...] = NAMES, seed: int = 0) -> Round:
        generator = np.random.default_rng(seed)
        pictures = {f"street {i}": blotches(generator, 90, 120) for i in range(3)}
        boxes = [(y, x, y + 20, x + 26) for y in (0, 20, 43, 70) for x in (0, 30, 58, 94)]
        places = [(name, box) for box in boxes for name in pictures]
        chosen = [places[i] for i in generator.permutation(len(places))[:count]]
        stripes = [generator.integers(0, max(1, len(names)), (5, 1)).astype(np.uint8) for _ in chosen]
        guesses = [stripe.repeat(4, 0).repeat(26, 1) for stripe in stripes]
        unsure = [generator.integers(0, 256, (20, 26), np.uint8) for _ in chosen]
        shown = (guesses, unsure) if guess else (None, None)
        return picture_round(tmp_path, pictures, chosen, names=names, guesses=shown[0], uncertainties=shown[1])

    return make


def blotches(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3): patches of colour with some noise, so that superpixels have edges to follow."""
    coarse = generator.integers(30, 226, (height // 9 + 1, width // 9 + 1, 3))
    fine = coarse.repeat(9, 0).repeat(9, 1)[:height, :width] + generator.integers(-12, 13, (height, width, 3))
    return fine.clip(0, 255).astype(np.uint8)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers; they end with the test."""
    started: list[Server] = []

    def start(round: Round, *options: str, annotator: str | None = "Gil") -> Server:
        started.append(Server(round.run.root, *options, annotator=annotator))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture
def sit_down(chromium: Browser) -> Iterator[Callable[[str], Annotator]]:
    """Opens a page in a browser profile of its own; no error may have come up in it by the end of the test."""
    people: list[Annotator] = []

    def open_page(address: str, *, width: int = 1280, height: int = 720) -> Annotator:
        context = chromium.new_context(viewport={"width": width, "height": height})
        people.append(Annotator(context.new_page(), address))
        return people[-1]

    yield open_page
    for person in people:
        person.page.context.close()
    assert [problem for person in people for problem in person.problems] == []


@pytest.fixture
def pictures() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {name: generator.integers(0, 256, (40, 60, 3), np.uint8) for name in ("a", "b", HOSTILE)}


@pytest.fixture
def desk(tmp_path: Path, pictures: dict[str, np.ndarray]) -> Desk:
    return make_desk(tmp_path, pictures)


@pytest.fixture
def app(desk: Desk) -> Any:
    return build_app(desk, TOKENS, PageSettings("gil", "s4al train run"))


@pytest.fixture
def page(app: Any) -> Iterator[Client]:
    yield Client(app, "Gil", "client-one")
