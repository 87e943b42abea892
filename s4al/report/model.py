"""The figures of a report, as they stand in `report.json`. Shares are of 1, times in seconds, pixels of the originals.

None stands for what is not known: not recorded by the version that made the run, not there yet, or damaged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FORMAT = 1  # of report.json


@dataclass(frozen=True)
class Point:
    """One tested cycle: labelled pixels up to then, and mIoU."""

    cycle: int
    pixels: int
    miou: float


@dataclass
class Data:
    """The pool. `digest` is the sha256 over its rows."""

    train: int = 0
    val: int = 0
    test: int = 0
    set_aside: int = 0
    total_pixels: int = 0
    digest: str | None = None


@dataclass
class Labels:
    """What one cycle added to the labels.

    `pixels_by_class` counts in the masks of `masks_read`; where those are not `all_read`, it is scaled up to all.
    """

    pixels: int = 0
    regions: int = 0
    images: int = 0  # labelled whole
    seconds: float = 0.0  # of people
    annotators: dict[str, dict[str, float]] = field(default_factory=dict)  # name: regions, seconds
    pixels_by_class: list[int] | None = None
    masks_read: int = 0
    all_read: bool = True


@dataclass
class Pseudo:
    """Pseudo-labels of one cycle, counted in `images_read` of `images`, and compared with the truth in `images_judged`.

    Lists are by class.
    """

    images: int
    images_read: int
    images_judged: int
    coverage: float  # share of the pixels that have one
    correct: float | None  # of those whose truth is known
    share: list[float]  # of the pseudo-labels, that are of this class
    correct_by_class: list[float | None]  # of the pseudo-labels of this class
    found_by_class: list[float | None]  # of the true pixels of this class, that have a pseudo-label


@dataclass
class Selection:
    """What one cycle asked for."""

    regions: int = 0
    pixels: int = 0
    strategy: str = ""
    metric: str = ""
    mean_score: float | None = None


@dataclass
class Box:
    """One region: where, how it scored, what the network takes most of it for, and what people said."""

    y0: int
    x0: int
    y1: int
    x1: int
    region: int
    score: float | None = None
    reason: str = ""
    predicted: str | None = None
    answer: str | None = None
    answer_share: float | None = None  # of the answered pixels, that are of that class


@dataclass
class Asked:
    """One image of the sample: what was asked of it in `cycle`, or which regions are hard and not asked yet.

    `row` is its row of the training cache, `scored_as` its position among the images that the cycle scored; -1 where
    they are not known. `scores` are those of all its regions, `highest` is the highest of its boxes. `classes` are
    those that its boxes are predicted as or were answered with.
    """

    image: str
    cycle: int
    boxes: list[Box]
    height: int = 0
    width: int = 0
    row: int = -1
    scored_as: int = -1
    scores: list[float] = field(default_factory=list)
    highest: float | None = None
    classes: list[str] = field(default_factory=list)
    answered: bool = False


@dataclass
class Confusion:
    """Pixels of the class `truth` that were taken for `predicted`. `example` is an entry of `Run.examples`."""

    truth: str
    predicted: str
    pixels: int
    share_of_truth: float
    example: dict[str, Any] | None = None


@dataclass
class Cycle:
    cycle: int
    stages: list[str]
    labelled_pixels: int | None = None  # up to and including this cycle
    labelled_fraction: float | None = None
    regions: int | None = None
    images: int | None = None
    seconds: float | None = None
    labels: Labels | None = None
    miou: float | None = None
    per_class_iou: list[float | None] | None = None
    pseudo: Pseudo | None = None
    selection: Selection | None = None
    times: dict[str, dict[str, Any]] = field(default_factory=dict)  # stage: seconds, peak_mib, images_per_s, engine


@dataclass
class Advice:
    """What the next regions will buy, from the curve up to `cycle`; the interval should hold `level` of the time."""

    cycle: int
    regions: int
    pixels: int
    gain: float
    low: float
    high: float
    level: float
    came: float | None = None  # the gain that was then seen
    fitted_to: list[int] = field(default_factory=list)


@dataclass
class Comparison:
    """The curve of another run beside this one, and where that run is: below this one, or given with it."""

    where: str
    points: list[Point]

    @property
    def newest(self) -> Point:
        return self.points[-1]

    def at_the_cost(self, pixels: int) -> Point | None:
        """Its newest point that cost as much within a twentieth, None where there is none."""
        near = [point for point in self.points if abs(point.pixels - pixels) <= pixels / 20]
        return near[-1] if near else None


@dataclass
class Run:
    root: str
    name: str
    kind: str  # active, random, every label, or labels alone
    group: str  # the same for runs that differ in nothing but their seed
    data: Data
    class_names: list[str]
    palette: list[list[int]]
    seed: int
    planned_cycles: int
    metric: str
    cycles: list[Cycle]
    settings: dict[str, Any]
    preset: str
    differences: dict[str, list[Any]]  # setting: the preset's value, the run's
    full: Comparison | None = None
    random: Comparison | None = None
    advice: Advice | None = None
    back_test: list[Advice] = field(default_factory=list)
    confusion: list[list[int]] | None = None  # of the newest tested cycle, [truth][prediction]
    confusions: list[Confusion] = field(default_factory=list)
    examples: list[dict[str, Any]] | None = None
    asked: list[Asked] = field(default_factory=list)
    hardest: list[Asked] = field(default_factory=list)
    machine: dict[str, Any] | None = None
    code: str | None = None  # version that made the newest stage
    truth: str = ""  # why pseudo-labels could not be compared with it
    gaps: list[str] = field(default_factory=list)

    @property
    def tested(self) -> list[Cycle]:
        """The cycles with an mIoU."""
        return [cycle for cycle in self.cycles if cycle.miou is not None]

    @property
    def points(self) -> list[Point]:
        """The curve."""
        return [
            Point(cycle.cycle, cycle.labelled_pixels, cycle.miou)
            for cycle in self.cycles
            if cycle.miou is not None and cycle.labelled_pixels
        ]
