"""The page in Chromium: nothing is fetched, no error, usable by keyboard, at every width, in light, dark and print."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from s4al.report.write import write_report
from tests.report.make_run import make_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_AXE = "axe-core@4"
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no Chromium is installed (looked for {', '.join(_NAMES)})")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three cycles, beside another seed, with names that are long, foreign, or look like markup."""
    root = tmp_path_factory.mktemp("browser")
    classes = ("<b>road</b>", "a very long name of a class " * 4, "空 & sky")
    images = ("a", "b", "c<i>", "d" * 120)
    runs = [
        make_run(root / name, f"run.seed={seed}", classes=classes, images=images, cycles=3, miou=(0.4, 0.45, 0.5)).root
        for name, seed in (("first", 1), ("second", 2))
    ]
    make_run(runs[0] / "random", classes=classes, images=images, cycles=3, miou=(0.4, 0.41, 0.42))
    return write_report(runs).page


Open = Callable[..., "Page"]


@pytest.fixture
def open_page(browser: Browser, report: Path) -> Iterator[Open]:
    """Opens the page in a context of its own; whatever it says on the console or asks of a network is a failure."""
    contexts, faults = [], []

    def open_it(width: int = 1280, **settings: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: _is_ours(request.url) or faults.append(f"request {request.url}"))
        page.goto(report.as_uri())
        return page

    def _is_ours(url: str) -> bool:
        return url == report.as_uri() or url.startswith("data:image/webp;base64,")

    yield open_it
    for context in contexts:
        context.close()
    assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_disk_without_an_error_or_a_request(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme, offline=True)
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("Array.from(document.images).every(image => image.complete)")
    assert page.evaluate("Array.from(document.images).every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.images.length") > 10
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert page.evaluate("document.querySelector('b, i') === null")  # names of classes and images are no markup


@pytest.mark.parametrize("width", [320, 375, 768, 1280, 1920, 2560])
def test_no_width_makes_it_scroll_sideways(open_page: Open, width: int) -> None:
    page = open_page(width)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    overflowing = """Array.from(document.querySelectorAll('body *')).filter(element =>
        element.getBoundingClientRect().right > innerWidth + 1 && !element.closest('.scroll, svg, .skip')).length"""
    assert page.evaluate(overflowing) == 0


def test_everything_is_there_without_script(open_page: Open) -> None:
    page = open_page(java_script_enabled=False)
    assert page.locator("main section").count() == 8
    assert page.locator("#asked-cards > .card").count() == page.locator("#asked-cards > .card:visible").count() > 3
    assert not page.locator("#filters").is_visible()  # what would do nothing is not shown
    assert page.locator("th button").count() == 0
    assert page.locator("svg").count() >= 6


def test_light_and_dark_are_told_apart(open_page: Open) -> None:
    grounds = [
        open_page(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert grounds == ["rgb(255, 255, 255)", "rgb(20, 23, 26)"]


def test_tables_sort_by_figures_with_the_keyboard(open_page: Open) -> None:
    page = open_page()
    table = page.locator("table.sortable", has_text="Every cycle of every run")
    button = table.get_by_role("button", name="mIoU")
    button.focus()
    page.keyboard.press("Enter")
    cells = table.locator("tbody tr td:nth-child(3)").all_inner_texts()
    assert cells == sorted(cells) and table.locator("th[aria-sort=ascending]").count() == 1
    page.keyboard.press("Enter")
    cells = table.locator("tbody tr td:nth-child(3)").all_inner_texts()
    assert cells == sorted(cells, reverse=True) and table.locator("th[aria-sort=descending]").count() == 1


def test_cards_are_filtered_by_class_cycle_and_score(open_page: Open) -> None:
    page = open_page()
    cards, said = page.locator("#asked-cards > .card:visible"), page.locator("#filters [role=status]")
    everything = cards.count()
    assert said.inner_text() == f"{everything} of {everything} images shown"
    page.locator("[name=class]").select_option("空 & sky")
    with_sky = cards.count()
    assert 0 < with_sky < everything
    page.locator("[name=cycle]").select_option("1")
    assert 0 < cards.count() < with_sky
    assert set(cards.evaluate_all("cards => cards.map(card => card.dataset.cycle)")) == {"1"}
    page.locator("[name=class]").select_option("")
    page.locator("[name=cycle]").select_option("")
    page.locator("[name=score]").press("End")
    assert 0 < cards.count() < everything
    assert said.inner_text().startswith(f"{cards.count()} of ")


def test_points_of_charts_say_what_they_are(open_page: Open) -> None:
    page = open_page()
    point = page.locator("[data-tip*='cycle 2']").first
    point.scroll_into_view_if_needed()
    point.hover()
    assert page.locator("#bubble").inner_text() == point.get_attribute("data-tip")
    assert point.locator("title").first.text_content() == point.get_attribute("data-tip")


def test_the_keyboard_reaches_everything(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    seen = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.tagName"))
        if page.evaluate("document.activeElement === document.body"):
            break
    assert {"A", "BUTTON", "SELECT", "INPUT", "SUMMARY", "DIV", "PRE"} <= seen


def test_it_prints(open_page: Open, tmp_path: Path) -> None:
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible() and not page.locator("#filters").is_visible()
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert page.evaluate("Array.from(document.querySelectorAll('details')).every(each => each.open)")


@pytest.fixture(scope="module")
def axe() -> str:
    """The text of axe-core, installed by npm into a folder under the system's temporary one."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which axe-core comes with")
    folder = Path(tempfile.gettempdir()) / "s4al-tests-axe"
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        command = [npm, "install", "--no-save", "--ignore-scripts", "--no-audit", "--prefix", str(folder), _AXE]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            pytest.skip(f"npm cannot install {_AXE}: {done.stderr.strip().splitlines()[-1:]}")
    return script.read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_axe_finds_no_serious_fault(open_page: Open, axe: str, scheme: str, width: int) -> None:
    page = open_page(width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    serious = [
        (each["id"], each["impact"], [node["html"][:200] for node in each["nodes"][:3]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
