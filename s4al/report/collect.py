"""All figures of a run, from its committed folders."""

from __future__ import annotations

import hashlib
import json
import math
from itertools import accumulate
from pathlib import Path
from typing import Any

from s4al import config as settings
from s4al import files
from s4al.config import Config
from s4al.presets import PRESETS
from s4al.report import model
from s4al.report.advice import advise, back_test
from s4al.report.asked import add_answers, describe, read_hardest, read_selection
from s4al.report.labels import read_data, read_labels
from s4al.report.model import Comparison, Cycle, Point
from s4al.report.pseudo import read_pseudo
from s4al.report.sources import Gaps, read_document
from s4al.report.tested import Tested, largest_confusions, read_test
from s4al.report.truth import Truth
from s4al.run.state import STAGES, Run

_CARDS, _CARD_CYCLES = 24, 6
MOST_CLASSES = 254  # 255 is no class, 254 is void in a training
# Of the machine and the folder, and not of what is repeated.
_NOT_COMPARED = settings.FREE_ON_RESUME - {"run.cycles"}


def collect(root: Path, *, details: bool = True) -> model.Run:
    """The figures of one run; what is missing or damaged is said in `gaps`.

    Parameters
    ----------
    details : without them only what the answer needs is read, and no mask, pseudo-label or score.

    Raises
    ------
    RunStateError : there is no run.
    ConfigError : its `run.toml` is damaged, without which nothing in it can be read.
    """
    run, gaps = Run.open(root), Gaps()
    names, palette = _classes(run, gaps)
    preset, differences = nearest_preset(run.config)
    figures = model.Run(
        root=str(root),
        name=root.resolve().name,
        kind="",
        group="",
        data=model.Data(),
        class_names=names,
        palette=palette,
        seed=run.config.run.seed,
        planned_cycles=run.config.run.cycles,
        metric=run.config.acquisition.metric,
        cycles=[],
        settings=settings.flatten(run.config),
        preset=preset,
        differences=differences,
    )
    with gaps.part("The pool"):
        figures.data = read_data(run.pool_file)
    _add_cycles(run, figures, gaps, details=details)
    strategies = _strategies(figures)
    figures.kind, figures.group = _kind(run.config, strategies), _group(run.config, strategies)
    _add_newest_test(run, figures, gaps)
    _add_comparisons(run, figures, gaps)
    _add_advice(figures)
    if details:
        _add_hardest(run, figures, gaps)
    if (run.logs / "machine.json").is_file():
        with gaps.part("The machine"):
            figures.machine = _machine(read_document(run.logs / "machine.json"))
    figures.gaps = gaps.sentences
    return figures


