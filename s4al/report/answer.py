"""The answer in a few sentences: what the run has reached, what that cost, and what more would buy.

`s4al report` has them on top of the page, `s4al status` below its table.
"""

from __future__ import annotations

from s4al.report.model import Advice, Comparison, Run
from s4al.text import counted, duration, percent


def headline(run: Run) -> dict[str, str]:
    """Named lines, as far as there is something to say."""
    if not run.tested:
        return {"Answer": "No cycle is tested yet."}
    newest = run.tested[-1]
    assert newest.miou is not None
    lines = {"mIoU": f"{percent(newest.miou)} on {counted(run.data.test, 'test image')}, cycle {newest.cycle}"}
    if run.full is not None:
        full = run.full.newest.miou
        share = f", of which this is {percent(newest.miou / full)}" if full else ""
        lines["Full supervision"] = f"{percent(full)} with every pixel labelled{share}"
    if newest.labelled_pixels is not None:
        lines["Cost"] = _cost(run)
    if run.random is not None:
        lines["Random regions"] = _beside_random(run, run.random)
    lines["Next"] = _next(run)
    return lines


def _cost(run: Run) -> str:
    newest = run.tested[-1]
    share = f" ({percent(newest.labelled_fraction)} of all)" if newest.labelled_fraction is not None else ""
    parts = [f"{newest.labelled_pixels or 0:,} pixels{share}"]
    if newest.regions:
        parts.append(counted(newest.regions, "region"))
    if newest.images:
        parts.append(counted(newest.images, "whole image"))
    parts.append(f"{duration(newest.seconds)} of people" if newest.seconds else "people's time not recorded")
    return ", ".join(parts)


def _beside_random(run: Run, random: Comparison) -> str:
    newest = run.points[-1] if run.points else None
    point = random.at_the_cost(newest.pixels) if newest else None
    if newest is None or point is None:
        return f"no cycle of {random.where} has cost as much yet"
    return f"{percent(point.miou)} at the same cost, so asking bought {points(newest.miou - point.miou)} more"


def _next(run: Run) -> str:
    if run.advice is None:
        tested = len(run.points)
        if tested < 2:
            return f"{counted(tested, 'tested cycle')} {'is' if tested == 1 else 'are'} no curve: no advice before two"
        return "nothing is selected to be labelled next, so there is no advice"
    return said(run.advice)


def said(advice: Advice) -> str:
    """One piece of advice as a sentence."""
    interval = f"{100 * advice.low:+.1f} to {100 * advice.high:+.1f}"
    return (
        f"the next {counted(advice.regions, 'region')} will buy about {points(advice.gain)} of mIoU "
        f"({100 * advice.level:.0f} % interval {interval})"
    )


def points(gain: float) -> str:
    """A difference of mIoU: +1.5 points."""
    return f"{100 * gain:+.1f} points"
