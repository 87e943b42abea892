"""Pushing to and pulling from a Label Studio that is played by a small server here; the real one: `make roundtrip`."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s4al.annotate.exchange import label_studio_server
from s4al.annotate.exchange.label_studio_http import TOKEN_VARIABLE, Server
from s4al.annotate.exchange.receiving import pull_answers
from s4al.annotate.exchange.sending import push_regions
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.errors import ConfigError, DataError
from tests.annotate.rounds import make_round

JWT = "aaa.bbb.ccc"


class Studio(ThreadingHTTPServer):
    """As much of Label Studio as is called: projects, uploads, tasks, an export; and what may go wrong."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.projects: dict[int, dict[str, Any]] = {}
        self.uploads: list[str] = []
        self.tasks: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}  # instead of the usual, by path
        self.accepts = "Token secret"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Studio

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        studio, path = self.server, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        studio.requests.append(f"{self.command} {path}")
        if path in studio.answers:
            self._send(*studio.answers[path])
        elif path == "/api/token/refresh":
            studio.accepts = f"Bearer access-{len(studio.requests)}"
            self._send_json({"access": studio.accepts.removeprefix("Bearer ")})
        elif self.headers.get("Authorization") != studio.accepts:
            self._send(401, {}, b"{}")
        else:
            self._send_json(self._answer(path, body))

    do_GET = do_POST = do_PATCH = do_DELETE = _handle

    def _answer(self, path: str, body: bytes) -> Any:
        studio = self.server
        match self.command, path.split("/")[2:]:
            case "GET", ["projects"]:
                return {"results": list(studio.projects.values())}
            case "POST", ["projects"]:
                number = len(studio.projects) + 5
                studio.projects[number] = {"id": number, "task_number": 0, **json.loads(body)}
                return studio.projects[number]
            case "POST", ["projects", _, "import"] if self.headers["Content-Type"].startswith("multipart"):
                names = re.findall(rb'filename="([^"]+)"\r\nContent-Type: image/png\r\n\r\n\x89PNG', body)
                studio.uploads += [f"upload/5/0a1b2c3d-{name.decode()}" for name in names]
                return {"file_upload_ids": list(range(len(studio.uploads) - len(names), len(studio.uploads)))}
            case "GET", ["projects", _, "file-uploads"]:
                ids = json.loads(re.sub(r".*ids=", "", self.path))
                return [{"id": id, "file": studio.uploads[id]} for id in reversed(ids)]
            case "POST", ["projects", _, "import"]:
                studio.tasks += json.loads(body)
                return {"task_count": len(json.loads(body))}
            case "PATCH", ["projects", number]:
                studio.projects[int(number)] |= json.loads(body)
                return {}
            case "DELETE", ["projects", number]:
                del studio.projects[int(number)]
                return {}
            case "GET", ["projects", _, "export"]:
                return studio.tasks
            case "GET", ["users"]:
                return [{"id": 1, "email": "ann@example.org"}, {"id": 2, "email": ""}]
        raise AssertionError((self.command, path))

    def _send_json(self, value: Any) -> None:
        self._send(200, {}, json.dumps(value).encode())

    def _send(self, code: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Studio() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def round(tmp_path: Path) -> Round:
    return make_round(tmp_path)


@pytest.fixture
def store(round: Round) -> AnswerStore:
    return AnswerStore(round)


def _painted_over(task: dict[str, Any], name: str) -> dict[str, Any]:
    """The annotation of somebody who gives everything one class with a rectangle over a guess."""
    size = {key: task["predictions"][0]["result"][-1][key] for key in ("original_width", "original_height")}
    value = {"x": 0, "y": 0, "width": 100, "height": 100, "rotation": 0, "rectanglelabels": [name]}
    shape = {"type": "rectanglelabels", "from_name": "rect", "image_rotation": 0, "value": value, **size}
    results = [*task["predictions"][0]["result"], shape]
    return {"id": 1, "result": results, "completed_by": 1, "lead_time": 2.5, "updated_at": "2026-01-01"}


def test_regions_go_there_and_answers_come_back(
    studio: Studio, round: Round, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_studio_server, "_UPLOADS", 3)  # two parcels
    monkeypatch.setattr(label_studio_server, "_TASKS", 3)
    sent = push_regions(round, store, studio.url + "/")
    assert sent["out"] == f"{studio.url}/projects/5"
    (project,) = studio.projects.values()
    assert project["title"] == f"run cycle 1 ({sent['export']})"
    assert project["model_version"] == studio.tasks[0]["predictions"][0]["model_version"]
    assert [task["data"]["query_id"] for task in studio.tasks] == [query.id for query in round.queries]
    for task in studio.tasks:
        assert task["data"]["image"] == f"/data/upload/5/0a1b2c3d-{task['data']['picture']}.png"
    for task in studio.tasks[:2]:
        task["annotations"] = [_painted_over(task, "sky")]
    for task in studio.tasks[2:]:
        task["annotations"] = []
    result = pull_answers(round, store, f"{studio.url}/projects/5/data?tab=1")
    assert (result["saved"], result["open"], result["missing"]) == (2, 2, 0)
    answer = store.first(round.query(0))
    assert answer is not None
    assert (answer.annotator, answer.seconds) == ("ann@example.org", 2.5)
    assert (store.labels(answer) == 2).all()
    assert pull_answers(round, store, sent["out"])["unchanged"] == 2


def test_a_task_that_was_deleted_there_stays_open(studio: Studio, round: Round, store: AnswerStore) -> None:
    sent = push_regions(round, store, studio.url)
    for task in studio.tasks:
        task["annotations"] = [_painted_over(task, "car")]
    del studio.tasks[1]
    result = pull_answers(round, store, sent["out"])
    assert (result["saved"], result["missing"], store.first(round.query(1))) == (3, 1, None)


def test_the_same_export_is_not_pushed_twice(studio: Studio, round: Round, store: AnswerStore) -> None:
    sent = push_regions(round, store, studio.url)
    with pytest.raises(DataError, match=f"in Label Studio already: {sent['out']}"):
        push_regions(round, store, studio.url)
    assert len(studio.projects) == 1


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/api/projects/5/import", (413, {}, b"too large")),
        ("/api/projects/5/import", (200, {}, b"[]")),
        ("/api/projects/5/file-uploads", (200, {}, b"[]")),
        ("/api/projects/5/file-uploads", (200, {}, b"<html>")),
    ],
    ids=["refused", "unknown form", "uploads lost", "no JSON"],
)
def test_a_push_that_fails_leaves_no_project(
    path: str, answer: tuple[int, dict[str, str], bytes], studio: Studio, round: Round, store: AnswerStore
) -> None:
    studio.answers[path] = answer
    with pytest.raises(DataError, match=f"Label Studio at {studio.url}"):
        push_regions(round, store, studio.url)
    assert studio.projects == {}


