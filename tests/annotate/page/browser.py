"""A person at the page, played by Chromium: what is clicked, and what is then to be seen."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore

CHROMIUM = os.environ.get("S4AL_CHROMIUM", "/usr/bin/chromium")
_WAIT_MS = 30_000  # machines that run tests are loaded


class Server:
    """`s4al label serve` as a process of its own; it can be killed and started again at the same address."""

    def __init__(self, root: Path, *options: str, annotator: str | None = "Gil") -> None:
        self.root, self.port = root, 0
        self.options = (*options, *(["--annotator", annotator] if annotator else []))
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-u", "-m", "s4al", "label", "serve", str(self.root)]
        options = ["--no-open", "--port", str(self.port), *self.options]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        self.said: list[str] = []
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("Ctrl-C"):
                break
        found = dict(re.findall(r"^(Label|Answers): +(\S+)", "".join(self.said), re.MULTILINE))
        self.page, self.overview = found["Label"], found["Answers"]
        self.port = int(self.page.split(":")[2].split("/")[0])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> str:
        """Ctrl-C; what it says at its end."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=60)[0]


class Annotator:
    """One open page. Positions are (y, x) in pixels of the region; the middle of a pixel is at .5."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.problems: list[str] = []
        page.set_default_timeout(_WAIT_MS)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.goto(address)
        self.wait()

    def wait(self) -> None:
        """Until a region is shown, or none is left."""
        self.page.wait_for_function(
            "() => document.querySelector('#message').hidden ? document.querySelector('#zoom').textContent :"
            " document.querySelector('#message').textContent.startsWith('All ')"
        )

    @property
    def image_and_place(self) -> tuple[str, str]:
        return self.page.inner_text("#image"), self.page.inner_text("#region")

    def number(self, round: Round) -> int:
        """Of the region at hand, by what the page says of it."""
        image, place = self.image_and_place
        matching = [
            query.number
            for query in round.queries
            if query.image == image and place == f"{query.shape[1]} × {query.shape[0]} at {query.x0}, {query.y0}"
        ]
        assert len(matching) == 1, (image, place)
        return matching[0]

    # ------------------------------------------------------------------------------------------------- hands

    def key(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def choose(self, name: str) -> None:
        self.page.click(f'.class[title="{name}"]')

    def screen(self, at: tuple[float, float], about: dict[str, Any]) -> tuple[float, float]:
        """(x, y) of the mouse for a position in the region."""
        box = self.page.locator("#canvas").bounding_box()
        assert box is not None
        scale, top, left = _geometry(about, box["height"], box["width"])
        return box["x"] + left + at[1] * scale, box["y"] + top + at[0] * scale

    def click(self, at: tuple[float, float], about: dict[str, Any], button: Any = "left") -> None:
        self.page.mouse.click(*self.screen(at, about), button=button)

    def drag(self, points: list[tuple[float, float]], about: dict[str, Any]) -> None:
        self.page.mouse.move(*self.screen(points[0], about))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.screen(point, about))
        self.page.mouse.up()

    def done(self, round: Round) -> None:
        """Enter, twice where pixels are open; returns when another region, or none, is shown."""
        before = self.image_and_place
        self.key("Enter")
        if self.page.locator("#notice").is_visible():
            self.key("Enter")
        self.page.wait_for_function(
            "([image, place]) => !document.querySelector('#message').hidden ||"
            " document.querySelector('#image').textContent !== image ||"
            " document.querySelector('#region').textContent !== place",
            arg=list(before),
        )

    def all_saved(self) -> None:
        self.wait_for_connection("All is saved.")

    def wait_for_connection(self, text: str) -> None:
        """Until the page says this of its answers."""
        self.page.wait_for_function(
            "text => document.querySelector('#connection').textContent.includes(text)", arg=text
        )

    # -------------------------------------------------------------------------------------------------- eyes

    def message(self, number: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What the server sends of a region."""
        person = {"client": "the-test-itself", "annotator": "nobody"}
        origin = "/".join(self.page.url.split("/")[:3])
        content = self.page.request.get(f"{origin}/api/regions/{number}", params=person).body()
        size = int.from_bytes(content[:4], "little")
        about, offset, arrays = json.loads(content[4 : 4 + size]), 4 + size, {}
        for entry in about["parts"]:
            if entry["type"].startswith("image/"):
                break
            count = int(np.prod(entry["shape"]))
            arrays[entry["name"]] = np.frombuffer(content, entry["type"], count, offset).reshape(entry["shape"])
            offset += arrays[entry["name"]].nbytes
        every = arrays["segments"].repeat(about["step"], 1).repeat(about["step"], 2)
        arrays["segments"] = every[:, : about["height"], : about["width"]]
        return about, arrays

    def seen(self, about: dict[str, Any], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 (h, w): the classes by the colours on the screen, 255 where it is none; at full opacity."""
        for place in (400, 5):  # over the canvas and away from it: no cross, no outline
            self.page.mouse.move(place, 100)
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shot = np.asarray(Image.open(BytesIO(self.page.locator("#canvas").screenshot())).convert("RGB")).astype(int)
        scale, top, left = _geometry(about, *shot.shape[:2])
        rows = (top + (np.arange(about["height"]) + 0.5) * scale).astype(int)
        cols = (left + (np.arange(about["width"]) + 0.5) * scale).astype(int)
        distance_HWC = np.abs(shot[rows[:, None], cols][:, :, None] - palette.astype(int)).max(axis=-1)
        return np.where(distance_HWC.min(axis=-1) <= 1, distance_HWC.argmin(axis=-1), 255).astype(np.uint8)

    def full_opacity(self) -> None:
        self.page.locator("#opacity").fill("100")
        self.page.focus("#canvas")


def _geometry(about: dict[str, Any], height: float, width: float) -> tuple[int, int, int]:
    """Screen pixels a pixel, and where the region's corner is: the view in the middle, at the largest whole zoom."""
    view = about["view"]
    rows, cols = view["y1"] - view["y0"], view["x1"] - view["x0"]
    scale = int(min(height / rows, width / cols))
    top, left = (int(np.floor(size / 2 - count / 2 * scale + 0.5)) for size, count in ((height, rows), (width, cols)))
    return scale, top + (about["y"] - view["y0"]) * scale, left + (about["x"] - view["x0"]) * scale


def stored(round: Round, number: int) -> NDArray[np.uint8]:
    """uint8 (h, w): what the store has of a region, read anew."""
    store = AnswerStore(round)
    answer = store.first(round.query(number))
    assert answer is not None, number
    return store.labels(answer)


def near(points: list[tuple[float, float]], radius: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels whose centre is at most `radius` away from a line through the points."""
    centres_HW2 = np.stack(np.meshgrid(*(np.arange(size) + 0.5 for size in shape), indexing="ij"), axis=-1)
    near_HW = np.zeros(shape, bool)
    for a, b in zip(np.array(points[:-1]), np.array(points[1:]), strict=True):
        along = ((centres_HW2 - a) @ (b - a) / max(float((b - a) @ (b - a)), 1e-9)).clip(0, 1)
        near_HW |= ((a + along[..., None] * (b - a) - centres_HW2) ** 2).sum(axis=-1) <= radius**2
    return near_HW
