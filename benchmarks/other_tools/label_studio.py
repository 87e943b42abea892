"""A real Label Studio for `benchmarks.roundtrip`: in an environment of its own, started on loopback, thrown away."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = "1.23.2"
PERSON = "annotator@example.org"
_START_S = 300


@dataclass(frozen=True)
class LabelStudio:
    """A server that answers, and what its HTTP interface is called with."""

    url: str
    token: str
    password: str

    def call(self, method: str, path: str, value: Any = None) -> Any:
        headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"}
        body = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            data = answer.read()
        return json.loads(data) if data else None


@contextlib.contextmanager
def running(python: Path, folder: Path) -> Iterator[LabelStudio]:
    """Start a server with an empty database in `folder`; it is stopped when the block ends."""
    port, token, password = _free_port(), secrets.token_hex(20), secrets.token_hex(8)
    command = [python.parent / "label-studio", "start", "s4al", "--init", "--no-browser", "--port", str(port)]
    command += ["--internal-host", "127.0.0.1", "--data-dir", folder, "--username", PERSON]
    command += ["--password", password, "--user-token", token, "--enable-legacy-api-token"]
    quiet = {"SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "LATEST_VERSION_CHECK": "false", "COLLECT_ANALYTICS": "false"}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **quiet}, start_new_session=True)
        try:
            studio = LabelStudio(f"http://127.0.0.1:{port}", token, password)
            _wait(studio, server, folder / "server.log")
            yield studio
        finally:
            server.terminate()
            server.wait(30)


def submit_in_page(studio: LabelStudio, project: int, tasks: list[int], chromium: str) -> None:
    """Open tasks in the page, in a real browser, and press "Submit": the guess that it shows becomes the answer."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(1000 * _START_S)
        page.goto(f"{studio.url}/user/login/")
        page.fill("input[name=email]", PERSON)
        page.fill("input[name=password]", studio.password)
        page.click("button[type=submit]")
        page.wait_for_load_state("networkidle")
        for task in tasks:
            page.goto(f"{studio.url}/projects/{project}/data?task={task}")
            page.wait_for_selector("canvas")
            page.wait_for_load_state("networkidle")
            with page.expect_response(lambda answer: "/annotations" in answer.url and answer.request.method == "POST"):
                page.get_by_role("button", name="Submit").first.click()
        browser.close()


def _wait(studio: LabelStudio, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError, ValueError):
            if studio.call("GET", "/health").get("status") == "UP":
                return
        time.sleep(0.5)
    raise RuntimeError(f"Label Studio did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
