"""The picture of the label-efficiency table: mIoU against labelled pixels, as SVG.

    python -m benchmarks.label_efficiency_chart benchmarks/results/label_efficiency_pretrained.json --out PICTURE.svg

The benchmark draws it beside its JSON; this draws it again from there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

_FULL = "full supervision"
_MARK = 0.95  # of full supervision, which the S4AL+ paper reports for an eighth of the labels
# Okabe and Ito's colours, told apart by the colour-blind, with a shape each.
_STYLES = [("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P")]
_TICKS = (4, 8, 12, 25, 50, 100)


def draw(rows: list[dict[str, Any]], title: str) -> Figure:
    """One point a row at its share of labelled pixels, with the standard deviation over seeds where there are several.

    Parameters
    ----------
    rows : of `benchmarks.label_efficiency.table`.
    """
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    full = next((row for row in rows if row["row"] == _FULL), None)
    if full:
        _draw_full(axes, full)
    for (colour, marker), row in zip(_STYLES, [row for row in rows if row is not full], strict=False):
        spread = row["miou_stdev"]
        axes.errorbar(
            100 * row["labelled_fraction"],
            100 * row["miou_mean"],
            yerr=None if spread is None else 100 * spread,
            color=colour,
            marker=marker,
            markersize=8,
            capsize=4,
            linestyle="none",
            label=f"{row['row']}: {100 * row['miou_mean']:.1f}",
        )
    _scale(axes)
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(loc="lower right", fontsize=9)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write the SVG; the same figure gives the same bytes. Raises OSError."""
    with matplotlib.rc_context({"svg.hashsalt": "s4al", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    # Matplotlib leaves blanks at the ends of lines.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def chart_title(results: dict[str, Any]) -> str:
    seeds = max(len(row["seeds"]) for row in results["rows"])
    return f"{results['preset']}: test mIoU, {seeds} seed{'s' if seeds > 1 else ''}"


def _draw_full(axes: Axes, full: dict[str, Any]) -> None:
    miou = 100 * full["miou_mean"]
    spread = full["miou_stdev"]
    axes.errorbar(
        100, miou, yerr=spread and 100 * spread, color="black", marker="*", markersize=11, capsize=4,
        linestyle="none", label=f"{_FULL}: {miou:.1f}",
    )  # fmt: skip
    axes.axhline(_MARK * miou, color="0.45", linestyle="--", linewidth=1)
    axes.annotate(
        f"95 % of full supervision: {_MARK * miou:.1f}", (_TICKS[0], _MARK * miou), textcoords="offset points",
        xytext=(4, 5), fontsize=9, color="0.3",
    )  # fmt: skip


def _scale(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_xlim(_TICKS[0] * 0.9, 120)
    axes.xaxis.set_major_locator(FixedLocator(_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.set_xlabel("labelled pixels of the training images")
    axes.set_ylabel("mIoU, %")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the JSON of benchmarks.label_efficiency")
    parser.add_argument("--out", type=Path, required=True, help="the SVG")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text())["results"]
    save(draw(results["rows"], chart_title(results)), arguments.out)


if __name__ == "__main__":
    main()
