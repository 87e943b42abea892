"""Results as tables, for people. What each shows is the same object that `--json` prints."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s4al.cli.messages import visible
from s4al.duration import duration
from s4al.run.state import STAGES

_MOST_CYCLES = 5  # columns of the table by class that fit in 80 characters
_MOST_CLASSES = 20  # of a list that is not the point of an answer


def training(console: Console, result: dict[str, Any]) -> None:
    """`train`: a row a cycle, the classes, and where to look next."""
    root, cycles = Path(result["run"]), result["cycles"]
    console.print(_cycles(cycles, result.get("full_supervision_miou")))
    console.print()
    console.print(_classes(cycles))
    if len(cycles) > 1:
        console.print(Text(_bought(result), "bold"))
    _list(
        console,
        {
            "Asked for": root / "cycles" / f"{cycles[-1]['cycle']:03d}" / "select" / "selections.parquet",
            "Network": root / "cycles" / f"{cycles[-1]['cycle']:03d}" / "export" / "model.onnx",
            "Curves": f"tensorboard --logdir {shlex.quote(str(root / 'logs' / 'tensorboard'))}",
            "This run": f"s4al status {shlex.quote(str(root))}",
        },
    )


def _cycles(cycles: list[dict[str, Any]], full_miou: float | None) -> Table:
    table = _table(
        "Cycles", "Cycle", "Labelled", "Regions asked", "mIoU", *_if(full_miou, "Of full"), "Training", "Scoring"
    )
    for row in cycles:
        rate = row["score_images_per_s"]
        table.add_row(
            str(row["cycle"]),
            _percent(row["labelled_fraction"]),
            f"{row['regions']:,}",
            Text(_percent(row["miou"]), "bold"),
            *_if(full_miou, _percent(row["miou"] / full_miou) if full_miou else ""),
            "" if row["train_s"] is None else duration(row["train_s"]),
            f"{rate:,.0f} img/s" if rate else "",
        )
    table.caption = _caption(full_miou)
    table.caption_justify, table.caption_style = "left", "dim"
    return table


def _caption(full_miou: float | None) -> str:
    caption = "Labelled: of all pixels. mIoU: mean intersection over union of the classes, on the test images."
    return caption + (f" Of full: mIoU against {_percent(full_miou)} with every pixel labelled." if full_miou else "")


def _bought(result: dict[str, Any]) -> str:
    """What the asked regions cost, and what they bought, beside as many random ones where those were tried."""
    first, last = result["cycles"][0], result["cycles"][-1]
    share, gain = last["labelled_fraction"] - first["labelled_fraction"], 100 * (last["miou"] - first["miou"])
    line = f"\n{last['regions']:,} regions, {_percent(share)} of all pixels, bought {gain:+.1f} points of mIoU"
    random = result.get("random_regions_miou")
    return line + (f"; as many random ones {100 * (random - first['miou']):+.1f}." if random is not None else ".")


def _classes(cycles: list[dict[str, Any]]) -> Table:
    shown = cycles if len(cycles) <= _MOST_CYCLES else [cycles[0], *cycles[-_MOST_CYCLES + 1 :]]
    table = _table("IoU by class", "Class", *(f"cycle {row['cycle']}" for row in shown), *_if(len(shown) > 1, "Gained"))
    for name in shown[0]["per_class_iou"]:
        values = [row["per_class_iou"].get(name) for row in shown]
        first, last = values[0], values[-1]
        gained = f"{100 * (last - first):+.1f}" if first is not None and last is not None else ""
        table.add_row(Text(visible(name)), *map(_percent, values), *_if(len(shown) > 1, gained))
    untested = [name for name, iou in shown[0]["per_class_iou"].items() if iou is None]
    if untested:
        table.caption = f"No pixel in the test images, so no IoU: {visible(', '.join(untested))}."
        table.caption_justify, table.caption_style = "left", "dim"
    return table


def scoring(console: Console, result: dict[str, Any]) -> None:
    """`score`: what was done, and the regions that the network knows least about."""
    rate = f", {result['images_per_s']:,.1f} images/s" if result["images_per_s"] else ", scored before"
    if result["hardest"]:
        table = _table("Hardest regions", "Image", "Region", result["metric"].replace("_", " "))
        for row in result["hardest"]:
            table.add_row(Text(visible(row["image"])), str(row["region"]), f"{row[result['metric']]:.3f}")
        console.print(table)
    _list(
        console,
        {
            "Scored": f"{_count(result['images'], 'image')} in {duration(result['seconds'])}{rate}",
            "Set aside": f"{_count(result['quarantined'], 'image')}, listed in quarantine.parquet",
            "Engine": f"{result['engine']} ({result['provider']})",
            "Scores": result["out"],
        },
    )


def prediction(console: Console, result: dict[str, Any]) -> None:
    """`predict`: what the network saw in all images together, and where the masks are."""
    shares = sorted(result["classes"].items(), key=lambda item: -item[1])
    seen = [(name, share) for name, share in shares if share > 0]
    absent = [str(name) for name, share in shares if not share]
    if seen:
        table = _table("", "Class", "Of all pixels")
        for name, share in seen[:_MOST_CLASSES]:
            table.add_row(Text(visible(name)), _percent(share) if share >= 0.0005 else "< 0.1 %")
        if rest := seen[_MOST_CLASSES:]:
            table.add_row(f"{len(rest)} more", _percent(sum(share for _, share in rest)))
        console.print(table)
    rate = f", {result['images_per_s']:,.1f} images/s" if result["images"] else ""
    lines = {"Predicted": f"{_count(result['images'], 'image')} in {duration(result['seconds'])}{rate}"}
    if seen and absent:
        lines["Not seen"] = ", ".join(absent) if len(absent) <= _MOST_CLASSES else f"{len(absent)} classes"
    if result["quarantined"]:
        lines["Set aside"] = f"{_count(result['quarantined'], 'image')}, listed in quarantine.csv"
    _list(
        console,
        {
            **lines,
            "Network": f"cycle {result['cycle']} of {result['run']}, {result['engine']} ({result['provider']})",
            "Masks": result["out"],
        },
    )


def selection(console: Console, result: dict[str, Any]) -> None:
    """`select`."""
    regions, images = _count(result["regions"], "region"), _count(result["images"], "image")
    _list(
        console,
        {
            "Selected": f"{regions} in {images}, {result['pixels']:,} pixels",
            "Strategy": f"{result['strategy']}, by {result['metric']}",
            "List": result["out"],
        },
    )


def exported(console: Console, result: dict[str, Any]) -> None:
    """`export`."""
    parity = result["parity"]
    agreement = f"labels agree at {parity['label_agreement']:.3%} of the pixels"
    entropy = f"region entropy within {parity['max_entropy_error']:.1e} nats"
    lines = {"Exported": result["out"]}
    if "provider" in result:
        lines = {
            "Plan": result["out"],
            "Runs with": f"{result['provider']}, {_count(result['batch_size'], 'image')} at a time",
            "Ready after": f"{result['seconds']:.1f} s",
        }
    _list(
        console,
        {
            **lines,
            "Size": f"{result['bytes'] / 2**20:,.1f} MiB, {result['precision']}",
            "Checked": f"on {_count(parity['images'], 'image')} against the trained network: {agreement}, {entropy}",
        },
    )


def status(console: Console, result: dict[str, Any]) -> None:
    """`status`."""
    images = f", {result['images']:,} training images" if result["images"] is not None else ""
    console.print(
        Text(f"{visible(result['run'])}: {result['data']}{images}, {result['planned_cycles']} cycles planned", "bold")
    )
    if result["cycles"]:
        table = _table("", "Cycle", *STAGES, "Labelled", "Regions asked", "mIoU")
        for row in result["cycles"]:
            marks = (Text("done", "green") if stage in row["stages"] else Text("-", "dim") for stage in STAGES)
            regions = f"{row['regions']:,}" if row["regions"] is not None else ""
            table.add_row(str(row["cycle"]), *marks, _percent(row["labelled_fraction"]), regions, _percent(row["miou"]))
        console.print(table)
    full_miou = result["full_supervision_miou"]
    lines = {"Next": result["next"]} | (
        {"Full": f"mIoU {_percent(full_miou)} with every pixel labelled"} if full_miou else {}
    )
    if result["in_use_by"]:
        lines["In use"] = result["in_use_by"]
    elif result["unfinished"]:
        lines["Left over"] = f"{_count(len(result['unfinished']), 'unfinished write')}, removed by the next s4al train"
    _list(console, lines)


def presets(console: Console, result: dict[str, Any]) -> None:
    """`presets` without a name."""
    table = Table(box=None, pad_edge=False)
    table.add_column("Preset", style="bold cyan", no_wrap=True)
    for title in ("What", "Protocol of", "Published test mIoU"):
        table.add_column(title)
    for name, note in result["presets"].items():
        table.add_row(name, *note)
    console.print(table)
    console.print(
        "\ns4al presets NAME prints one as TOML, every key; s4al train RUN --preset NAME uses it.", style="dim"
    )


def _table(title: str, *columns: str) -> Table:
    """Names to the left, figures to the right."""
    table = Table(box=None, title=title or None, title_justify="left", title_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def _list(console: Console, lines: Mapping[str, object]) -> None:
    """Named lines; not wrapped, so that paths and commands can be copied whole."""
    width = max(map(len, lines)) + 2
    console.print()
    for name, value in lines.items():
        console.print(Text.assemble((f"{name}:".ljust(width), "bold"), visible(value)), soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _if(condition: object, *cells: str) -> tuple[str, ...]:
    return cells if condition else ()


def _percent(fraction: float | None) -> str:
    return "" if fraction is None or fraction != fraction else f"{100 * fraction:.1f} %"
