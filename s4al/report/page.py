"""The page: figures and pictures poured into one HTML file that fetches nothing.

Every name from the data passes through Jinja's autoescape, with what a browser would hide or act on made visible first.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from s4al import __version__
from s4al.report import model
from s4al.report.answer import headline, points
from s4al.report.drawings import Charts, draw_all
from s4al.report.pictures import PictureBook
from s4al.text import counted, duration, percent, visible

_MOST_CLASSES = 40  # of the legend above the pictures
_MOST_COLUMNS = 12
_SECTIONS = {
    "answer": "Answer",
    "curve": "Curve",
    "classes": "Classes",
    "asked": "Asked",
    "pseudo": "Pseudo-labels",
    "time": "Time",
    "tests": "Test images",
    "repeat": "Repeat",
}
_METRICS = {"least_confidence": "least confidence", "flip_entropy": "flip entropy", "label_doubt": "label doubt"}


def render_page(runs: list[model.Run], book: PictureBook) -> str:
    """HTML of a report whose details are those of the first run."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_written,
        loader=jinja2.DictLoader({"page": _template("page.html.j2")}),
    )
    run = runs[0]
    script = _template("script.js")
    charts: Charts = draw_all(runs)
    return environment.get_template("page").render(
        run=run,
        runs=runs,
        book=book,
        charts=charts,
        style=_template("style.css"),
        script=script,
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        version=__version__,
        sections=list(_SECTIONS.items()),
        subtitle=_subtitle(runs),
        tiles=_tiles(run),
        headline=headline(run),
        back_test=_back_test(run),
        metric=_METRICS.get(run.metric, run.metric),
        legend_classes=[
            (name, f"rgb({', '.join(map(str, colour))})")
            for name, colour in list(zip(run.class_names, run.palette, strict=True))[:_MOST_CLASSES]
        ],
        box_rows=_box_rows,
        newline=Markup("\n"),
        repeat=_repeat(run),
        commands=_commands(runs),
        test_cards=_test_cards(run, book),
        **_tables(runs),
    )


def _written(value: Any) -> Any:
    """What Jinja writes for a value: figures are not torn from their percent sign, nothing is hidden in names."""
    return visible(value).replace(" %", "\xa0%") if type(value) is str else value


@cache
def _template(name: str) -> str:
    return (resources.files("s4al.report") / "templates" / name).read_text(encoding="utf-8")


def _subtitle(runs: list[model.Run]) -> str:
    run = runs[0]
    data = run.data
    images = f"{data.train:,} training, {data.val:,} validation and {data.test:,} test images" if data.train else ""
    others = f" Compared with {', '.join(other.name for other in runs[1:])}." if len(runs) > 1 else ""
    return f"{run.settings['data.adapter']} data, {images}; {len(run.tested)} cycles tested.{others}"


def _tiles(run: model.Run) -> list[tuple[str, str, str]]:
    """The large figures: title, value, what it is."""
    if not run.tested:
        return []
    newest = run.tested[-1]
    tiles = [("mIoU", percent(newest.miou), f"on the test images, cycle {newest.cycle}")]
    if run.full is not None and run.full.newest.miou and newest.miou is not None:
        share = percent(newest.miou / run.full.newest.miou)
        tiles.append(("Of full supervision", share, f"which reaches {percent(run.full.newest.miou)}"))
    if newest.labelled_pixels is not None:
        share = percent(newest.labelled_fraction) or f"{newest.labelled_pixels:,}"
        tiles.append(("Labelled", share, f"{newest.labelled_pixels:,} pixels"))
        tiles.append(("Regions asked", f"{newest.regions or 0:,}", f"and {counted(newest.images or 0, 'whole image')}"))
    if newest.seconds:
        tiles.append(("People", duration(newest.seconds), "of annotating"))
    else:
        tiles.append(("People", "–", "no times recorded"))
    if run.advice:
        gain, low, high = (f"{100 * each:+.1f}" for each in (run.advice.gain, run.advice.low, run.advice.high))
        tiles.append((f"Next {run.advice.regions:,} regions", gain, f"points of mIoU, {low} to {high}"))
    return tiles


def _back_test(run: model.Run) -> list[tuple[Any, ...]]:
    return [
        (
            advice.cycle,
            f"{advice.regions:,}",
            points(advice.gain),
            f"{points(advice.low)} to {points(advice.high)}",
            points(advice.came),
            "yes" if advice.low <= advice.came <= advice.high else "no",
        )
        for advice in run.back_test
        if advice.came is not None
    ]


