"""What the page's server refuses: unknown regions, answers that do not fit, damaged messages, paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from s4al.annotate.page.app import PageSettings, build_app
from s4al.annotate.page.desk import Desk
from s4al.annotate.store import AnswerStore
from tests.annotate.page.client import TOKENS, Client, labels_of
from tests.annotate.page.rounds import picture_round


@pytest.mark.parametrize("number", ["4", "99999999", "99999999999999999999999999"])
def test_unknown_region_is_refused(page: Client, number: str) -> None:
    known = page.http.get("/api/round").json()["id"]
    for reply in (
        page.http.get(f"/api/regions/{number}", params=page.person),
        page.answer(int(number), labels_of(0)),
        page.post("/api/lease", **page.person, round=known, holding=[int(number)], more=0),
    ):
        assert reply.status_code == 404
        assert "This round has no region" in reply.json()["what"]


@pytest.mark.parametrize(
    "path", ["/api/regions/..%2f..%2frun.toml/view", "/api/regions/a/view", "/api/regions/-1/view"]
)
def test_regions_are_numbers_only(page: Client, path: str) -> None:
    assert page.http.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/static/..%2fapp.py", "/static/../app.py", "/static/%2e%2e/app.py", "/static/x.js"])
def test_no_path_comes_from_the_client(page: Client, path: str) -> None:
    assert page.http.get(path).status_code == 404


@pytest.mark.parametrize("shape", [(10, 14), (9, 15), (0, 0), (40, 60)])
def test_answer_of_another_size_is_refused(page: Client, desk: Desk, shape: tuple[int, int]) -> None:
    reply = page.answer(0, np.zeros(shape, np.uint8))
    assert reply.status_code == 422
    assert f"has {shape[0] * shape[1]:,} pixels; the region has 10 x 15" in reply.json()["what"]
    assert desk.store.progress().answered == 0


def test_unknown_class_is_refused(page: Client, desk: Desk) -> None:
    reply = page.answer(0, labels_of(0, 3))
    assert reply.status_code == 422
    assert "class 3" in reply.json()["what"]
    assert desk.store.progress().answered == 0


def test_answer_to_another_round_is_refused(page: Client, desk: Desk) -> None:
    reply = page.answer(0, labels_of(0), round="0" * 24)
    assert reply.status_code == 409
    assert "belongs to another round than cycle 1 of run" in reply.json()["what"]
    assert desk.store.progress().answered == 0


def test_answer_to_a_committed_round_is_refused(page: Client, desk: Desk) -> None:
    desk.round.run.commit_labels(1, [], [])
    for reply in (page.answer(0, labels_of(0)), page.post("/api/lease", **page.person, round=desk.round_id, more=1)):
        assert reply.status_code == 409
        assert "is over: its answers are committed" in reply.json()["what"]
    assert not (desk.store.folder / "leases.json").exists()


@pytest.mark.parametrize(
    "body", [b"", b"\x00\x00", b"\xff\xff\xff\xff{}", b"\x02\x00\x00\x00[]", b"\x04\x00\x00\x00nope", b"[" * 60_000]
)
def test_damaged_message_is_refused(page: Client, desk: Desk, body: bytes) -> None:
    reply = page.http.post("/api/regions/0/answer", content=body)
    assert reply.status_code in (413, 422)
    assert reply.json()["what"]
    assert desk.store.progress().answered == 0


@pytest.mark.parametrize(
    "change",
    [
        {"client": "x"},
        {"client": None},
        {"client": "../../etc/passwd"},
        {"annotator": ""},
        {"annotator": "a\u202eb"},
        {"annotator": "x" * 65},
        {"annotator": 3},
        {"holding": "0"},
        {"holding": [True]},
        {"holding": [0.5]},
        {"more": "all"},
    ],
    ids=str,
)
def test_wrong_lease_request_is_refused(page: Client, change: dict[str, Any]) -> None:
    known = page.http.get("/api/round").json()["id"]
    reply = page.post("/api/lease", **{**page.person, "round": known, "holding": [], "more": 1, **change})
    assert reply.status_code == 422
    assert reply.json()["what"]


def test_a_page_cannot_take_the_whole_round(tmp_path: Path, pictures: dict[str, np.ndarray]) -> None:
    regions = [("a", (y, x, y + 2, x + 2)) for y in range(0, 40, 2) for x in range(0, 60, 2)]
    round = picture_round(tmp_path, {"a": pictures["a"]}, regions)
    page = Client(build_app(Desk(round, AnswerStore(round)), TOKENS, PageSettings("", "")), "Gil", "client-one")
    assert page.numbers(more=10**9) == list(range(8))


def test_image_that_changed_is_named(page: Client, desk: Desk) -> None:
    Image.new("RGB", (60, 40)).save(desk.round.run.root.parent / "data" / "b.png")
    reply = page.http.get("/api/regions/3", params=page.person)
    assert reply.status_code == 422
    assert "b.png changed since this run began" in reply.json()["what"]
    assert page.http.get("/api/regions/0", params=page.person).status_code == 200


def test_full_disk_is_said_and_nothing_is_called_saved(
    page: Client, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s4al import files

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_fsync", no_space)
    reply = page.answer(0, labels_of(0))
    assert reply.status_code == 507
    assert "No space left" in reply.json()["what"]
    monkeypatch.undo()
    assert page.answer(0, labels_of(0)).status_code == 200
    assert desk.store.progress().answered == 1
