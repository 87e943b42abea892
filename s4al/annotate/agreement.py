"""How far two people agree who labelled the same regions, without seeing each other's answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.store import AnswerStore
from s4al.data.masks import IGNORE


@dataclass(frozen=True)
class Agreement:
    """Counts, so that those of several cycles can be added. Pixels that one of the two left open are not compared.

    Attributes
    ----------
    regions : labelled by two people.
    pixels, agreed : compared, and of those with the same class in both answers.
    classes : class name -> pixels that both gave it, and pixels that at least one did.
    """

    regions: int
    pixels: int
    agreed: int
    classes: Mapping[str, tuple[int, int]]

    @property
    def pixel_agreement(self) -> float | None:
        """None where no pixel was compared."""
        return self.agreed / self.pixels if self.pixels else None

    @property
    def iou(self) -> dict[str, float]:
        """By class, of all that anybody gave to a pixel."""
        return {name: both / either for name, (both, either) in self.classes.items() if either}

    @property
    def mean_iou(self) -> float | None:
        return sum(self.iou.values()) / len(self.iou) if self.iou else None

    def __add__(self, other: Agreement) -> Agreement:
        both, either = Counter[str](), Counter[str]()
        for name, (intersection, union) in [*self.classes.items(), *other.classes.items()]:
            both[name] += intersection
            either[name] += union
        classes = {name: (both[name], either[name]) for name in either}
        return Agreement(self.regions + other.regions, self.pixels + other.pixels, self.agreed + other.agreed, classes)

    def to_json(self) -> dict[str, Any]:
        """The counts, which `from_json` takes, and for readers what they come to."""
        return {
            "regions": self.regions,
            "pixels": self.pixels,
            "agreed": self.agreed,
            "classes": {name: list(counts) for name, counts in self.classes.items()},
            "pixel_agreement": self.pixel_agreement,
            "mean_iou": self.mean_iou,
            "iou": self.iou,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Agreement:
        classes = {name: (both, either) for name, (both, either) in value["classes"].items()}
        return cls(value["regions"], value["pixels"], value["agreed"], classes)


def measure_agreement(store: AnswerStore) -> Agreement:
    """Of the regions of a round that two people answered. Raises RunStateError where an answer is damaged."""
    answers = ((store.labels(first), store.labels(second)) for first, second in store.answered_twice())
    return compare_labels(answers, store.round.class_names)


def compare_labels(answers: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]], names: list[str]) -> Agreement:
    """What pairs of uint8 (h, w) labels of the same regions have in common; `names` are those of the class ids."""
    confusion, regions = np.zeros((len(names), len(names)), np.int64), 0
    for first_hw, second_hw in answers:
        decided = (first_hw != IGNORE) & (second_hw != IGNORE)
        np.add.at(confusion, (first_hw[decided], second_hw[decided]), 1)
        regions += 1
    both = confusion.diagonal()
    either = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    classes = {name: (int(both[id]), int(either[id])) for id, name in enumerate(names) if either[id]}
    return Agreement(regions, int(confusion.sum()), int(both.sum()), classes)