def _tables(runs: list[model.Run]) -> dict[str, Any]:
    run = runs[0]
    several = len(runs) > 1
    newest = [(each.name, each.tested[-1]) for each in runs if each.tested]
    judged = [cycle for cycle in run.cycles if cycle.pseudo]
    return {
        "curve_columns": [
            *(["Run", "Cycle"] if several else ["Cycle"]),
            *("mIoU", "Labelled", "Pixels", "Regions", "People"),
        ],
        "curve_rows": [_curve_row(each, cycle, several) for each in runs for cycle in each.cycles],
        "curve_note": _curve_note(runs),
        "class_columns": [
            "Class",
            *(f"Cycle {cycle.cycle}" for cycle in _columns(run)),
            *(["Change"] if len(run.tested) > 1 else []),
            "Labelled pixels",
        ],
        "class_rows": _class_rows(run),
        "class_note": _class_note(run),
        "run_class_columns": ["Class", *(name for name, _ in newest)],
        "run_class_rows": _across_runs(run, newest) if len(newest) > 1 else [],
        "asked_intro": _asked_intro(run),
        "asked_classes": sorted({name for card in run.asked for name in card.classes}),
        "asked_cycles": sorted({card.cycle for card in run.asked}),
        "highest_score": max((card.highest or 0.0 for card in run.asked), default=1.0),
        "pseudo_rows": [
            (
                cycle.cycle,
                f"{cycle.pseudo.images:,}",
                percent(cycle.pseudo.coverage),
                percent(cycle.pseudo.correct) or "not known",
            )
            for cycle in judged
            if cycle.pseudo
        ],
        "pseudo_note": _pseudo_note(run),
        "pseudo_class_rows": _pseudo_class_rows(run, judged[-1].pseudo) if judged else [],
        "time_rows": [_time_row(cycle) for cycle in run.cycles if cycle.times],
        "annotator_rows": _annotators(run),
        "difference_rows": [(key, _plain(old), _plain(new)) for key, (old, new) in run.differences.items()],
        "setting_rows": [(key, _plain(value)) for key, value in run.settings.items()],
    }


def _curve_row(run: model.Run, cycle: model.Cycle, several: bool) -> tuple[Any, ...]:
    return (
        *((run.name, cycle.cycle) if several else (cycle.cycle,)),
        percent(cycle.miou) or "not tested",
        percent(cycle.labelled_fraction) or "not known",
        f"{cycle.labelled_pixels:,}" if cycle.labelled_pixels is not None else "not known",
        f"{cycle.regions:,}" if cycle.regions is not None else "not known",
        duration(cycle.seconds) if cycle.seconds else "not recorded",
    )


def _curve_note(runs: list[model.Run]) -> str:
    note = "Labelled: of all pixels of the training images, ignored ones included."
    digests = {run.data.digest for run in runs}
    return f"{note} These runs have different data, so their figures cannot be compared." if len(digests) > 1 else note


def _class_rows(run: model.Run) -> list[tuple[Any, ...]]:
    rows = []
    labelled = _labelled_by_class(run)
    for index, name in enumerate(run.class_names):
        values = [cycle.per_class_iou[index] if cycle.per_class_iou else None for cycle in _columns(run)]
        first, last = (values[0], values[-1]) if values else (None, None)
        change = points(last - first).removesuffix(" points") if first is not None and last is not None else "–"
        cells = [percent(value) or "–" for value in values]
        rows.append((name, *cells, *([change] if len(run.tested) > 1 else []), labelled[index] if labelled else "–"))
    return rows if run.tested else []


def _columns(run: model.Run) -> list[model.Cycle]:
    """The cycles that a table by class has room for: the first, and the newest."""
    return run.tested if len(run.tested) <= _MOST_COLUMNS else [run.tested[0], *run.tested[1 - _MOST_COLUMNS :]]


def _labelled_by_class(run: model.Run) -> list[str]:
    known = [cycle.labels.pixels_by_class for cycle in run.cycles if cycle.labels and cycle.labels.pixels_by_class]
    return [f"{sum(counts):,}" for counts in zip(*known, strict=True)]


def _class_note(run: model.Run) -> str:
    parts = [cycle.labels for cycle in run.cycles if cycle.labels and not cycle.labels.all_read]
    note = "–: no such pixel in the test images, in truth or prediction."
    return f"{note} Labelled pixels are estimated from {parts[0].masks_read} masks a cycle." if parts else note


def _across_runs(run: model.Run, newest: list[tuple[str, model.Cycle]]) -> list[tuple[Any, ...]]:
    rows = []
    for index, name in enumerate(run.class_names):
        values = [
            cycle.per_class_iou[index] if cycle.per_class_iou and index < len(cycle.per_class_iou) else None
            for _, cycle in newest
        ]
        rows.append((name, *(percent(value) or "–" for value in values)))
    return [*rows, ("mean", *(percent(cycle.miou) for _, cycle in newest))]