def _add_cycles(run: Run, figures: model.Run, gaps: Gaps, *, details: bool) -> None:
    clock: dict[str, Any] = {}
    with gaps.part("The times"):
        times = run.logs / "clock.json"
        clock = read_document(times) if times.is_file() else {}
    selected = [cycle for cycle in range(run.last_cycle("select") + 1) if run.is_committed(cycle, "select")]
    shown = selected[-_CARD_CYCLES:] if details else []
    truth = Truth(run, figures.data.train) if details else None
    figures.truth = truth.why_not if truth else ""
    for number in range(run.last_cycle("labels") + 1):
        cycle = Cycle(number, [stage for stage in STAGES if run.is_committed(number, stage)])
        figures.cycles.append(cycle)
        with gaps.part(f"The labels of cycle {number}"):
            cycle.labels = read_labels(run, number, len(figures.class_names), count_classes=details)
        if "train" in cycle.stages:
            with gaps.part(f"The test of cycle {number}"):
                test = read_test(run.stage(number, "train"), figures.class_names)
                cycle.miou, cycle.per_class_iou = test.miou, test.per_class_iou
        if truth and figures.class_names and "score" in cycle.stages:
            with gaps.part(f"The pseudo-labels of cycle {number}"):
                cycle.pseudo = read_pseudo(run, number, len(figures.class_names), truth)
        if "select" in cycle.stages:
            _add_selection(run, figures, cycle, _CARDS // len(shown) if number in shown else 0, gaps)
        with gaps.part(f"The times of cycle {number}"):
            cycle.times = {stage: _time(clock[key]) for stage in STAGES if (key := f"{number:03d}/{stage}") in clock}
    _sum_up(figures)
    _say_what_is_missing(figures, gaps)


def _add_selection(run: Run, figures: model.Run, cycle: Cycle, most: int, gaps: Gaps) -> None:
    with gaps.part(f"What cycle {cycle.cycle} asked for"):
        about = files.read_manifest(run.stage(cycle.cycle, "select"))
        cycle.selection, cards = read_selection(run, cycle.cycle, about, most)
        figures.asked += cards
        describe(run, cards, figures.metric, figures.class_names)
    for card in [card for card in figures.asked if card.cycle == cycle.cycle]:
        with gaps.part(f"What people said in cycle {cycle.cycle + 1}"):
            add_answers(run, card, figures.class_names)


def _sum_up(figures: model.Run) -> None:
    """Totals up to and including each cycle, as far as the labels of all before it could be read."""
    known = []
    for cycle in figures.cycles:
        if cycle.labels is None:
            return
        known.append(cycle.labels)
        cycle.labelled_pixels = sum(labels.pixels for labels in known)
        cycle.regions = sum(labels.regions for labels in known)
        cycle.images = sum(labels.images for labels in known)
        cycle.seconds = sum(labels.seconds for labels in known)
        if figures.data.total_pixels:
            cycle.labelled_fraction = cycle.labelled_pixels / figures.data.total_pixels


def _say_what_is_missing(figures: model.Run, gaps: Gaps) -> None:
    if not figures.cycles:
        gaps.add("Nothing is labelled yet, so there is nothing to show.")
    for cycle in figures.cycles:
        missing = [stage for stage in STAGES if stage not in cycle.stages]
        if missing:
            gaps.add(f"Cycle {cycle.cycle} is not finished: it has no {', '.join(missing)} yet.")
    planned = figures.planned_cycles - len(figures.cycles)
    if figures.cycles and planned > 0:
        gaps.add(f"{planned} of {figures.planned_cycles} planned cycles {'has' if planned == 1 else 'have'} not begun.")


def _add_newest_test(run: Run, figures: model.Run, gaps: Gaps) -> None:
    if not figures.tested:
        return
    newest = figures.tested[-1].cycle
    test: Tested | None = None
    with gaps.part(f"The test of cycle {newest}"):
        test = read_test(run.stage(newest, "train"), figures.class_names)
    if test is None:
        return
    figures.examples = test.examples
    if test.counts_CC is not None:
        figures.confusion = test.counts_CC.tolist()
        figures.confusions = largest_confusions(test.counts_CC, figures.class_names, test.examples)
    with gaps.part("The version that made the run"):
        figures.code = str(files.read_manifest(run.stage(newest, "train"))["code"])


def _add_comparisons(run: Run, figures: model.Run, gaps: Gaps) -> None:
    """The runs inside the run: the same cycles with random regions, and one training on every label."""
    for name in ("random", "full"):
        inside = run.root / name
        if Run.exists(inside):
            with gaps.part(f"The run {name} inside this one"):
                points = _curve(Run.open(inside))
                if points:
                    setattr(figures, name, Comparison(f"{figures.name}/{name}", points))


def _curve(run: Run) -> list[Point]:
    points, pixels = [], 0
    for cycle in range(run.last_cycle("labels") + 1):
        pixels += read_labels(run, cycle, 0, count_classes=False).pixels
        if run.is_committed(cycle, "train"):
            miou = read_document(run.stage(cycle, "train") / "evaluation.json")["miou"]
            points.append(Point(cycle, pixels, float(miou)))
    return [point for point in points if point.miou == point.miou]


def _add_advice(figures: model.Run) -> None:
    points = figures.points
    asked = list(accumulate(cycle.labels.regions if cycle.labels else 0 for cycle in figures.cycles))
    figures.back_test = back_test(points, [asked[point.cycle] for point in points])
    last = figures.tested[-1] if figures.tested else None
    if last and last.selection:
        figures.advice = advise(points, last.selection.regions, last.selection.pixels)


def _add_hardest(run: Run, figures: model.Run, gaps: Gaps) -> None:
    scored = [cycle.cycle for cycle in figures.cycles if "score" in cycle.stages]
    if scored:
        with gaps.part(f"The hardest regions of cycle {scored[-1]}"):
            figures.hardest = read_hardest(run, scored[-1], figures.metric)
            describe(run, figures.hardest, figures.metric, figures.class_names)


def _classes(run: Run, gaps: Gaps) -> tuple[list[str], list[list[int]]]:
    """Names and colours; without the file that has them, nothing by class can be shown."""
    with gaps.part("The classes"):
        found = read_document(run.root / "classes.json")
        names = [str(name) for name in found["names"]]
        palette = [[int(value) & 255 for value in colour[:3]] for colour in found["palette"]]
        if len(names) > MOST_CLASSES or len(palette) < len(names) or any(len(colour) != 3 for colour in palette):
            raise ValueError(f"{len(palette)} colours for {len(names)} classes")
        return names, palette[: len(names)]
    return [], []


def _time(about: dict[str, Any]) -> dict[str, Any]:
    """What the clock says of one stage, its types checked: seconds, peak_mib, images_per_s, engine."""
    kinds = {"seconds": float, "peak_mib": int, "images_per_s": float, "engine": str}
    found = {name: kind(about[name]) for name, kind in kinds.items() if about.get(name) is not None}
    if not all(isinstance(value, str) or math.isfinite(value) for value in found.values()):
        raise ValueError(f"times that are not finite: {found}")
    return found


def _machine(about: dict[str, Any]) -> dict[str, Any]:
    """As `run/machine.py` describes it, its types checked."""
    plain = ("cpu", "cores", "memory_gib", "system", "python", "s4al")
    return {
        **{name: str(about[name]) for name in plain if about.get(name) is not None},
        "gpus": [str(gpu) for gpu in about.get("gpus") or ()],
        "versions": {str(name): str(version) for name, version in (about.get("versions") or {}).items() if version},
    }


def _strategies(figures: model.Run) -> list[str]:
    """The rules by which the labelled regions were chosen: `s4al select` may have been told another than the run's."""
    labelled = {cycle.cycle for cycle in figures.cycles}
    asked = [cycle.selection for cycle in figures.cycles if cycle.selection and cycle.cycle + 1 in labelled]
    return sorted({selection.strategy for selection in asked})


def _kind(config: Config, strategies: list[str]) -> str:
    if config.data.labelled_fraction == 1.0 and config.data.oracle == "masks":
        return "every label"
    if config.run.cycles == 1:
        return "labels alone"
    return "random" if (strategies or [config.acquisition.strategy]) == ["random"] else "active"


def _group(config: Config, strategies: list[str]) -> str:
    kept = {name: value for name, value in settings.flatten(config).items() if name not in _NOT_COMPARED}
    kept.pop("run.seed")
    return hashlib.sha256(json.dumps([kept, strategies], sort_keys=True).encode()).hexdigest()[:12]


def nearest_preset(config: Config) -> tuple[str, dict[str, list[Any]]]:
    """The preset that the fewest settings differ from, and those settings: `{"section.key": [preset's, run's]}`."""
    run = settings.flatten(config)
    best: tuple[str, dict[str, list[Any]]] = ("", {})
    for name in PRESETS:
        preset = settings.flatten(settings.resolve(name))
        differing = {
            key: [preset[key], value]
            for key, value in run.items()
            if preset.get(key) != value and key not in _NOT_COMPARED
        }
        if not best[0] or len(differing) < len(best[1]):
            best = name, differing
    return best
