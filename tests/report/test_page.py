"""The page as text: nothing in a name becomes markup, nothing is fetched, the same figures give the same bytes."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from s4al.presets import NOTES, PRESETS, PUBLISHED
from s4al.report import pictures
from s4al.report.charts import Line, chart, draw_curves, short
from s4al.report.collect import collect
from s4al.report.drawings import draw_all
from s4al.report.page import render_page
from s4al.report.pictures import PictureBook, densest_window, heat_colour
from s4al.report.sources import Gaps
from s4al.report.write import write_report
from tests.report.make_run import load, make_run

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "--><iframe src=https://example.org>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</svg><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{a}{b}$",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "\u202egnp.exe",
    "\x1b[2J\x00\x07",
    "line\nbreak\u2028and\u2029more",
    "\ud800lone",
    "x" * 5000,
    "日本語 العربية 🙂",
    "' onmouseover='alert(1)",
    "`${alert(1)}`",
)


_NO_FILE = re.compile(r"[/\x00\ud800]")


class _Page(HTMLParser):
    """What a browser would make of the page, as far as it matters here."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _check(text: str) -> _Page:
    """What holds for every page."""
    page = _Page(text)
    assert len(page.named("script")) == 1 and page.named("script")[0] == {}
    assert not {"iframe", "object", "embed", "link", "base", "foreignobject"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "xlink:href", "action", "data", "poster"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:image/webp;base64,")), (tag, address)
    assert not re.search(r"url\((?!#)", text)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\u202e\u2028\u2029]", text)
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for image in page.named("img"):
        assert image["alt"]
    return page


@pytest.mark.parametrize("first", [*range(0, len(HOSTILE) - 3, 3), len(HOSTILE) - 3])
def test_a_name_is_only_a_name(first: int, tmp_path: Path) -> None:
    """As a class and as an image, in markup, attributes, charts and the document."""
    names = HOSTILE[first : first + 3]
    images = sorted(f"z{index}{re.sub(_NO_FILE, '_', name)[:60]}" for index, name in enumerate(names))
    run = make_run(tmp_path / "run", classes=names, images=("a", *images))
    written = write_report([run.root])
    page = _check(written.page.read_text("utf-8"))
    assert written.runs[0].gaps == []
    for name in names:
        assert any(short(name)[:10] in data for data in page.text)
    assert load(written.document)["runs"][0]["class_names"] == list(names)


@pytest.mark.parametrize("name", HOSTILE[:2], ids=range(2))
def test_the_folder_of_a_run_is_only_a_name(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / name.replace("/", "_"), cycles=1)
    _check(write_report([run.root, run.root], tmp_path / "page.html").page.read_text("utf-8"))


def test_the_same_run_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    first = write_report([run.root], tmp_path / "one.html")
    code = "import sys; from pathlib import Path; from s4al.report import write_report\n"
    code += "write_report([Path(sys.argv[1])], Path(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", code, str(run.root), str(tmp_path / "two.html")], check=True)
    assert first.page.read_bytes() == (tmp_path / "two.html").read_bytes()
    assert first.document.read_bytes() == (tmp_path / "two.json").read_bytes()


def test_the_policy_allows_our_script_and_nothing_else(tmp_path: Path) -> None:
    import base64
    import hashlib

    text = write_report([make_run(tmp_path / "run").root]).page.read_text("utf-8")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = next(each["content"] for each in _Page(text).named("meta") if each.get("http-equiv"))
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert "innerHTML" not in script[1] and "eval" not in script[1]


def test_sections_stand_in_the_order_of_the_questions(tmp_path: Path) -> None:
    text = write_report([make_run(tmp_path / "run").root]).page.read_text("utf-8")
    order = [attributes["id"] for tag, attributes in _Page(text).tags if tag == "section"]
    assert order == ["answer", "curve", "classes", "asked", "pseudo", "time", "tests", "repeat"]
    links = [attributes["href"] for attributes in _Page(text).named("a")]
    assert links == ["#answer", *(f"#{id}" for id in order)]


def test_every_figure_is_in_the_document(tmp_path: Path) -> None:
    written = write_report([make_run(tmp_path / "run").root])
    document = load(written.document)
    assert document["format"] == 1
    run = document["runs"][0]
    assert [cycle["miou"] for cycle in run["cycles"]] == [0.4, 0.5]
    assert run["advice"]["gain"] == written.runs[0].advice.gain if written.runs[0].advice else None
    assert run["asked"][0]["boxes"][0]["answer"] == "car"
    assert run["data"]["total_pixels"] == 4096


def test_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    roots = [
        make_run(tmp_path / name, f"run.seed={seed}", miou=miou).root
        for name, seed, miou in (("one", 1, (0.4, 0.5)), ("two", 2, (0.42, 0.46)))
    ]
    written = write_report(roots)
    assert written.page == roots[0] / "comparison.html"
    text = written.page.read_text("utf-8")
    page = _check(text)
    assert "one (2 seeds), cycle 1: 48.0 % with 1,536 pixels, 46.0 % to 50.0 %" in text.replace("\xa0", " ")
    assert any("IoU by class, newest cycle of every run" in data for data in page.text)


def test_runs_on_other_images_are_said_to_be_no_match(tmp_path: Path) -> None:
    roots = [make_run(tmp_path / "one").root, make_run(tmp_path / "two", images=("a", "b", "c", "e")).root]
    assert "These runs have different data" in write_report(roots).page.read_text("utf-8")


