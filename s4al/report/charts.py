"""Charts as SVG, to stand in the page: text stays text, colours follow the page's light or dark ground, and the same
figures give the same bytes.

Lines differ by colour (Okabe and Ito's, which the colour-blind tell apart), by dash and by marker.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from s4al.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 4.2, 3.0  # inches, of 72 units
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#7F7F7F")
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# Stand-ins that become colours of the page's style sheet.
_INK, _FAINT = "#010203", "#040506"
_VARIABLES = {_INK: "var(--ink)", _FAINT: "var(--line)"}
_LONGEST_NAME = 22


@dataclass
class Chart:
    """One drawing: a name that is unique on the page, a title, what it shows in words, and the SVG."""

    name: str
    title: str
    alt: str
    svg: str


@dataclass
class Line:
    """A run or several runs of one configuration: shares of labelled pixels (or minutes) and mIoU, with their range."""

    name: str
    x: list[float]
    y: list[float]
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    tips: list[str] = field(default_factory=list)


def chart(
    name: str, title: str, alt: str, draw: Callable[[Axes, Tips], None], *, width: float = 1.0, height: float = 1.0
) -> Chart:
    """Let `draw` fill a pair of axes. `width` and `height` are multiples of the usual size."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(cast("Any", _STYLE | {"svg.hashsalt": name})):
        figure = Figure((_WIDTH * width, _HEIGHT * height), layout="constrained")
        FigureCanvasSVG(figure)
        tips = Tips(name)
        draw(figure.subplots(), tips)
        stream = io.StringIO()
        with warnings.catch_warnings():
            # Of the font that measures the text; the browser draws it in its own, which have more.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Chart(name, title, alt, tips.write_into(_for_the_page(stream.getvalue(), title, alt)))


_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called $\\alpha$
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.markersize": 5,
}


class Tips:
    """What is said of single points when they are pointed at."""

    def __init__(self, chart_name: str) -> None:
        self._name = chart_name
        self._texts: dict[str, str] = {}

    def on(self, artist: Any, text: str) -> None:
        """Put a text on a drawn thing."""
        key = f"tip-{self._name}-{len(self._texts)}"
        artist.set_gid(key)
        self._texts[key] = text

    def write_into(self, svg: str) -> str:
        """Every marked group gets its text as a title, which browsers show, and as an attribute for the script."""
        for key, text in self._texts.items():
            safe = escape(visible(text))
            svg = svg.replace(
                f'<g id="{key}">', f'<g id="{key}" class="tip" data-tip="{safe}"><title>{safe}</title>', 1
            )
        return svg


def _for_the_page(svg: str, title: str, alt: str) -> str:
    """Without XML's head and fixed size, with the page's colours, and a name for those who do not see it."""
    svg = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', svg)
    assert box is not None
    label = escape(visible(f"{title}. {alt}"))
    head = f'<svg viewBox="{box[1]}" role="img" aria-label="{label}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    svg = head + svg[svg.index(">") + 1 :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    # Matplotlib numbers its groups in every drawing anew, and a page has several.
    svg = re.sub(r' id="([^"]*)"', lambda id: id[0] if id[1] in used or id[1].startswith("tip-") else "", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)  # the family is the page's
    for stand_in, colour in _VARIABLES.items():
        svg = svg.replace(stand_in, colour)
    return svg


# ------------------------------------------------------------------------------------------------- drawings


