"""Two people never get the same region, and nobody loses an answer to a restart of the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s4al.annotate.page.app import PageSettings, build_app
from s4al.annotate.page.desk import Desk
from s4al.annotate.page.leases import LEASE_S, LEFT_S, RETURN_S, Leases
from s4al.annotate.store import AnswerStore
from tests.annotate.page.client import TOKENS, Client, Clock, labels_of, make_desk


def test_two_people_never_get_the_same_region(app: Any) -> None:
    one, two = Client(app, "Gil", "client-one"), Client(app, "Ada", "client-two")
    assert one.numbers(more=2) == [0, 1]
    assert two.numbers(more=2) == [2, 3]
    assert one.numbers(0, 1, more=2) == [0, 1]


def test_two_tabs_of_one_person_get_other_regions(app: Any) -> None:
    one, two = Client(app, "Gil", "client-one"), Client(app, "Gil", "client-two")
    assert one.numbers(more=2) == [0, 1]
    assert two.numbers(more=2) == [2, 3]


def test_lease_runs_out_and_a_late_answer_is_refused(tmp_path: Path, pictures: dict[str, np.ndarray]) -> None:
    clock = Clock()
    desk = make_desk(tmp_path, pictures, leases=Leases(clock=clock))
    app = build_app(desk, TOKENS, PageSettings("", ""))
    one, two = Client(app, "Gil", "client-one"), Client(app, "Ada", "client-two")
    assert one.numbers(more=1) == [0]
    clock.now += LEASE_S - 1
    assert two.numbers(more=1) == [1]
    assert one.numbers(0) == [0]  # activity renews it
    clock.now += LEASE_S - 1
    assert two.numbers(1, more=1) == [1, 2]
    clock.now += 2
    assert two.numbers(1, 2, more=1) == [1, 2, 0]
    late = one.answer(0, labels_of(0))
    assert late.status_code == 409
    assert late.json()["what"] == "Region 0 is with Ada now: it was not touched here for ten minutes."
    assert one.lease(0)["lost"] == [0]
    assert two.answer(0, labels_of(0, 2)).status_code == 200
    again = one.answer(0, labels_of(0))
    assert again.status_code == 409
    assert "was answered by Ada" in again.json()["what"]
    assert desk.store.progress().twice == 0


def test_a_person_may_answer_what_a_closed_tab_of_hers_held(app: Any, desk: Desk) -> None:
    one, two = Client(app, "Gil", "client-one"), Client(app, "Gil", "client-two")
    assert one.numbers(more=1) == [0]
    assert two.numbers(more=1) == [1]
    assert two.answer(0, labels_of(0)).status_code == 200
    assert desk.store.progress().answered == 1


def test_late_answer_that_nobody_else_took_is_taken(tmp_path: Path, pictures: dict[str, np.ndarray]) -> None:
    clock = Clock()
    desk = make_desk(tmp_path, pictures, leases=Leases(clock=clock))
    page = Client(build_app(desk, TOKENS, PageSettings("", "")), "Gil", "client-one")
    assert page.numbers(more=1) == [0]
    clock.now += 10 * LEASE_S
    assert page.answer(0, labels_of(0)).status_code == 200


def test_closed_page_gives_its_regions_back_soon(tmp_path: Path, pictures: dict[str, np.ndarray]) -> None:
    clock = Clock()
    desk = make_desk(tmp_path, pictures, leases=Leases(clock=clock))
    app = build_app(desk, TOKENS, PageSettings("", ""))
    one, two = Client(app, "Gil", "client-one"), Client(app, "Ada", "client-two")
    assert one.numbers(more=2) == [0, 1]
    assert one.post("/api/leave", **one.person).status_code == 200
    assert one.numbers(0) == [0]  # it was only reloaded, and wants one of them
    clock.now += LEFT_S + 1
    assert two.numbers(more=2) == [1, 2]


def test_page_of_an_earlier_round_gets_nothing(page: Client) -> None:
    reply = page.post("/api/lease", **page.person, round="0" * 24, holding=[0], more=4)
    assert reply.status_code == 409
    assert "another round than cycle 1 of run" in reply.json()["what"]


def test_after_a_restart_pages_get_back_what_they_held(desk: Desk, app: Any) -> None:
    page = Client(app, "Gil", "client-one")
    assert page.numbers(more=2) == [0, 1]
    restarted = build_app(Desk(desk.round, AnswerStore(desk.round)), TOKENS, PageSettings("", ""))
    again = Client(restarted, "Gil", "client-one")
    assert again.numbers(0, 1) == [0, 1]
    assert again.answer(0, labels_of(0)).status_code == 200


def test_after_a_restart_nobody_else_gets_what_a_page_held(desk: Desk, app: Any) -> None:
    """Its answer may be waiting in its browser."""
    assert Client(app, "Gil", "client-one").numbers(more=2) == [0, 1]
    clock = Clock()
    leases = Leases(desk.store.folder / "leases.json", clock)
    restarted = build_app(Desk(desk.round, desk.store, leases=leases), TOKENS, PageSettings("", ""))
    one, two = Client(restarted, "Gil", "client-one"), Client(restarted, "Ada", "client-two")
    assert two.numbers(more=2) == [2, 3]
    assert one.answer(0, labels_of(0)).status_code == 200
    clock.now += LEASE_S + 1
    assert two.numbers(2, 3, more=2) == [2, 3, 1]


def test_leases_of_long_ago_hold_for_a_moment_after_a_restart(tmp_path: Path) -> None:
    file, clock = tmp_path / "leases.json", Clock()
    file.write_text(json.dumps([[0, "client-one", "Gil", 12.5], [1, "client-one", "Gil", 1e12]]))
    leases = Leases(file, clock)
    assert not leases.take(0, "client-two", "Ada")
    clock.now += RETURN_S + 1
    assert leases.take(0, "client-two", "Ada")
    assert not leases.take(1, "client-two", "Ada")
    clock.now += LEASE_S  # however far the clock was off
    assert leases.take(1, "client-two", "Ada")


@pytest.mark.parametrize("content", [b"", b"[[0]]", b"{", b"null", b'[["a", "b", "c", "d"]]', b"\xff"])
def test_damaged_leases_count_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "leases.json").write_bytes(content)
    leases = Leases(tmp_path / "leases.json")
    assert leases.take(0, "client-two", "Ada")
    leases.keep()
    assert not Leases(tmp_path / "leases.json").take(0, "client-one", "Gil")


def test_overlap_asks_a_second_person(tmp_path: Path, pictures: dict[str, np.ndarray]) -> None:
    desk = make_desk(tmp_path, pictures, overlap=1.0)
    app = build_app(desk, TOKENS, PageSettings("", ""))
    one, two, three = (Client(app, name, f"client-{name}") for name in ("Gil", "Ada", "Bob"))
    assert one.answer(0, labels_of(0, 1)).status_code == 200
    assert one.numbers(more=1) == [1]  # not the same one again
    lease = two.lease(more=1)
    assert [region["number"] for region in lease["regions"]] == [0]
    assert lease["regions"][0]["second"] is True
    assert "mine" not in two.region(0)[1]  # the first answer is not shown
    assert two.answer(0, labels_of(0, 2)).status_code == 200
    assert three.answer(0, labels_of(0, 2)).status_code == 409
    progress = desk.store.progress()
    assert (progress.answered, progress.twice, progress.pixels) == (1, 1, 150)
