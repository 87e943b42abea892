"""How results look: tables and named lines."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s4al.text import visible


def table(title: str, *columns: str) -> Table:
    """Names to the left, figures to the right."""
    result = Table(box=None, title=title or None, title_justify="left", title_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        result.add_column(column, justify="left" if index == 0 else "right")
    return result


def lines(console: Console, named: Mapping[str, object]) -> None:
    """Named lines; not wrapped, so that paths and commands can be copied whole."""
    width = max(map(len, named)) + 2
    console.print()
    for name, value in named.items():
        console.print(Text.assemble((f"{name}:".ljust(width), "bold"), visible(value)), soft_wrap=True)
