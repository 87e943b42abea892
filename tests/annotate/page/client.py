"""One open page without a browser: what its script would send, to a desk with four regions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from s4al.annotate.page.desk import Desk
from s4al.annotate.page.guard import Tokens
from s4al.annotate.store import AnswerStore
from tests.annotate.page.rounds import picture_round

HOST = "http://127.0.0.1:8765"
TOKENS = Tokens("annotator-token", "owner-token")
HOSTILE = "<img src=x onerror=alert(1)>"
REGIONS = [("a", (10, 12, 20, 27)), ("a", (0, 0, 8, 8)), (HOSTILE, (5, 5, 15, 15)), ("b", (30, 40, 40, 60))]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """One open page: what its script would send."""

    def __init__(self, app: Any, name: str, client: str, token: str = TOKENS.annotator) -> None:
        self.http = TestClient(app, base_url=HOST, headers={"origin": HOST})
        self.person = {"client": client, "annotator": name}
        self.http.get("/", params={"token": token})

    def lease(self, *holding: int, more: int = 0) -> dict[str, Any]:
        known = self.http.get("/api/round").json()["id"]
        return self.post("/api/lease", **self.person, round=known, holding=list(holding), more=more).json()

    def numbers(self, *holding: int, more: int = 0) -> list[int]:
        return [region["number"] for region in self.lease(*holding, more=more)["regions"]]

    def post(self, path: str, **body: Any) -> Any:
        return self.http.post(path, json=body)

    def region(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arrays, and the bytes of pictures, by name."""
        message = self.http.get(f"/api/regions/{number}", params=self.person).content
        size = int.from_bytes(message[:4], "little")
        about, rest, parts = json.loads(message[4 : 4 + size]), message[4 + size :], {}
        for entry in about["parts"]:
            count = int(np.prod(entry["shape"]))
            if entry["type"].startswith("image/"):
                parts[entry["name"]], rest = rest[:count], rest[count:]
            else:
                array = np.frombuffer(rest, entry["type"], count).reshape(entry["shape"])
                parts[entry["name"]], rest = array, rest[array.nbytes :]
        assert rest == b""
        return about, parts

    def answer(self, number: int, labels: np.ndarray, **about: Any) -> Any:
        known = self.http.get("/api/round").json()
        head = json.dumps({**self.person, "round": known["id"], "seconds": 2.5, "tool": "brush", **about}).encode()
        message = len(head).to_bytes(4, "little") + head + labels.tobytes()
        return self.http.post(f"/api/regions/{number}/answer", content=message)


def make_desk(root: Path, pictures: dict[str, np.ndarray], **settings: Any) -> Desk:
    generator = np.random.default_rng(1)
    shapes = [(y1 - y0, x1 - x0) for _, (y0, x0, y1, x1) in REGIONS]
    round = picture_round(
        root,
        pictures,
        REGIONS,
        names=("road", "car", HOSTILE),
        guesses=[generator.integers(0, 3, shape, np.uint8) for shape in shapes],
        uncertainties=[generator.integers(0, 256, shape, np.uint8) for shape in shapes],
    )
    return Desk(round, AnswerStore(round), **settings)


def labels_of(number: int, value: int = 1) -> np.ndarray:
    y0, x0, y1, x1 = REGIONS[number][1]
    return np.full((y1 - y0, x1 - x0), value, np.uint8)