def draw_curves(
    lines: Sequence[Line], x_label: str, *, levels: dict[str, float], marks: Sequence[tuple[float, float, str]]
) -> Callable[[Axes, Tips], None]:
    """mIoU in percent against a cost. `levels` are drawn across, `marks` (x, mIoU, what) as crosses."""

    def draw(axes: Axes, tips: Tips) -> None:
        for index, line in enumerate(lines):
            colour, dash = COLOURS[index % len(COLOURS)], _DASHES[index // 2 % len(_DASHES)]
            percent = [100 * y for y in line.y]
            axes.plot(line.x, percent, label=short(line.name), linewidth=1.8, color=colour, linestyle=dash)
            if line.low != line.high:
                low, high = ([100 * y for y in bound] for bound in (line.low, line.high))
                axes.fill_between(line.x, low, high, color=colour, alpha=0.2, linewidth=0)
            for x, y, tip in zip(line.x, percent, line.tips, strict=True):
                marker = _MARKERS[index % len(_MARKERS)]
                (point,) = axes.plot([x], [y], marker=marker, color=colour, linestyle="none", zorder=3)
                tips.on(point, tip)
        for name, level in levels.items():
            across = axes.axhline(100 * level, color=_INK, linewidth=1, linestyle=(0, (1, 2)), label=short(name))
            tips.on(across, f"{name}: {100 * level:.1f} %")
        for x, y, what in marks:
            (mark,) = axes.plot([x], [100 * y], marker="x", color=_INK, linestyle="none", markersize=7)
            tips.on(mark, f"{what}: {100 * y:.1f} %")
            axes.annotate(short(what), (x, 100 * y), (4, -10), textcoords="offset points", fontsize=8)
        axes.set_xlabel(x_label)
        axes.set_ylabel("mIoU, %")
        axes.margins(x=0.08, y=0.12)
        axes.locator_params(axis="x", nbins=6)
        _legend_above(axes)

    return draw


def draw_ranges(
    names: Sequence[str], first: Sequence[float | None], last: Sequence[float | None], labels: tuple[str, str]
) -> Callable[[Axes, Tips], None]:
    """For each class two values in percent, joined: before, hollow, and after, filled."""

    def draw(axes: Axes, tips: Tips) -> None:
        for index, (name, before, after) in enumerate(zip(names, first, last, strict=True)):
            if before is not None and after is not None:
                rose = after >= before
                axes.plot([100 * before, 100 * after], [index] * 2, color=COLOURS[0 if rose else 1], linewidth=2)
            for value, filled in ((before, False), (after, True)):
                if value is not None:
                    rose = before is None or after is None or after >= before
                    colour = COLOURS[0 if rose else 1]
                    face = colour if filled else "none"
                    (point,) = axes.plot(
                        [100 * value], [index], marker="o" if rose else "v", color=colour, markerfacecolor=face
                    )
                    tips.on(point, f"{name}, {labels[filled]}: {100 * value:.1f} %")
        _name_rows(axes, names)
        axes.set_xlabel(f"%; hollow: {labels[0]}, filled: {labels[1]}")

    return draw


def draw_stacks(
    names: Sequence[str], parts: Mapping[str, Sequence[float]], x_label: str, written: Callable[[float], str]
) -> Callable[[Axes, Tips], None]:
    """One bar a name, made of parts."""

    def draw(axes: Axes, tips: Tips) -> None:
        ends = np.zeros(len(names))
        for index, (part, values) in enumerate(parts.items()):
            bars = axes.barh(
                range(len(names)),
                values,
                left=ends,
                height=0.7,
                label=short(part),
                color=COLOURS[index % len(COLOURS)],
                hatch=("", "///", "...", "\\\\\\", "xxx", "++")[index % 6],
                edgecolor="white",
                linewidth=0.5,
            )
            for bar, name, value in zip(bars, names, values, strict=True):
                tips.on(bar, f"{name}, {part}: {written(value)}")
            ends += np.array(values)
        _name_rows(axes, names)
        axes.set_xlabel(x_label)
        if len(parts) > 1:
            _legend_above(axes)

    return draw


def draw_matrix(names: Sequence[str], counts_CC: NDArray[np.int64]) -> Callable[[Axes, Tips], None]:
    """Rows are the truth, cells its shares: the darker, the larger; those of a tenth or more also in figures."""

    def draw(axes: Axes, tips: Tips) -> None:
        total_C = counts_CC.sum(axis=1, keepdims=True)
        share_CC = np.divide(counts_CC, total_C, out=np.zeros(counts_CC.shape), where=total_C > 0)
        axes.grid(visible=False)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_aspect("equal")
        size = max(4.0, min(9.0, 110 / len(names)))
        for truth, row in enumerate(share_CC):
            for predicted, share in enumerate(row.tolist()):
                if share < 0.005:
                    continue
                colour = COLOURS[0] if truth == predicted else COLOURS[1]
                (cell,) = axes.fill(
                    predicted + np.array([-0.48, 0.48, 0.48, -0.48]),
                    truth + np.array([-0.48, -0.48, 0.48, 0.48]),
                    color=colour,
                    alpha=0.15 + 0.85 * share,
                    linewidth=0,
                )
                tips.on(cell, f"{names[truth]} taken for {names[predicted]}: {share:.1%}")
                if share >= 0.095:
                    ink = "#FFFFFF" if share > 0.6 else _INK
                    axes.text(
                        predicted, truth, f"{100 * share:.0f}", ha="center", va="center", fontsize=size, color=ink
                    )
        _name_rows(axes, names)
        axes.set_xticks(range(len(names)), [short(name, 14) for name in names], rotation=90)
        axes.set_ylabel("truth")
        axes.set_xlabel("prediction; figures in % of the truth")

    return draw


def _legend_above(axes: Axes) -> None:
    """Where it hides nothing."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.legend(loc="outside upper left", ncols=2, columnspacing=1.5, handlelength=2.2)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names down the side, the first on top."""
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def short(name: str, most: int = _LONGEST_NAME) -> str:
    """A name that fits beside an axis, nothing hidden in it."""
    name = visible(name)
    return name if len(name) <= most else f"{name[: most - 1]}…"
