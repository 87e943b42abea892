"""The page under a person's hands: undo, back, skip, classes, keys, a pen, and the time it takes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from tests.annotate.page.browser import Annotator, Server, near, stored

Ask = Callable[..., Round]
Serve = Callable[..., Server]
SitDown = Callable[..., Annotator]


def test_undo_and_redo_have_no_limit(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(2)
    person = sit_down(serve(round).page)
    person.full_opacity()
    about, arrays = person.message(person.number(round))
    person.key("g", "]", "]", "[", "[", "[")  # fine, whatever it was
    fine = arrays["segments"][2]
    shown = [person.seen(about, round.palette)]
    np.testing.assert_array_equal(shown[0], arrays["guess"])
    for turn in range(12):
        person.key(str(turn % 4 + 1))
        person.click((turn + 4.5, 2 * turn + 1.5), about)
        expected = shown[-1].copy()
        expected[fine == fine[turn + 4, 2 * turn + 1]] = turn % 4
        shown.append(expected)
    np.testing.assert_array_equal(person.seen(about, round.palette), shown[-1])
    steps = [shown[0]] + [b for a, b in pairwise(shown) if (a != b).any()]
    for step in steps[-2::-1]:
        person.key("z")
        np.testing.assert_array_equal(person.seen(about, round.palette), step)
    person.key("z")  # nothing is left
    for step in steps[1:]:
        person.key("y")
        np.testing.assert_array_equal(person.seen(about, round.palette), step)


def test_open_pixels_are_left_open_on_purpose_only(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(2, guess=False)
    person = sit_down(serve(round).page)
    number = person.number(round)
    assert person.page.inner_text("#open") == "520 pixels open"
    person.key("Enter")
    assert "520 pixels are open" in person.page.inner_text("#notice")
    assert person.number(round) == number
    person.click((3.5, 3.5), person.message(number)[0])  # a change of mind asks again
    person.key("Enter")
    assert person.number(round) == number
    person.done(round)
    person.all_saved()
    assert (stored(round, number) == 255).sum() not in (0, 520)


def test_skip_and_back(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(4)
    person = sit_down(serve(round).page)
    first = person.number(round)
    about, arrays = person.message(first)
    person.key("s")
    second = person.number(round)
    assert second != first
    person.done(round)
    person.all_saved()
    store = AnswerStore(round)
    skipped = store.first(round.query(first))
    assert skipped is not None
    assert skipped.skipped
    third = person.number(round)
    person.key("Backspace", "Backspace")
    assert person.number(round) == first
    person.key("1", "g")
    person.click((0.5, 0.5), about)
    person.key("Enter")
    person.all_saved()
    expected = arrays["guess"].copy()
    expected[arrays["segments"][1] == arrays["segments"][1][0, 0]] = 0
    np.testing.assert_array_equal(stored(round, first), expected)
    assert person.number(round) == second
    person.key("Enter")
    assert person.number(round) == third
    person.all_saved()
    progress = store.progress()
    assert (progress.answered, progress.skipped, progress.left) == (2, 0, 2)


def test_class_is_typed_in_and_used(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(3)
    person = sit_down(serve(round).page)
    number = person.number(round)
    about, arrays = person.message(number)
    person.key("/", *"tree", "Enter")
    person.page.wait_for_selector('.class[title="tree"][aria-selected="true"]')
    person.click((10.5, 10.5), about)
    person.done(round)
    person.all_saved()
    assert round.class_names[-1] == "tree"
    expected = arrays["guess"].copy()
    expected[arrays["segments"][1] == arrays["segments"][1][10, 10]] = 4
    np.testing.assert_array_equal(stored(round, number), expected)
    person.key("/", *"ROAD", "Enter")  # there is one: it is chosen
    person.page.wait_for_selector('.class[title="road"][aria-selected="true"]')
    assert len(round.class_names) == 5


def test_class_that_somebody_else_adds_turns_up(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(8)
    server = serve(round)
    one, two = sit_down(server.page), sit_down(server.page)
    one.key("/", *"tree", "Enter")
    one.page.wait_for_selector('.class[title="tree"]')
    assert two.page.locator('.class[title="tree"]').count() == 0
    two.done(round)
    two.page.wait_for_selector('.class[title="tree"]')


def test_without_any_class_the_first_ones_are_asked_for(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(2, guess=False, names=())
    person = sit_down(serve(round).page)
    assert "There is no class yet" in person.page.inner_text("#notice")
    person.key(*"wall", "Enter")
    person.page.wait_for_selector('.class[title="wall"][aria-selected="true"]')
    person.key("/", "/", *"lamp", "Enter")  # once too often
    person.page.wait_for_selector('.class[title="lamp"][aria-selected="true"]')
    assert round.class_names == ["wall", "lamp"]
    number = person.number(round)
    person.key("f")
    person.done(round)
    person.all_saved()
    assert (stored(round, number) == 1).all()


def test_names_are_text(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    person = sit_down(serve(asked(2)).page)
    assert person.page.inner_text(".class:nth-child(4) span") == "a <b>name</b>"
    assert person.page.locator(".class b, .class img").count() == 0


def test_overview_reopens_a_region(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(3)
    server = serve(round)
    person = sit_down(server.page)
    person.done(round)
    person.all_saved()
    assert AnswerStore(round).progress().answered == 1
    overview = person.page.context.new_page()
    overview.goto(server.overview)
    assert "1 of 3 regions answered" in overview.inner_text("body")
    overview.wait_for_function("() => document.querySelector('figure img').naturalWidth > 0")
    assert "token" not in overview.url
    overview.click("text=Reopen")
    overview.wait_for_selector("text=Asked again")
    assert AnswerStore(round).progress().answered == 0


@pytest.mark.parametrize(
    ("what", "seconds"), [("idle", (29.0, 36.0)), ("hidden", (0.0, 6.0)), ("busy", (118.0, 126.0))]
)
def test_seconds_are_active_time(
    asked: Ask, serve: Serve, sit_down: SitDown, what: str, seconds: tuple[float, float]
) -> None:
    """Two minutes by the page's clock: without a sign of life, in another tab, or with a mouse that moves."""
    round = asked(3)
    server = serve(round)
    person = sit_down(server.page)
    page = person.page
    page.clock.install()
    page.reload()
    person.wait()
    number = person.number(round)
    if what == "hidden":
        page.evaluate(
            "() => { Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
            " document.dispatchEvent(new Event('visibilitychange')); }"
        )
    for turn in range(12):
        page.clock.run_for(10_000)
        if what == "busy":
            page.mouse.move(600 + turn, 300)
    if what == "hidden":
        page.evaluate(
            "() => { Object.defineProperty(document, 'hidden', {value: false});"
            " document.dispatchEvent(new Event('visibilitychange')); }"
        )
    person.key("Enter")
    page.clock.run_for(1000)
    person.all_saved()
    answer = AnswerStore(round).first(round.query(number))
    assert answer is not None
    assert seconds[0] <= answer.seconds <= seconds[1]


