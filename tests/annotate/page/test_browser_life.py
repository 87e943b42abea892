"""Whatever happens to browser and server, no answer is lost, and none counts twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from tests.annotate.page.browser import Annotator, Server, stored

Ask = Callable[..., Round]
Serve = Callable[..., Server]
SitDown = Callable[..., Annotator]


def test_reload_loses_nothing(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(6)
    person = sit_down(serve(round).page)
    person.full_opacity()
    person.done(round)
    number = person.number(round)
    about, _ = person.message(number)
    person.key("b", "3")
    person.drag([(4.5, 4.5), (14.5, 20.5)], about)
    before = person.seen(about, round.palette)
    for _ in range(2):
        person.page.reload()
        person.wait()
        assert person.number(round) == number
        np.testing.assert_array_equal(person.seen(about, round.palette), before)
    person.key("Backspace")  # what was done before the reload
    person.page.wait_for_function("() => document.querySelector('#image').textContent !== ''")
    np.testing.assert_array_equal(person.seen(person.message(0)[0], round.palette), stored(round, 0))
    person.key("Enter")
    person.done(round)
    person.all_saved()
    np.testing.assert_array_equal(stored(round, number), before)
    assert AnswerStore(round).progress().answered == 2


def test_answers_wait_in_the_browser_while_the_server_is_away(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(8)
    server = serve(round)
    person = sit_down(server.page)
    person.full_opacity()
    person.done(round)
    person.all_saved()
    person.page.wait_for_timeout(500)  # for those that are loaded ahead
    server.kill()
    shown = {}
    for turn in range(3):
        number = person.number(round)
        about = _about_of(round, number)
        person.key("g", str(turn + 1))
        person.click((10.5, 10.5), about)
        shown[number] = person.seen(about, round.palette)
        person.key("Enter")
    person.wait_for_connection("3 answers wait")
    assert AnswerStore(round).progress().answered == 1
    person.problems.clear()  # Chromium says that requests failed, and they did
    server.start()
    person.all_saved()
    person.wait()
    progress = AnswerStore(round).progress()
    assert progress.answered == 4
    for number, labels in shown.items():
        np.testing.assert_array_equal(stored(round, number), labels)
    person.problems.clear()
    person.done(round)
    person.all_saved()
    assert AnswerStore(round).progress().answered == 5


def test_browser_gone_and_back(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    """Closed with answers on their way: they are sent when the page is opened again."""
    round = asked(6)
    server = serve(round)
    person = sit_down(server.page)
    person.page.wait_for_timeout(500)
    server.kill()
    number = person.number(round)
    person.key("Enter")
    person.wait_for_connection("1 answer waits")
    context = person.page.context
    person.page.close()
    server.start()
    again = Annotator(context.new_page(), server.page)
    again.all_saved()
    assert AnswerStore(round).first(round.query(number)) is not None
    person.problems.clear()
    assert again.problems == []


def test_two_tabs_and_a_duplicate_get_regions_of_their_own(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(16)
    server = serve(round)
    one = sit_down(server.page)
    two = Annotator(one.page.context.new_page(), server.page)
    with one.page.context.expect_page() as opened:
        one.page.evaluate("() => window.open('/')")  # inherits the storage of the first tab
    three = Annotator(opened.value, opened.value.url)
    numbers = [person.number(round) for person in (one, two, three)]
    assert len(set(numbers)) == 3
    for person in (one, two, three):
        person.done(round)
        person.all_saved()
    progress = AnswerStore(round).progress()
    assert (progress.answered, progress.twice) == (3, 0)
    assert all(AnswerStore(round).first(round.query(number)) for number in numbers)


def test_tabs_leave_each_others_answers_alone(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    """Both have one on its way while the server is away; one is reloaded before the other has sent its."""
    round = asked(12)
    server = serve(round)
    one = sit_down(server.page)
    two = Annotator(one.page.context.new_page(), server.page)
    numbers = [person.number(round) for person in (one, two)]
    server.kill()
    for person in (one, two):
        person.key("Enter")
        person.page.wait_for_function(
            "() => document.querySelector('#connection').textContent.includes('1 answer waits')"
        )
    server.start()
    two.page.reload()
    for person in (one, two):
        person.all_saved()
    assert all(AnswerStore(round).first(round.query(number)) for number in numbers)
    assert AnswerStore(round).progress().answered == 2
    one.problems.clear()


def test_region_that_went_to_somebody_else_is_said(asked: Ask, serve: Serve, sit_down: SitDown) -> None:
    round = asked(6)
    person = sit_down(serve(round).page)
    number = person.number(round)
    query = round.query(number)
    AnswerStore(round).save(query, np.zeros(query.shape, np.uint8), annotator="Ada", seconds=1, tool="import")
    person.key("Enter")
    person.page.wait_for_selector("#notice.bad")
    assert "was answered by Ada meanwhile" in person.page.inner_text("#notice")
    person.problems.clear()  # Chromium tells of the 409
    assert (stored(round, number) == 0).all()
    assert AnswerStore(round).progress().twice == 0


def _about_of(round: Round, number: int) -> dict:
    """What the server would say of where a region is, were it there."""
    from s4al.annotate.page.pictures import view_of

    query = round.query(number)
    height, width = query.shape
    view = vars(view_of(query, *round.image(query).shape[:2]))
    return {"y": query.y0, "x": query.x0, "height": height, "width": width, "view": view}
