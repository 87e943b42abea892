"""Results as tables, for people. What each shows is the same object that `--json` prints."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s4al.cli.people_view import people
from s4al.cli.tables import lines as _list
from s4al.cli.tables import table as _table
from s4al.run.state import STAGES
from s4al.text import counted, duration, percent, visible

_MOST_CYCLES = 5  # columns of the table by class that fit in 80 characters
_MOST_CLASSES = 20  # of a list that is not the point of an answer


def training(console: Console, result: dict[str, Any]) -> None:
    """`train`: a row a cycle, the classes, and where to look next."""
    root, cycles = Path(result["run"]), result["cycles"]
    console.print(_cycles(cycles, result.get("full_supervision_miou")))
    console.print()
    console.print(_classes(cycles))
    if len(cycles) > 1 and cycles[0]["miou"] is not None and cycles[-1]["miou"] is not None:
        console.print(Text(_bought(result), "bold"))
    if cycles[-1].get("people"):
        console.print()
        people(console, cycles[-1]["people"])
    _list(
        console,
        {
            "Asked for": root / "cycles" / f"{cycles[-1]['cycle']:03d}" / "select" / "selections.parquet",
            "Network": root / "cycles" / f"{cycles[-1]['cycle']:03d}" / "export" / "model.onnx",
            **({"Report": page} if (page := root / "report.html").is_file() else {}),
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
            percent(row["labelled_fraction"]),
            f"{row['regions']:,}",
            Text.assemble((percent(row["miou"]), "bold"), _interval(row)),
            *_if(full_miou, percent(row["miou"] / full_miou) if full_miou else ""),
            duration(row["train_s"]),
            f"{rate:,.0f} img/s" if rate else "",
        )
    table.caption = _caption(full_miou, cycles[-1])
    table.caption_justify, table.caption_style = "left", "dim"
    return table


def _caption(full_miou: float | None, last: dict[str, Any]) -> str:
    tested, regions = _tested_on(last), last.get("test_regions")
    caption = f"Labelled: of all pixels. mIoU: mean intersection over union of the classes, {tested}"
    caption += ", and its 95 % interval." if regions else "."
    return caption + (f" Of full: mIoU against {percent(full_miou)} with every pixel labelled." if full_miou else "")


def _bought(result: dict[str, Any]) -> str:
    """What the asked regions cost, and what they bought, beside as many random ones where those were tried."""
    first, last = result["cycles"][0], result["cycles"][-1]
    share, gain = last["labelled_fraction"] - first["labelled_fraction"], 100 * (last["miou"] - first["miou"])
    line = f"\n{last['regions']:,} regions, {percent(share)} of all pixels, bought {gain:+.1f} points of mIoU"
    line += f" {_tested_on(last)}" if last.get("test_regions") else ""
    random = result.get("random_regions_miou")
    return line + (f"; as many random ones {100 * (random - first['miou']):+.1f}." if random is not None else ".")


def _tested_on(cycle: dict[str, Any]) -> str:
    """Where the mIoU of a cycle comes from, as it belongs behind the figure."""
    regions = cycle.get("test_regions")
    if regions is None:
        return "on the test images"
    return f"on {counted(regions, 'random region')}" if regions else "on nothing, as nothing was labelled to test on"


def _interval(cycle: dict[str, Any]) -> str:
    low, high = cycle.get("miou_interval") or (None, None)
    return f" ({100 * low:.1f} to {100 * high:.1f})" if low is not None and high is not None else ""


def _classes(cycles: list[dict[str, Any]]) -> Table:
    shown = cycles if len(cycles) <= _MOST_CYCLES else [cycles[0], *cycles[-_MOST_CYCLES + 1 :]]
    table = _table("IoU by class", "Class", *(f"cycle {row['cycle']}" for row in shown), *_if(len(shown) > 1, "Gained"))
    for name in shown[-1]["per_class_iou"]:  # the last has all: people may have added some
        values = [row["per_class_iou"].get(name) for row in shown]
        first, last = values[0], values[-1]
        gained = f"{100 * (last - first):+.1f}" if first is not None and last is not None else ""
        table.add_row(Text(visible(name)), *map(percent, values), *_if(len(shown) > 1, gained))
    untested = [name for name, iou in shown[-1]["per_class_iou"].items() if iou is None]
    regions = shown[-1].get("test_regions")
    lines = [f"{_tested_on(shown[-1]).capitalize()}."] if regions else []
    if untested:
        where = "regions" if regions is not None else "images"
        lines.append(f"No pixel in the test {where}, so no IoU: {visible(', '.join(untested))}.")
    if lines:
        table.caption = " ".join(lines)
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
            "Scored": f"{counted(result['images'], 'image')} in {duration(result['seconds'])}{rate}",
            "Set aside": f"{counted(result['quarantined'], 'image')}, listed in quarantine.parquet",
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
            table.add_row(Text(visible(name)), percent(share) if share >= 0.0005 else "< 0.1 %")
        if rest := seen[_MOST_CLASSES:]:
            table.add_row(f"{len(rest)} more", percent(sum(share for _, share in rest)))
        console.print(table)
    rate = f", {result['images_per_s']:,.1f} images/s" if result["images"] else ""
    lines = {"Predicted": f"{counted(result['images'], 'image')} in {duration(result['seconds'])}{rate}"}
    if seen and absent:
        lines["Not seen"] = ", ".join(absent) if len(absent) <= _MOST_CLASSES else f"{len(absent)} classes"
    if result["quarantined"]:
        lines["Set aside"] = f"{counted(result['quarantined'], 'image')}, listed in quarantine.csv"
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
    regions, images = counted(result["regions"], "region"), counted(result["images"], "image")
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
            "Runs with": f"{result['provider']}, {counted(result['batch_size'], 'image')} at a time",
            "Ready after": f"{result['seconds']:.1f} s",
        }
    _list(
        console,
        {
            **lines,
            "Size": f"{result['bytes'] / 2**20:,.1f} MiB, {result['precision']}",
            "Checked": f"on {counted(parity['images'], 'image')} against the trained network: {agreement}, {entropy}",
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
        tested = next((row for row in result["cycles"] if row.get("test_regions")), None)
        if tested:
            table.caption = f"mIoU {_tested_on(tested)}, and its 95 % interval."
            table.caption_justify, table.caption_style = "left", "dim"
        for row in result["cycles"]:
            marks = (Text("done", "green") if stage in row["stages"] else Text("-", "dim") for stage in STAGES)
            asked = f"{row['regions']:,}" if row["regions"] is not None else ""
            miou = percent(row["miou"]) + _interval(row)
            table.add_row(str(row["cycle"]), *marks, percent(row["labelled_fraction"]), asked, miou)
        console.print(table)
    if result["people"]:
        people(console, result["people"])
    answer = dict(result["answer"])
    advice = {"Advice": answer.pop("Next")} if "Next" in answer else {}
    lines = {**answer, **advice, "Next": result["next"]}
    if result["labelling"]:
        done = result["labelling"]
        lines["Labelling"] = (
            f"{done['answered']:,} of {counted(done['asked'], 'region')} answered, {done['skipped']:,} skipped, "
            f"{done['left']:,} left; more by s4al label status {shlex.quote(result['run'])}"
        )
    if result["in_use_by"]:
        lines["In use"] = result["in_use_by"]
    elif result["unfinished"]:
        lines["Left over"] = f"{counted(len(result['unfinished']), 'unfinished write')}, removed by the next s4al train"
    _list(console, lines)


def report(console: Console, result: dict[str, Any]) -> None:
    """`report`: the answer, what is missing, and where the page is."""
    _list(console, result["answer"])
    for line in result["missing"]:
        console.print(Text.assemble(("Missing: ", "bold yellow"), visible(line)), soft_wrap=True)
    size = f"{result['bytes'] / 2**20:,.1f} MiB"
    _list(console, {"Page": f"{result['out']} ({size}, {duration(result['seconds'])})", "Figures": result["figures"]})


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


def _if(condition: object, *cells: str) -> tuple[str, ...]:
    return cells if condition else ()
