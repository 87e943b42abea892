"""Which charts a page has, and what is drawn in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from s4al.presets import PUBLISHED, Mark
from s4al.report import model
from s4al.report.charts import Chart, Line, chart, draw_curves, draw_matrix, draw_ranges, draw_stacks
from s4al.text import counted, duration, percent

_MOST_ROWS = 24  # classes in one chart; tables have all
_SAME_TEST = {"data.adapter", "data.height", "data.width", "data.test_split"}
_MOST_PARTS = 5  # of a bar by cycle; those before are one
_ROW = 0.075  # of a chart's usual height


@dataclass
class Charts:
    """By section of the page."""

    curve: list[Chart] = field(default_factory=list)
    classes: list[Chart] = field(default_factory=list)
    pseudo: list[Chart] = field(default_factory=list)
    time: list[Chart] = field(default_factory=list)


def draw_all(runs: list[model.Run]) -> Charts:
    """Every chart for which there are figures."""
    run, charts = runs[0], Charts()
    if any(each.points for each in runs):
        charts.curve.append(_pixels_chart(runs))
    if any(cycle.seconds for each in runs for cycle in each.tested):
        charts.curve.append(_minutes_chart(runs))
    if run.tested and run.class_names:
        charts.classes.append(_iou_chart(run))
        if any(cycle.labels and any(cycle.labels.pixels_by_class or ()) for cycle in run.cycles):
            charts.classes.append(_labelled_chart(run))
        if run.confusion is not None:
            charts.classes.append(_confusion_chart(run))
    judged = [cycle.pseudo for cycle in run.cycles if cycle.pseudo]
    if judged:
        charts.pseudo.append(_coverage_chart(run))
        if any(value is not None for value in judged[-1].correct_by_class):
            charts.pseudo.append(_correct_chart(run, judged))
    if any(cycle.times for cycle in run.cycles):
        charts.time.append(_time_chart(run))
    return charts


# ---------------------------------------------------------------------------------------------------- curves


def _pixels_chart(runs: list[model.Run]) -> Chart:
    run = runs[0]
    total = run.data.total_pixels
    lines = [_line(group, total) for group in _groups(runs)]
    if run.random is not None and run.random.where not in {each.name for each in runs}:
        lines.append(_curve_of(run.random, "random regions", total))
    whole = {each.where for each in (run.full,) if each}
    lines = [line for line in lines if line.x and line.name not in whole]
    levels = {"every label": run.full.newest.miou} if run.full else {}
    marks = [(100 * mark.share, mark.miou, mark.what) for mark in _published(run)] if total else []
    title = "mIoU against labelled pixels"
    alt = "; ".join(_in_words(line) for line in lines) + "."
    if marks:
        alt += f" Crosses: published for the preset {run.preset}" + (
            f", from which this run differs in {counted(len(run.differences), 'setting')}." if run.differences else "."
        )
    label = "labelled, % of all pixels" if total else "labelled pixels"
    return chart("curve", title, alt, draw_curves(lines, label, levels=levels, marks=marks), width=1.1, height=1.1)


def _published(run: model.Run) -> tuple[Mark, ...]:
    """The published numbers of the nearest preset, where the images and the test are those of the preset."""
    return () if _SAME_TEST & run.differences.keys() else PUBLISHED.get(run.preset, ())


def _minutes_chart(runs: list[model.Run]) -> Chart:
    lines = []
    for group in _groups(runs):
        for run in group:
            cycles = [cycle for cycle in run.tested if cycle.seconds is not None]
            line = Line(run.name, [(cycle.seconds or 0) / 60 for cycle in cycles], [c.miou or 0 for c in cycles])
            line.tips = [f"{run.name}, cycle {c.cycle}: {percent(c.miou)} after {duration(c.seconds)}" for c in cycles]
            lines.append(line)
    alt = "; ".join(_in_words(line) for line in lines) + "."
    draw = draw_curves(lines, "minutes of people", levels={}, marks=())
    return chart("minutes", "mIoU against people's time", alt, draw, width=1.1, height=1.1)


def _groups(runs: list[model.Run]) -> list[list[model.Run]]:
    """Runs that differ in nothing but their seed, in the order in which they were given."""
    order = list(dict.fromkeys(run.group for run in runs))
    return [[run for run in runs if run.group == group] for group in order]


def _line(group: Sequence[model.Run], total: int) -> Line:
    """The mean over seeds, cycle by cycle, with the least and the greatest."""
    points = sorted((point for run in group for point in run.points), key=lambda point: point.cycle)
    seeds = f" ({len(group)} seeds)" if len(group) > 1 else ""
    line = Line(f"{group[0].name}{seeds}", [], [])
    for cycle, found in groupby(points, key=lambda point: point.cycle):
        same = list(found)
        values = [point.miou for point in same]
        pixels = float(np.mean([point.pixels for point in same]))
        line.x.append(100 * pixels / total if total else pixels)
        line.y.append(float(np.mean(values)))
        line.low.append(min(values))
        line.high.append(max(values))
        spread = f", {percent(min(values))} to {percent(max(values))}" if len(values) > 1 else ""
        line.tips.append(f"{line.name}, cycle {cycle}: {percent(line.y[-1])} with {pixels:,.0f} pixels{spread}")
    return line


def _curve_of(comparison: model.Comparison, name: str, total: int) -> Line:
    points = comparison.points
    return Line(
        name,
        [100 * point.pixels / total if total else point.pixels for point in points],
        [point.miou for point in points],
        tips=[f"{name}, cycle {p.cycle}: {percent(p.miou)} with {p.pixels:,} pixels" for p in points],
    )


def _in_words(line: Line) -> str:
    if len(line.y) == 1:
        return f"{line.name}: {percent(line.y[0])}"
    return f"{line.name}: from {percent(line.y[0])} to {percent(line.y[-1])}"


# --------------------------------------------------------------------------------------------------- classes


def _iou_chart(run: model.Run) -> Chart:
    first, last = run.tested[0], run.tested[-1]
    before, after = first.per_class_iou or [], last.per_class_iou or []
    changes = {
        index: (b - a) if a is not None and b is not None else 0.0
        for index, (a, b) in enumerate(zip(before, after, strict=True))
    }
    shown = sorted(sorted(changes, key=lambda index: -abs(changes[index]))[:_MOST_ROWS])
    names = [run.class_names[index] for index in shown]
    labels = (f"cycle {first.cycle}", f"cycle {last.cycle}")
    draw = draw_ranges(names, [before[index] for index in shown], [after[index] for index in shown], labels)
    rose, fell = ([i for i in shown if sign * changes[i] > 0] for sign in (1, -1))
    alt = f"{len(rose)} class{'' if len(rose) == 1 else 'es'} rose and {len(fell)} fell."
    if rose:
        best = max(rose, key=lambda index: changes[index])
        alt += f" Most: {run.class_names[best]}, {100 * changes[best]:+.1f} points."
    if len(names) < len(run.class_names):
        alt += f" The {len(names)} with the largest changes; the table has all."
    return chart("iou", "IoU by class", alt, draw, height=_rows(names))


def _labelled_chart(run: model.Run) -> Chart:
    known = [cycle for cycle in run.cycles if cycle.labels and cycle.labels.pixels_by_class]
    early, late = (known[:-_MOST_PARTS], known[-_MOST_PARTS:]) if len(known) > _MOST_PARTS + 1 else ([], known)
    counts = {f"cycle {cycle.cycle}": _by_class([cycle]) for cycle in late}
    if early:
        counts = {f"cycles {early[0].cycle} to {early[-1].cycle}": _by_class(early), **counts}
    total_C = np.sum(list(counts.values()), axis=0)
    shown = sorted(np.argsort(-total_C, kind="stable")[:_MOST_ROWS].tolist())
    names = [run.class_names[index] for index in shown]
    share = 100 / max(1, int(total_C.sum()))
    parts = {cycle: [float(values[index]) * share for index in shown] for cycle, values in counts.items()}
    draw = draw_stacks(names, parts, "% of the labelled pixels", lambda value: f"{value:.2f} %")
    rarest = run.class_names[int(total_C.argmin())]
    alt = f"Fewest: {rarest}, {int(total_C.min()):,} pixels; most: {run.class_names[int(total_C.argmax())]}."
    return chart("labelled", "Labelled pixels by class and cycle", alt, draw, height=_rows(names))


def _by_class(cycles: Sequence[model.Cycle]) -> NDArray[np.int64]:
    """Labelled pixels of each class, of some cycles together."""
    known = [cycle.labels.pixels_by_class for cycle in cycles if cycle.labels and cycle.labels.pixels_by_class]
    return np.array(known, np.int64).sum(axis=0)


def _confusion_chart(run: model.Run) -> Chart:
    counts_CC = np.array(run.confusion, np.int64)
    shown = sorted(np.argsort(-counts_CC.sum(axis=1), kind="stable")[:_MOST_ROWS].tolist())
    names = [run.class_names[index] for index in shown]
    alt = "Rows: truth. " + (
        f"Largest: {run.confusions[0].truth} taken for {run.confusions[0].predicted}." if run.confusions else ""
    )
    if len(names) < len(run.class_names):
        alt += f" The {len(names)} classes with most pixels."
    draw = draw_matrix(names, counts_CC[np.ix_(shown, shown)])
    return chart("confusion", "Confusion matrix", alt, draw, width=1.25, height=1.6)


# --------------------------------------------------------------------------------------- pseudo-labels, time


def _coverage_chart(run: model.Run) -> Chart:
    cycles = [cycle for cycle in run.cycles if cycle.pseudo][-_MOST_ROWS:]
    names = [f"cycle {cycle.cycle}" for cycle in cycles]
    known = [cycle.pseudo for cycle in cycles if cycle.pseudo]
    judged = all(pseudo.correct is not None for pseudo in known)
    if judged:
        parts = {
            "correct": [100 * p.coverage * (p.correct or 0) for p in known],
            "wrong": [100 * p.coverage * (1 - (p.correct or 0)) for p in known],
        }
    else:
        parts = {"with a pseudo-label": [100 * p.coverage for p in known]}
    alt = "; ".join(f"{name}: {percent(p.coverage)} covered" for name, p in zip(names, known, strict=True)) + "."
    draw = draw_stacks(names, parts, "% of the pixels of unlabelled images", lambda value: f"{value:.1f} %")
    return chart("coverage", "Pixels with a pseudo-label", alt, draw, height=max(0.6, _rows(names)))


def _correct_chart(run: model.Run, judged: list[model.Pseudo]) -> Chart:
    first, last = judged[0].correct_by_class, judged[-1].correct_by_class
    shown = [i for i, value in enumerate(last) if value is not None or first[i] is not None][:_MOST_ROWS]
    names = [run.class_names[index] for index in shown]
    cycles = [cycle.cycle for cycle in run.cycles if cycle.pseudo]
    labels = (f"cycle {cycles[0]}", f"cycle {cycles[-1]}")
    draw = draw_ranges(names, [first[i] for i in shown], [last[i] for i in shown], labels)
    least = min((i for i in shown if last[i] is not None), key=lambda i: last[i] or 0.0, default=None)
    alt = "Of the pseudo-labels of a class, those that are right."
    if least is not None:
        alt += f" Least: {run.class_names[least]}, {percent(last[least])}."
    return chart("correct", "Correct pseudo-labels by class", alt, draw, height=_rows(names))


def _time_chart(run: model.Run) -> Chart:
    cycles = [cycle for cycle in run.cycles if cycle.times][-_MOST_ROWS:]
    stages = {"training": "train", "export": "export", "scoring": "score", "selection": "select"}
    parts = {
        part: [cycle.times.get(stage, {}).get("seconds", 0.0) / 60 for cycle in cycles]
        for part, stage in stages.items()
    }
    parts["people"] = [(cycle.labels.seconds if cycle.labels else 0.0) / 60 for cycle in cycles]
    parts = {part: values for part, values in parts.items() if any(values)}
    names = [f"cycle {cycle.cycle}" for cycle in cycles]
    sums = {part: 60 * sum(values) for part, values in parts.items()}
    alt = ", ".join(f"{part} {duration(seconds)}" for part, seconds in sums.items()) + "."
    draw = draw_stacks(names, parts, "minutes", lambda minutes: duration(60 * minutes))
    return chart("time", "Time by stage", alt, draw, height=max(0.7, _rows(names)))


def _rows(names: Sequence[str]) -> float:
    return 0.3 + _ROW * len(names)
