"""What people did for a run, as a table: who, how much, how long; which classes; how far they agree."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s4al.cli.tables import table
from s4al.text import counted, duration, percent, visible

_MOST = 20  # rows of a table that is not the point of an answer


def people(console: Console, result: dict[str, Any]) -> None:
    """Show what `annotate.ledger.people_of_round` returns; nothing where nobody has answered."""
    if not result["annotators"]:
        return
    who = table("People", "Annotator", "Regions", "Pixels", "Time", "A region")
    for row in result["annotators"][:_MOST]:
        name = Text(visible(row["annotator"]) or "(no name)")
        each = duration(row["seconds"] / row["regions"]) if row["regions"] else ""
        who.add_row(name, f"{row['regions']:,}", f"{row['pixels']:,}", duration(row["seconds"]), each)
    if len(result["annotators"]) > _MOST:
        who.add_row(f"{len(result['annotators']) - _MOST:,} more")
    console.print(who)
    console.print(_classes(result))
    agreement = result["agreement"]
    if agreement:
        both = counted(agreement["regions"], "region")
        shares = f"{percent(agreement['pixel_agreement'])} of the pixels, mean IoU {percent(agreement['mean_iou'])}"
        console.print(f"Two people labelled {both} and agree at {shares}.", style="dim")


def _classes(result: dict[str, Any]) -> Table:
    agreement = result["agreement"] or {"iou": {}}
    total = sum(result["classes"].values()) + result["undecided"]
    shares = sorted(result["classes"].items(), key=lambda item: -item[1])
    columns = ("Class", "Pixels", "Share", *(("Agreement",) if agreement["iou"] else ()))
    classes = table("What they saw", *columns)
    for name, pixels in [item for item in shares if item[1]][:_MOST]:
        agreed = (percent(agreement["iou"].get(name)),) if agreement["iou"] else ()
        classes.add_row(Text(visible(name)), f"{pixels:,}", percent(pixels / total), *agreed)
    if result["undecided"]:
        classes.add_row("left open", f"{result['undecided']:,}", percent(result["undecided"] / total))
    return classes
