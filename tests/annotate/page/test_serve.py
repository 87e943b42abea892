"""`s4al label serve` as a process: what it says, how it ends, and that no answer it called saved is ever lost."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from s4al.annotate.page.serve import _tokens
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.cli.app import run
from s4al.errors import RunStateError
from tests.annotate.page.browser import Server
from tests.annotate.page.rounds import picture_round

KILLS = int(os.environ.get("S4AL_PAGE_KILLS", "4"))

Serve = Callable[..., Server]


@pytest.fixture
def round(tmp_path: Path) -> Round:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    return picture_round(
        tmp_path, {"a": picture}, [("a", (y, x, y + 4, x + 4)) for y in range(0, 60, 4) for x in (0, 4)]
    )


class Script:
    """Answers over HTTP as the page does."""

    def __init__(self, server: Server, name: str = "script") -> None:
        self.attempted: dict[int, int] = {}
        self.server, self.person = server, {"client": f"client-{name}", "annotator": name}
        origin = f"http://127.0.0.1:{server.port}"
        self.http = httpx.Client(base_url=origin, headers={"origin": origin}, timeout=30)
        self.http.get(server.page)
        self.round = self.http.get("/api/round").json()["id"]

    def lease(self, more: int) -> list[int]:
        reply = self.http.post("/api/lease", json={**self.person, "holding": [], "more": more})
        return [region["number"] for region in reply.json()["regions"]]

    def answer(self, number: int, value: int) -> httpx.Response:
        head = json.dumps({**self.person, "round": self.round, "seconds": 1.0, "tool": "brush"}).encode()
        content = len(head).to_bytes(4, "little") + head + bytes([value]) * 16
        return self.http.post(f"/api/regions/{number}/answer", content=content)


def test_it_says_where_and_what_comes_next(round: Round, serve: Serve) -> None:
    server = serve(round)
    said = "".join(server.said)
    assert "30 regions of cycle 0" in said
    assert f"http://127.0.0.1:{server.port}/?token=" in said
    assert f"http://127.0.0.1:{server.port}/admin?token=" in said
    script = Script(server)
    assert script.answer(3, 1).status_code == 200
    end = server.stop()
    root = round.run.root
    assert "1 of 30 regions are answered and saved; 29 left." in end
    assert f"Next: s4al label serve {root} to go on; s4al label finish {root} to train on these." in end
    assert "Traceback" not in end
    assert server.process.returncode == 0


def test_it_says_when_all_is_done(round: Round, serve: Serve) -> None:
    server = serve(round)
    script = Script(server)
    for number in range(30):
        assert script.answer(number, 1).status_code == 200
    server.process.send_signal(signal.SIGTERM)
    end = server.process.communicate(timeout=60)[0]
    assert f"All 30 regions are done. Next: Ctrl-C, then s4al train {round.run.root}" in end
    assert end.rstrip().endswith(f"30 of 30 regions are answered and saved; 0 left.\nNext: s4al train {round.run.root}")
    assert server.process.returncode == 0


def test_links_stay_the_same_after_a_restart(round: Round, serve: Serve) -> None:
    server = serve(round)
    links = server.page, server.overview
    server.kill()
    server.start()
    assert (server.page, server.overview) == links


def test_links_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    tokens = _tokens(tmp_path)
    assert stat.S_IMODE((tmp_path / "page.json").stat().st_mode) == 0o600
    assert _tokens(tmp_path) == tokens
    assert len({tokens.annotator, tokens.owner, *vars(_tokens(tmp_path / "another")).values()}) == 4


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"annotator": "a", "owner": "b", "more": 1}'])
def test_damaged_links_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.json").write_bytes(content)
    with pytest.raises(RunStateError, match=r"page\.json is damaged"):
        _tokens(tmp_path)


def test_beyond_this_machine_it_warns_and_asks_for_names(round: Round, serve: Serve) -> None:
    server = serve(round, "--host", "0.0.0.0", annotator=None)
    assert "Whoever has the first link can label, in plain text over this network" in "".join(server.said)
    assert f"http://{socket.gethostname()}:{server.port}/?token=" in "".join(server.said)
    token = server.page.split("token=")[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        assert client.get("/", params={"token": token}).status_code == 200
        assert client.get("/api/round").json()["annotator"] == ""


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--host", "203.0.113.1"], "The page cannot be served at 203.0.113.1, port 8765: "),
        (["--host", "no such host"], "The page cannot be served at no such host, port 8765: "),
        (["--host", "x" * 70], "The page cannot be served at xxx"),
        (["--annotator", "\x1b[31m"], "A name has 1 to 64 visible characters."),
        (["--overlap", "1.5"], "--overlap"),
        (["--port", "70000"], "--port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options_end_with_2(
    round: Round, capsys: pytest.CaptureFixture[str], options: list[str], what: str
) -> None:
    assert run(["label", "serve", str(round.run.root), "--no-open", *options]) == 2
    assert what in capsys.readouterr().err


def test_port_that_is_taken_is_said(round: Round, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["label", "serve", str(round.run.root), "--no-open", "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert f"The page cannot be served at 127.0.0.1, port {port}: Address already in use." in error
    assert "--port (0 takes a free one)" in error


def test_nothing_to_label_is_said(round: Round, capsys: pytest.CaptureFixture[str]) -> None:
    round.run.commit_labels(0, [], [])
    assert run(["label", "serve", str(round.run.root), "--no-open"]) == 5
    error = capsys.readouterr().err
    assert "asks for no regions" in error
    assert "s4al train" in error


def test_body_of_a_gigabyte_is_refused_before_it_is_sent(round: Round, serve: Serve) -> None:
    server = serve(round)
    script = Script(server)
    cookie = "; ".join(f"{name}={value}" for name, value in script.http.cookies.items())
    head = (
        f"POST /api/regions/0/answer HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Origin: http://127.0.0.1:{server.port}\r\nCookie: {cookie}\r\n"
    )
    for length in ("Content-Length: 1000000000", "Transfer-Encoding: chunked"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(f"{head}{length}\r\n\r\n".encode())
            assert _until_refused(connection, chunked="chunked" in length).startswith(b"HTTP/1.1 413")
    assert script.answer(0, 1).status_code == 200


def _until_refused(connection: socket.socket, *, chunked: bool) -> bytes:
    """What the server says; a chunked body is sent until it says it."""
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    sent = 0
    connection.settimeout(0.05 if chunked else 30)
    while True:
        try:
            return connection.recv(4096)
        except TimeoutError:
            assert chunked
            assert sent < 2**24, "it reads on and on"
            connection.settimeout(30)
            connection.sendall(chunk)
            sent += len(chunk)
            connection.settimeout(0.05)


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_called_saved(round: Round, serve: Serve) -> None:
    """A script answers all the time while the server is killed at random moments and started again."""
    dice = random.Random(7)
    server = serve(round)
    saved: dict[int, int] = {}
    attempts: Iterator[int] = iter(range(10**9))
    for _ in range(KILLS):
        script = Script(server)
        killer = threading.Timer(dice.uniform(0.0, 1.0), server.process.kill)
        killer.start()
        told = _answer_until_the_end(script, attempts)
        killer.join()
        saved |= told
        server.process.communicate()
        store = AnswerStore(round)
        for number, value in saved.items():
            answer = store.first(round.query(number))
            assert answer is not None, number
            found = np.unique(store.labels(answer))
            # What was on its way when the server died may be there or not; what was told is, or what came later.
            assert found.tolist() in ([value], [script.attempted.get(number, value)])
            saved[number] = int(found[0])
        progress = store.progress()
        assert progress.answered <= 30
        assert progress.pixels == 16 * progress.answered
        server.start()
    assert saved


def _answer_until_the_end(script: Script, attempts: Iterator[int]) -> dict[int, int]:
    """number -> the class that the server said it has saved."""
    told: dict[int, int] = {}
    try:
        for attempt in attempts:
            number, value = attempt * 7 % 30, attempt % 3
            script.attempted[number] = value
            reply = script.answer(number, value)
            assert reply.status_code == 200
            told[number] = value
    except httpx.TransportError:
        pass
    return told