def _asked_intro(run: model.Run) -> str:
    asked = sum(cycle.selection.regions for cycle in run.cycles if cycle.selection)
    cycles = len({card.cycle for card in run.asked})
    return (
        f"{asked:,} regions were asked for; here are {len(run.asked)} of their images, from {cycles} "
        f"cycle{'s' if cycles != 1 else ''}: those with the highest scores, and as many drawn at random. Prediction: "
        "coloured where it is confident enough to be a pseudo-label. Uncertainty: "
        f"{_METRICS.get(run.metric, run.metric)} by region, from blue, sure, to yellow, unsure, on each image's own "
        "scale."
    )


def _pseudo_note(run: model.Run) -> str:
    judged = [cycle.pseudo for cycle in run.cycles if cycle.pseudo]
    if not judged:
        return ""
    note = f"Counted in {judged[-1].images_read:,} images"
    if judged[-1].images_judged:
        return f"{note}, and compared with the truth in {judged[-1].images_judged:,}."
    return f"{note}. Not compared with the truth: {run.truth or 'no mask was found.'}"


def _pseudo_class_rows(run: model.Run, pseudo: model.Pseudo | None) -> list[tuple[Any, ...]]:
    if pseudo is None:
        return []
    shares = zip(run.class_names, pseudo.share, pseudo.correct_by_class, pseudo.found_by_class, strict=True)
    return [
        (name, percent(share), percent(correct) or "–", percent(found) or "–") for name, share, correct, found in shares
    ]


def _time_row(cycle: model.Cycle) -> tuple[Any, ...]:
    times = cycle.times
    seconds = {stage: duration(about.get("seconds")) or "–" for stage, about in times.items()}
    rate = times.get("score", {}).get("images_per_s")
    peak = max((about["peak_mib"] for about in times.values() if "peak_mib" in about), default=None)
    return (
        cycle.cycle,
        *(seconds.get(stage, "–") for stage in ("train", "export", "score")),
        f"{rate:,.1f}" if rate else "–",
        times.get("score", {}).get("engine", "–"),
        seconds.get("select", "–"),
        duration(cycle.labels.seconds) if cycle.labels and cycle.labels.seconds else "–",
        f"{peak:,} MiB" if peak else "not recorded",
    )


def _annotators(run: model.Run) -> list[tuple[Any, ...]]:
    people: dict[str, dict[str, float]] = {}
    for cycle in run.cycles:
        for name, about in (cycle.labels.annotators if cycle.labels else {}).items():
            entry = people.setdefault(name, {"regions": 0, "seconds": 0.0})
            entry["regions"] += about["regions"]
            entry["seconds"] += about["seconds"]
    return [(name, f"{int(each['regions']):,}", duration(each["seconds"])) for name, each in sorted(people.items())]


def _box_rows(card: model.Asked) -> list[tuple[Any, ...]]:
    return [
        (
            box.region,
            f"{box.y0}–{box.y1}",
            f"{box.x0}–{box.x1}",
            f"{box.score:.3f}" if box.score is not None else "–",
            box.predicted or "–",
            f"{box.answer} ({percent(box.answer_share)})" if box.answer else "–" if card.answered else "not answered",
        )
        for box in card.boxes
    ]


def _test_cards(run: model.Run, book: PictureBook) -> list[tuple[str, Mapping[str, Any], list[Any]]]:
    examples = run.examples or []
    return [(examples[index]["why"].capitalize(), examples[index], panes) for index, panes in book.examples.items()]


def _repeat(run: model.Run) -> dict[str, str]:
    number = len(run.differences)
    differing = f"{counted(number, 'setting')} {'differs' if number == 1 else 'differ'}"
    lines = {
        "Preset": f"{run.preset}, the nearest: {differing} from it, below" if run.differences else run.preset,
        "Seed": str(run.seed),
        "Data digest": run.data.digest or "not recorded",
        "Code": f"s4al {run.code}" if run.code else "not recorded",
    }
    machine = run.machine or {}
    if not machine:
        return {**lines, "Machine": "not recorded"}
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    lines["Machine"] = (
        f"{machine.get('cpu')}, {machine.get('cores')} cores, {machine.get('memory_gib')} GiB, {gpus}, "
        f"{machine.get('system')}"
    )
    installed = [f"{name} {version}" for name, version in machine["versions"].items()]
    return {**lines, "Versions": ", ".join([f"Python {machine.get('python')}", *installed])}


def _commands(runs: list[model.Run]) -> list[str]:
    folders = [shlex.quote(visible(run.root)) for run in runs]
    again = [f"s4al train {folder}-again --config {folder}/run.toml" for folder in folders]
    return [*again, f"s4al report {' '.join(folders)}"]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