def test_a_personal_token_is_changed_for_a_short_one_and_renewed(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, JWT)
    server = Server(studio.url)
    assert server.get("/api/users")[0]["id"] == 1
    studio.accepts = "Bearer another"  # the short one has run out
    assert server.get("/api/users")[0]["id"] == 1
    assert studio.requests.count("POST /api/token/refresh") == 2


@pytest.mark.parametrize("token", [None, "", "  ", "a\nb"])
def test_without_a_token_nothing_is_called(
    token: str | None, studio: Studio, round: Round, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE)
    if token is not None:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
    with pytest.raises(ConfigError, match=f"{TOKEN_VARIABLE} holds no token"):
        push_regions(round, store, studio.url)
    assert studio.requests == []


def test_a_token_that_is_not_accepted(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "stale")
    with pytest.raises(DataError, match="does not accept the token in LABEL_STUDIO_API_KEY for /api/users") as caught:
        Server(studio.url).get("/api/users")
    assert "stale" not in str(caught.value)


def test_a_token_follows_no_redirection(studio: Studio) -> None:
    with Studio() as elsewhere:
        studio.answers["/api/users"] = (302, {"Location": f"{elsewhere.url}/api/users"}, b"")
        with pytest.raises(DataError, match=r"sends /api/users elsewhere"):
            Server(studio.url).get("/api/users")
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "url", ["http://", "ftp://example.org", "example.org", "http://a:b@example.org", "http://example.org:x", "http://["]
)
def test_what_is_no_address(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    with pytest.raises(ConfigError, match="is not an address of Label Studio"):
        Server(url)


def test_a_server_that_is_not_there(studio: Studio, round: Round, store: AnswerStore) -> None:
    url = studio.url
    studio.server_close()
    with pytest.raises(DataError, match="cannot be reached"):
        push_regions(round, store, url)


def test_a_project_is_named_to_pull_and_none_to_push(studio: Studio, round: Round, store: AnswerStore) -> None:
    with pytest.raises(ConfigError, match="is not the address of a project"):
        pull_answers(round, store, studio.url)
    with pytest.raises(ConfigError, match="is a project"):
        push_regions(round, store, f"{studio.url}/projects/5")


def test_an_export_that_breaks_off_changes_nothing(studio: Studio, round: Round, store: AnswerStore) -> None:
    sent = push_regions(round, store, studio.url)
    studio.answers["/api/projects/5/export"] = (200, {"Content-Length": "5000"}, b"[{")
    with pytest.raises(DataError, match="broke off"):
        pull_answers(round, store, sent["out"])
    assert store.progress().answered == 0


def test_an_empty_project_holds_no_answer(studio: Studio, round: Round, store: AnswerStore) -> None:
    with pytest.raises(DataError, match="holds no answer to a region of cycle 1"):
        pull_answers(round, store, f"{studio.url}/projects/7")


def test_full_pictures_are_pushed_once_each(studio: Studio, round: Round, store: AnswerStore) -> None:
    sent = push_regions(round, store, studio.url, mode="full", guesses=False)
    assert (sent["regions"], sent["pictures"], len(studio.uploads), len(studio.tasks)) == (4, 3, 3, 3)
    kinds = {result["type"] for task in studio.tasks for result in task["predictions"][0]["result"]}
    assert kinds == {"rectanglelabels"}
    assert np.unique([task["data"]["round"] for task in studio.tasks]).tolist() == [1]