def test_pen_paints_and_fingers_move_the_picture(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(2)
    person = sit_down(serve(round).page)
    person.full_opacity()
    number = person.number(round)
    about, arrays = person.message(number)
    person.key("b", "1")
    diameter = float(person.page.inner_text("#size").split()[0])
    points = [(5.5, 3.5), (5.5, 18.5)]
    _point(person, "pen", 7, [person.screen(point, about) for point in points])
    expected = arrays["guess"].copy()
    expected[near(points, diameter / 2, expected.shape)] = 0
    np.testing.assert_array_equal(person.seen(about, round.palette), expected)
    # A hand that rests beside the pen moves the picture, and back; it paints nothing.
    start, end = person.screen((10.5, 10.5), about), person.screen((14.5, 10.5), about)
    _point(person, "touch", 8, [start, end])
    assert (person.seen(about, round.palette) != expected).any()
    _point(person, "touch", 8, [end, start])
    np.testing.assert_array_equal(person.seen(about, round.palette), expected)


def _point(person: Annotator, kind: str, id: int, places: list[tuple[float, float]]) -> None:
    """Pointer events as a tablet sends them."""
    person.page.evaluate(
        """([kind, id, places]) => {
            const canvas = document.querySelector("#canvas");
            canvas.setPointerCapture = () => {};
            const send = (type, [x, y], button) => canvas.dispatchEvent(new PointerEvent(type, {
                pointerType: kind, pointerId: id, clientX: x, clientY: y, button, buttons: 1, bubbles: true }));
            send("pointerdown", places[0], 0);
            for (const place of places.slice(1)) send("pointermove", place, -1);
            send("pointerup", places.at(-1), 0);
            send("pointerleave", places.at(-1), -1);
        }""",
        [kind, id, [list(place) for place in places]],
    )