def test_pictures_end_where_the_page_would_grow_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setattr(pictures, "BUDGET_BYTES", 3000)
    written = write_report([run.root])
    text = written.page.read_text("utf-8")
    assert sum(len(image["src"] or "") for image in _Page(text).named("img")) <= 3000
    assert "pictures were left out to keep the page small" in text


def test_a_page_that_would_still_be_too_large_goes_without_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setattr("s4al.report.write.MOST_BYTES", 1000)
    text = write_report([run.root]).page.read_text("utf-8")
    assert not _Page(text).named("img")
    assert "pictures were left out to keep the page small" in text


def test_many_classes_and_cycles_stay_below_the_limit(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    figures = collect(run.root)
    names = [f"{index:03d}{'n' * 300}" for index in range(254)]
    newest = figures.cycles[1]
    assert newest.pseudo and newest.labels
    pseudo = replace(newest.pseudo, **_of_classes(254))
    labels = replace(newest.labels, pixels_by_class=[5] * 254)
    cycles = [
        replace(newest, cycle=number, per_class_iou=[0.5] * 254, labels=labels, pseudo=pseudo) for number in range(300)
    ]
    palette, confusion = [[1, 2, 3]] * 254, [[1] * 254] * 254
    large = replace(figures, class_names=names, palette=palette, cycles=cycles, confusion=confusion)
    page = render_page([large], PictureBook(run, figures, Gaps()))
    assert len(page.encode()) + pictures.BUDGET_BYTES < 8 * 2**20
    assert "cycles 0 to 294" in page and "cycle 299" in page


def _of_classes(count: int) -> dict[str, list[float]]:
    return {name: [0.5] * count for name in ("share", "correct_by_class", "found_by_class")}


def test_charts_are_text_without_a_date_and_with_a_name() -> None:
    line = Line("run <1>", [1.0, 2.0], [0.1, 0.2], tips=["first", "second"])
    drawn = chart(
        "one", "A title", 'In "words"', draw_curves([line], "x", levels={"all": 0.3}, marks=[(1.5, 0.2, "m")])
    )
    assert drawn.svg.startswith("<svg viewBox=")
    assert 'role="img" aria-label="A title. In &quot;words&quot;"' in drawn.svg
    assert "<metadata" not in drawn.svg and "Matplotlib" not in drawn.svg and "date" not in drawn.svg
    assert "run &lt;1&gt;" in drawn.svg and "var(--ink)" in drawn.svg
    assert drawn.svg.count("<title>") == 4


def test_the_densest_window_holds_the_marked_pixels() -> None:
    import numpy as np

    wrong = np.zeros((20, 30), bool)
    wrong[12:15, 22:26] = True
    wrong[0, 0] = True
    rows, columns = densest_window(wrong, 8, 8)
    assert wrong[rows, columns].sum() == 12
    assert densest_window(wrong, 99, 99) == (slice(0, 20), slice(0, 30))


def test_heat_goes_from_dark_blue_to_yellow() -> None:
    assert heat_colour(0.0) == (0, 34, 78)
    assert heat_colour(1.0) == (254, 232, 56)
    brightness = [sum(heat_colour(level / 10)) for level in range(11)]
    assert brightness == sorted(brightness)


def test_every_section_has_its_charts(tmp_path: Path) -> None:
    charts = draw_all([collect(make_run(tmp_path / "run").root)])
    assert [each.title for each in charts.curve] == ["mIoU against labelled pixels", "mIoU against people's time"]
    assert [each.title for each in charts.classes] == [
        "IoU by class",
        "Labelled pixels by class and cycle",
        "Confusion matrix",
    ]
    assert charts.classes[0].alt == "1 class rose and 1 fell. Most: road, +20.0 points."
    assert charts.classes[1].alt == "Fewest: sky, 32 pixels; most: road."
    assert [each.title for each in charts.pseudo] == ["Pixels with a pseudo-label"]
    assert charts.pseudo[0].alt == "cycle 0: 50.0 % covered; cycle 1: 50.0 % covered."
    assert charts.time[0].alt == "training 2 min, scoring 4.0 s, people 1 min 30 s."
    assert "run, cycle 1: 50.0 % after 1 min 30 s" in charts.curve[1].svg


def test_published_numbers_of_the_preset_are_marked(tmp_path: Path) -> None:
    figures = collect(make_run(tmp_path / "run").root)
    charts = draw_all([replace(figures, preset="camvid", differences={"trainer.lr": [1, 2]})])
    assert "S4AL+, 10 % alone: 60.1 %" in charts.curve[0].svg and "S4AL+: 62.6 %" in charts.curve[0].svg
    elsewhere = draw_all([replace(figures, preset="camvid", differences={"data.adapter": ["camvid", "folder"]})])
    assert "S4AL+" not in elsewhere.curve[0].svg and "published" not in elsewhere.curve[0].alt
    assert charts.curve[0].alt.endswith("published for the preset camvid, from which this run differs in 1 setting.")


@pytest.mark.parametrize("preset", PUBLISHED)
def test_published_marks_belong_to_presets_and_are_shares(preset: str) -> None:
    assert preset in PRESETS and NOTES[preset].published
    for mark in PUBLISHED[preset]:
        assert 0 < mark.share <= 1 and 0 < mark.miou < 1 and mark.what
