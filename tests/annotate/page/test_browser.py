"""What a person paints on the page in a real browser is what the store gets, pixel for pixel, with every tool."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from tests.annotate.page.browser import Annotator, Server, near, stored

REGIONS = int(os.environ.get("S4AL_PAGE_REGIONS", "60"))
OPEN, UNTOUCHED = 255, 254  # left open on purpose; what nobody has said anything about, stored as open too

Ask = Callable[..., Round]
Serve = Callable[..., Server]
SitDown = Callable[..., Annotator]
Labels = np.ndarray


# ------------------------------------------- tools: each paints on the page, and says what labels have to come of it


def _segment_click(person: Annotator, about: dict, arrays: dict, labels: Labels, dice: np.random.Generator) -> Labels:
    person.key("g", "2")
    for _ in range(2):
        y, x = int(dice.integers(20)), int(dice.integers(26))
        person.click((y + 0.5, x + 0.5), about)
        labels[arrays["segments"][1] == arrays["segments"][1][y, x]] = 1
    return labels


def _segment_drag(person: Annotator, about: dict, arrays: dict, labels: Labels, dice: np.random.Generator) -> Labels:
    person.key("g", "3", "]")  # coarse
    y = int(dice.integers(20))
    person.drag([(y + 0.5, 2.5), (y + 0.5, 20.5)], about)
    touched = np.unique(arrays["segments"][0][y, 2:21])
    person.key("[")
    labels[np.isin(arrays["segments"][0], touched)] = 2
    return labels


def _brush(person: Annotator, about: dict, arrays: dict, labels: Labels, dice: np.random.Generator) -> Labels:
    person.key("b", "1")
    points = [(float(y) + 0.5, float(x) + 0.5) for y, x in dice.integers((0, 0), (20, 26), (4, 2))]
    diameter = float(person.page.inner_text("#size").split()[0])
    person.drag(points, about)
    labels[near(points, diameter / 2, labels.shape)] = 0
    return labels


def _polygon(person: Annotator, about: dict, arrays: dict, labels: Labels, dice: np.random.Generator) -> Labels:
    person.key("p", "4")
    # Not through the centre of any pixel: which side such a pixel is on is a matter of taste.
    points = [(3.2, 2.2), (16.7, 4.8), (float(dice.integers(8, 15)) + 0.3, 22.7), (1.3, 14.2)]
    for point in points:
        person.click(point, about)
    person.key("Enter")
    centres = np.stack(np.meshgrid(np.arange(20) + 0.5, np.arange(26) + 0.5, indexing="ij"), axis=-1).reshape(-1, 2)
    labels[Outline(points).contains_points(centres).reshape(20, 26)] = 3
    return labels


def _picker(person: Annotator, about: dict, arrays: dict, labels: Labels, dice: np.random.Generator) -> Labels:
    y, x = 10, 13
    if labels[y, x] >= UNTOUCHED:
        return labels
    person.key("i")
    person.click((y + 0.5, x + 0.5), about)
    person.key("b")
    person.drag([(2.5, 3.5), (2.5, 9.5)], about)
    diameter = float(person.page.inner_text("#size").split()[0])
    labels[near([(2.5, 3.5), (2.5, 9.5)], diameter / 2, labels.shape)] = labels[y, x]
    return labels


def _undecided(person: Annotator, about: dict, arrays: dict, labels: Labels, dice: np.random.Generator) -> Labels:
    person.key("g", "0")
    person.click((5.5, 5.5), about)
    labels[arrays["segments"][1] == arrays["segments"][1][5, 5]] = OPEN
    return labels


def _keyboard_alone(person: Annotator, about: dict, arrays: dict, labels: Labels, dice: np.random.Generator) -> Labels:
    person.key("b", "2", "ArrowUp", "ArrowLeft", "Shift+ArrowUp", "ArrowLeft", ".")
    middle = (10.5, 13.5)
    at = (middle[0] - 10, middle[1] - 2)
    diameter = float(person.page.inner_text("#size").split()[0])
    labels[near([at, at], diameter / 2, labels.shape)] = 1
    return labels


def _fill(person: Annotator, about: dict, arrays: dict, labels: Labels, dice: np.random.Generator) -> Labels:
    person.key("4", "f")
    labels[labels == (UNTOUCHED if (labels == UNTOUCHED).any() else OPEN)] = 3
    return labels


def _accept(person: Annotator, about: dict, arrays: dict, labels: Labels, dice: np.random.Generator) -> Labels:
    return labels


TOOLS = (_segment_click, _segment_drag, _brush, _polygon, _picker, _undecided, _keyboard_alone, _fill, _accept)


@pytest.mark.slow
@pytest.mark.parametrize("guess", [True, False], ids=["guess", "blank"])
def test_what_is_painted_is_what_is_stored(asked: Ask, serve: Serve, sit_down: SitDown, guess: bool) -> None:
    """Each tool does what it says, by a model of its own; the screen shows it; and the store gets it."""
    count = REGIONS // 2
    round = asked(count, seed=guess)
    server = serve(round, *([] if guess else ["--blank"]))
    person = sit_down(server.page)
    person.full_opacity()
    dice = np.random.default_rng(5)
    painted = {}
    for turn in range(count):
        number = person.number(round)
        about, arrays = person.message(number)
        labels = arrays["guess"].copy() if guess else np.full((20, 26), UNTOUCHED, np.uint8)
        for tool in (TOOLS[turn % len(TOOLS)], *(TOOLS[i] for i in dice.permutation(len(TOOLS) - 1)[:2])):
            labels = tool(person, about, arrays, labels, dice)
        labels[labels == UNTOUCHED] = OPEN
        np.testing.assert_array_equal(person.seen(about, round.palette), labels, err_msg=f"seen, turn {turn}")
        person.done(round)
        painted[number] = labels
    person.page.wait_for_selector("#message code")
    assert "s4al train" in person.page.inner_text("#message")
    person.all_saved()
    assert sorted(painted) == list(range(count))
    for number, labels in painted.items():
        np.testing.assert_array_equal(stored(round, number), labels, err_msg=f"region {number}")
    answers = [AnswerStore(round).first(query) for query in round.queries]
    assert all(answer is not None and 0 < answer.seconds < 60 for answer in answers)
    assert all(answer is not None and bool(answer.guess) is guess for answer in answers)
    assert f"{count} of {count} regions are answered and saved; 0 left." in server.stop()
