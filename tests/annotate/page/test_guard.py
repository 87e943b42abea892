"""Who may talk to the page: other sites in the same browser, other people, and bodies without an end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from s4al.annotate.page.app import PageSettings, build_app
from s4al.annotate.page.desk import Desk
from s4al.annotate.page.guard import Guard, Tokens, cookie_name, is_our_host
from s4al.annotate.store import AnswerStore
from tests.annotate.page.rounds import picture_round

HOST = "http://127.0.0.1:8765"
TOKENS = Tokens("annotator-token", "owner-token")
PERSON = {"client": "client-one", "annotator": "Gil"}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    round = picture_round(tmp_path, {"a": np.zeros((40, 60, 3), np.uint8)}, [("a", (0, 0, 10, 10))])
    return Desk(round, AnswerStore(round))


@pytest.fixture
def app(desk: Desk) -> Any:
    return build_app(desk, TOKENS, PageSettings("", ""))


@pytest.fixture
def http(app: Any) -> TestClient:
    """With the cookie."""
    client = TestClient(app, base_url=HOST, headers={"origin": HOST})
    assert client.get("/?token=annotator-token").status_code == 200
    return client


PATHS = ["/", "/admin", "/api/round", "/api/regions/0", "/api/regions/0/painted"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", ["", "forged", "annotator-toke", "annotator-token2", "x" * 5000, "\u00e9"])
def test_forged_token_is_refused(app: Any, desk: Desk, path: str, token: str) -> None:
    client = TestClient(app, base_url=HOST)
    assert client.get(path, params={"token": token}).status_code == 403
    cookie = f"{cookie_name(desk.round.run.root)}={token}".encode()
    assert client.get(path, headers={"cookie": cookie}).status_code == 403


def test_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_get(app: Any, desk: Desk) -> None:
    client = TestClient(app, base_url=HOST)
    header = client.get("/?token=annotator-token").headers["set-cookie"]
    assert header == f"{cookie_name(desk.round.run.root)}=annotator-token; Path=/; HttpOnly; SameSite=Strict"
    assert "set-cookie" not in client.get("/").headers
    assert client.get("/api/round").status_code == 200


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost@evil.example", "", "[::1", "10.0.0.7"],
)
def test_other_host_is_refused(http: TestClient, host: str, method: str) -> None:
    reply = http.request(method, "/api/round", headers={"host": host, "origin": f"http://{host}"})
    assert reply.status_code == 421
    assert "does not answer to that name" in reply.json()["what"]
    assert http.get("/static/main.js", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    ("header", "bound", "ours"),
    [
        ("localhost", "127.0.0.1", True),
        ("LOCALHOST:9000", "127.0.0.1", True),  # through a tunnel
        ("[::1]:8765", "::1", True),
        ("192.168.1.5:8765", "127.0.0.1", False),
        ("192.168.1.5:8765", "0.0.0.0", True),
        ("evil.example", "0.0.0.0", False),
        ("lab.example:8765", "lab.example", True),
        ("lab.example.evil:8765", "lab.example", False),
        ("localhost:evil", "127.0.0.1", False),
    ],
)
def test_hosts(header: str, bound: str, ours: bool) -> None:
    assert is_our_host(header, bound) is ours


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1:3000",
        "http://localhost:8765",
        "null",
        "",
        "http://127.0.0.1:8765.evil.example",
    ],
)
def test_other_origin_changes_nothing(http: TestClient, desk: Desk, origin: str) -> None:
    head = json.dumps({**PERSON, "round": desk.round_id}).encode()
    message = len(head).to_bytes(4, "little") + head + bytes(100)
    for path in ("/api/regions/0/answer", "/api/lease", "/api/classes", "/api/regions/0/skip"):
        assert http.post(path, content=message, headers={"origin": origin}).status_code == 403
    assert desk.store.progress().left == 1
    assert http.post("/api/regions/0/answer", content=message).status_code == 200


def test_post_without_origin_is_refused(app: Any) -> None:
    client = TestClient(app, base_url=HOST)
    client.get("/?token=annotator-token")
    assert client.post("/api/lease", json={**PERSON, "holding": [], "more": 1}).status_code == 403


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_pictures_are_not_for_pages_of_other_sites(http: TestClient, site: str, status: int) -> None:
    assert http.get("/api/round", headers={"sec-fetch-site": site}).status_code == status


@pytest.mark.parametrize("path", ["/", "/admin", "/api/round", "/static/main.js", "/nothing", "/static/nothing"])
def test_every_answer_has_the_safety_headers(http: TestClient, path: str) -> None:
    headers = http.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"


def test_body_of_a_gigabyte_is_refused_by_its_header(http: TestClient, desk: Desk) -> None:
    reply = http.post("/api/regions/0/answer", content=b"", headers={"content-length": str(10**9)})
    assert reply.status_code == 413
    assert desk.store.progress().left == 1


def test_endless_body_is_refused_when_it_is_too_long(http: TestClient, desk: Desk) -> None:
    sent = 0

    def chunks() -> Any:
        nonlocal sent
        while sent < 2**30:
            sent += 2**14
            yield bytes(2**14)

    async def app_that_reads(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        raise AssertionError("all of it was read")

    guard = Guard(app_that_reads, bound="127.0.0.1", cookie="c", tokens=TOKENS, most_bytes=2**16)
    parts = chunks()
    read, replies = 0, []

    async def receive() -> Any:
        nonlocal read
        part = next(parts)
        read += len(part)
        return {"type": "http.request", "body": part, "more_body": True}

    async def send(message: Any) -> None:
        replies.append(message)

    import asyncio

    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"cookie", b"c=annotator-token")]
    scope = {"type": "http", "method": "POST", "path": "/api/lease", "query_string": b"", "headers": headers}
    asyncio.run(guard(scope, receive, send))
    assert replies[0]["status"] == 413
    assert read <= 2**16 + 2**14


@pytest.mark.parametrize("length", ["-1", "many", "1e3", "0x10", "\u0661"])
def test_length_that_is_no_number_is_refused(http: TestClient, length: str) -> None:
    reply = http.post("/api/lease", content=b"{}", headers={"content-length": length.encode("utf-8")})
    assert reply.status_code == 413
