"""The page's HTTP interface: what it serves and what it stores."""

from __future__ import annotations

import gzip
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al.annotate.page.app import PageSettings, build_app
from s4al.annotate.page.desk import Desk
from s4al.annotate.store import AnswerStore
from tests.annotate.page.client import HOSTILE, REGIONS, TOKENS, Client, labels_of, make_desk
from tests.annotate.page.rounds import picture_round

# ----------------------------------------------------------------------------------------------------- what is served


def test_page_and_assets(page: Client) -> None:
    html = page.http.get("/").text
    assert '<script type="module" src="/static/main.js">' in html
    script = page.http.get("/static/main.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "default-src 'none'" in script.headers["content-security-policy"]
    assert page.http.get("/static/page.css").status_code == 200


def test_nothing_is_fetched_from_elsewhere(page: Client) -> None:
    from importlib import resources

    texts = [page.http.get("/").text]
    texts += [item.read_text() for item in (resources.files("s4al.annotate.page") / "static").iterdir()]
    without_names = [text.replace("http://www.w3.org/2000/svg", "") for text in texts]  # a name, not an address
    assert not any("http://" in text or "https://" in text or 'src="//' in text for text in without_names)


def test_round_names_classes_and_colours(page: Client, desk: Desk) -> None:
    known = page.http.get("/api/round").json()
    assert [each["name"] for each in known["classes"]] == ["road", "car", HOSTILE]
    assert [each["colour"] for each in known["classes"]] == desk.round.palette.tolist()
    assert known["blank"] is False
    assert known["annotator"] == "gil"
    assert known["next"] == "s4al train run"


@pytest.mark.parametrize("number", range(len(REGIONS)))
def test_region_comes_with_its_pixels(page: Client, pictures: dict[str, np.ndarray], desk: Desk, number: int) -> None:
    about, arrays = page.region(number)
    name, (y0, x0, y1, x1) = REGIONS[number]
    height, width = y1 - y0, x1 - x0
    assert (about["y"], about["x"], about["height"], about["width"]) == (y0, x0, height, width)
    view = about["view"]
    shown = np.asarray(Image.open(BytesIO(arrays["view"])))
    np.testing.assert_array_equal(shown, pictures[name][view["y0"] : view["y1"], view["x0"] : view["x1"]])
    assert view["y0"] == max(0, y0 - max(16, height))
    assert view["x1"] == min(60, x1 + max(16, width))
    query = desk.query(number)
    np.testing.assert_array_equal(arrays["guess"], desk.round.guess(query))
    np.testing.assert_array_equal(arrays["uncertainty"], desk.round.uncertainty(query))
    assert about["step"] == 1
    assert arrays["segments"].shape == (3, height, width)
    assert "mine" not in arrays


def test_pictures_are_encoded_again(page: Client, desk: Desk) -> None:
    original = next((desk.round.run.root.parent / "data").glob("a.png")).read_bytes()
    _, parts = page.region(0)
    for kind in ("view", "thumbnail"):
        assert parts[kind] != original
        Image.open(BytesIO(parts[kind])).verify()


def test_blank_shows_no_guess(tmp_path: Path, pictures: dict[str, np.ndarray]) -> None:
    desk = make_desk(tmp_path, pictures, blank=True)
    page = Client(build_app(desk, TOKENS, PageSettings("", "")), "Gil", "client-one")
    assert "guess" not in page.region(0)[1]
    page.answer(0, labels_of(0))
    answer = desk.store.first(desk.query(0))
    assert answer is not None
    assert answer.guess == ""


# --------------------------------------------------------------------------------------------------- what is stored


def test_answer_is_stored_pixel_for_pixel(page: Client, desk: Desk) -> None:
    labels = np.random.default_rng(2).choice(np.array([0, 1, 2, 255], np.uint8), size=(10, 15))
    assert page.numbers(more=2) == [0, 1]
    reply = page.answer(0, labels, seconds=12.25, tool="brush+segment")
    assert reply.status_code == 200
    assert reply.json()["saved"] == 0
    assert reply.json()["progress"]["answered"] == 1
    answer = desk.store.first(desk.query(0))
    assert answer is not None
    assert (answer.annotator, answer.seconds, answer.tool) == ("Gil", 12.25, "brush+segment")
    assert len(answer.guess) == 64
    np.testing.assert_array_equal(desk.store.labels(answer), labels)
    np.testing.assert_array_equal(page.region(0)[1]["mine"], labels)
    assert page.region(0)[0]["seconds"] == 12.25


def test_answering_again_replaces(page: Client, desk: Desk) -> None:
    for value in (0, 2):
        assert page.answer(0, labels_of(0, value)).status_code == 200
    progress = desk.store.progress()
    assert (progress.answered, progress.pixels) == (1, 150)
    answer = desk.store.first(desk.query(0))
    assert answer is not None
    assert (desk.store.labels(answer) == 2).all()


def test_skip_costs_nothing_and_is_not_asked_again(page: Client, desk: Desk) -> None:
    known = page.http.get("/api/round").json()["id"]
    reply = page.post("/api/regions/0/skip", **page.person, round=known, seconds=1.0, tool="page")
    assert reply.json()["progress"]["skipped"] == 1
    assert desk.store.progress().pixels == 0
    assert page.numbers(more=8) == [1, 2, 3]


@pytest.mark.parametrize("seconds", ["many", -5, 1e300, None, [1]])
def test_time_that_cannot_be_is_bounded(page: Client, desk: Desk, seconds: object) -> None:
    assert page.answer(0, labels_of(0), seconds=seconds).status_code == 200
    answer = desk.store.first(desk.query(0))
    assert answer is not None
    assert 0 <= answer.seconds <= 86_400


def test_complete_is_told_once(tmp_path: Path, pictures: dict[str, np.ndarray]) -> None:
    told: list[int] = []
    desk = make_desk(tmp_path, pictures, on_complete=lambda: told.append(1))
    page = Client(build_app(desk, TOKENS, PageSettings("", "")), "Gil", "client-one")
    for number in range(len(REGIONS)):
        assert told == []
        page.answer(number, labels_of(number))
    page.answer(0, labels_of(0, 2))
    assert told == [1]
    assert page.lease(more=4)["regions"] == []


def test_class_is_added_with_a_colour_of_its_own(page: Client, desk: Desk) -> None:
    assert page.post("/api/classes", name="bicycle").json() == {"id": 3}
    assert page.http.get("/api/round").json()["classes"][3]["name"] == "bicycle"
    assert len({tuple(colour) for colour in desk.round.palette.tolist()}) == 4
    assert page.answer(0, labels_of(0, 3)).status_code == 200


@pytest.mark.parametrize("name", ["", "   ", "road", "ROAD", "a\x00b", "x" * 101, None, 7, ["road"]])
def test_class_that_cannot_be_is_refused(page: Client, desk: Desk, name: object) -> None:
    reply = page.post("/api/classes", name=name)
    assert reply.status_code == 422
    assert reply.json()["what"]
    assert len(desk.round.class_names) == 3


def test_large_messages_are_compressed(tmp_path: Path) -> None:
    round = picture_round(tmp_path, {"a": np.full((400, 600, 3), 128, np.uint8)}, [("a", (0, 0, 220, 222))])
    page = Client(build_app(Desk(round, AnswerStore(round)), TOKENS, PageSettings("", "")), "Gil", "client-one")
    with page.http.stream("GET", "/api/regions/0", params=page.person) as reply:
        assert reply.headers["content-encoding"] == "gzip"
        packed = b"".join(reply.iter_raw())
    assert len(packed) < 50_000 < 2**18 < len(gzip.decompress(packed))
