"""The page of `s4al check`: what was understood of a data folder, and how to start."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from s4al.text import duration, visible

_MOST_NAMED = 20
_SWATCH = "██"


def check(console: Console, result: dict[str, Any]) -> None:
    """What was found, the masks' values, what does not fit, and the command to start with."""
    console.print(Text(visible(result["data"]), "bold"))
    for line in result["lines"]:
        console.print(Padding(Text(visible(line)), (0, 0, 0, 2)))
    _splits(console, result)
    _values(console, result)
    for title, names in (("Without a partner", result["unpaired"]), ("Not used", result["unused"])):
        _named(console, title, names)
    _named(console, "Cannot be used", [bad["reason"] for bad in result["bad"]], "bold red")
    for line in result["suggested_lines"]:
        console.print(Padding(Text(visible(line)), (0, 0, 0, 2)))
    if result["estimate_minutes"] is not None:
        about = f"Training: about {duration(60 * result['estimate_minutes'])} on this machine, without scoring."
        console.print(Padding(Text(about), (0, 0, 0, 2)))
    console.print(Text("\nStart with:", "bold"))
    console.print(Text(f"  {visible(result['command'])}"), soft_wrap=True)


def _splits(console: Console, result: dict[str, Any]) -> None:
    table = _table("Images", "Split", "Images", "With mask")
    for split in result["splits"]:
        table.add_row(split["split"], f"{split['images']:,}", f"{split['masks']:,}")
    console.print()
    console.print(table)
    sizes, formats = result["sizes"], result["formats"]
    small, median, large = (f"{sizes[key][1]} x {sizes[key][0]}" for key in ("smallest", "median", "largest"))
    what = ", ".join(f"{count:,} {name}" for name, count in formats.items())
    how = "all files" if result["read_all"] else f"{result['read_images']:,} images and {result['read_masks']:,} masks"
    console.print(Text(f"Width x height {small} to {large}, the median {median}; {what}. Read: {how}.", "dim"))


def _values(console: Console, result: dict[str, Any]) -> None:
    if not result["values"]:
        return
    table = _table("Masks", "Value", "", "Class", "Pixels", "Share")
    for row in result["values"]:
        swatch = Text(_SWATCH, f"rgb({','.join(map(str, row['colour']))})") if row["colour"] else Text("")
        name = Text(visible(row["class"]), "" if row["colour"] else "dim")
        table.add_row(row["value"], swatch, name, f"{row['pixels']:,}", f"{row['share']:.2%}")
    console.print()
    console.print(table)


def _named(console: Console, title: str, names: list[str], style: str = "bold yellow") -> None:
    if not names:
        return
    console.print(Text(f"\n{title}: {len(names):,}", style))
    for name in names[:_MOST_NAMED]:
        console.print(Padding(Text(visible(name)), (0, 0, 0, 2)))
    if len(names) > _MOST_NAMED:
        console.print(f"  and {len(names) - _MOST_NAMED:,} more (--json names all)")


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        right = column in ("Images", "With mask", "Pixels", "Share")
        table.add_column(column, justify="right" if right else "left")
    return table
