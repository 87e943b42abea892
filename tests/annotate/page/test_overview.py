"""Who labelled what: for whoever runs the round alone."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from s4al.annotate.page.app import PageSettings, build_app
from s4al.annotate.page.desk import Desk
from tests.annotate.page.client import HOSTILE, TOKENS, Client, labels_of, make_desk


def test_overview_is_for_the_owner(app: Any, page: Client) -> None:
    for path in ("/admin", "/api/regions/0/painted"):
        assert page.http.get(path).status_code == 403
    assert page.post("/api/regions/0/reopen").status_code == 403
    owner = Client(app, "Gil", "client-own", TOKENS.owner)
    assert owner.http.get("/admin").status_code == 200


def test_overview_shows_who_did_what_and_reopens(app: Any, page: Client, desk: Desk) -> None:
    page.person["annotator"] = HOSTILE
    page.answer(2, labels_of(2, 1), seconds=30)
    owner = Client(app, "Gil", "client-own", TOKENS.owner)
    html = owner.http.get("/admin").text
    assert "1 of 4 regions answered" in html
    assert HOSTILE not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") >= 3  # person, class and image
    picture = owner.http.get("/api/regions/2/painted?which=first")
    assert Image.open(BytesIO(picture.content)).format == "PNG"
    assert page.numbers(more=8) == [0, 1, 3]
    assert owner.post("/api/regions/2/reopen").json() == {"reopened": 2}
    assert desk.store.progress().answered == 0
    assert page.numbers(0, 1, 3, more=8) == [0, 1, 3, 2]


def test_overview_tells_agreement(tmp_path: Path, pictures: dict[str, np.ndarray]) -> None:
    desk = make_desk(tmp_path, pictures, overlap=1.0)
    app = build_app(desk, TOKENS, PageSettings("", ""))
    first = labels_of(0, 1)
    second = first.copy()
    second[:, :3] = 2  # a fifth
    Client(app, "Gil", "client-one").answer(0, first)
    Client(app, "Ada", "client-two").answer(0, second)
    html = Client(app, "Gil", "client-own", TOKENS.owner).http.get("/admin").text
    assert "Agreement of two people on 1 regions" in html
    assert "80.0 % agree with the first" in html
