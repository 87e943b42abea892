"""What a number of masks hold together: values and colours with their pixels, and whether they are labels at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from s4al.data.masks.samples import MaskSample
from s4al.data.masks.settings import value_text
from s4al.data.palettes import Colour
from s4al.errors import DataError

Value = TypeVar("Value", int, Colour)

_MANY_UNKNOWN = 64  # without a name or a row of their own: a person does not name as many in a setting
_MANY_COLOURS = 300  # no list of classes is as long, and drawings whose edges were smoothed have more


@dataclass(frozen=True, eq=False)
class Survey:
    """Masks that were looked at; at least one."""

    samples: tuple[MaskSample, ...]

    @cached_property
    def coloured(self) -> MaskSample | None:
        """The first mask that cannot be read by value, for it is a picture with colours."""
        return next((sample for sample in self.samples if sample.by_value is None), None)

    @cached_property
    def uncoloured(self) -> MaskSample | None:
        """The first mask that cannot be read by colour: 16-bit grey, or a palette that is not opaque."""
        return next((sample for sample in self.samples if sample.by_colour is None), None)

    @cached_property
    def values(self) -> dict[int, int]:
        """Value -> pixels in all masks, in the order of the values."""
        return dict(sorted(_sum(sample.by_value for sample in self.samples).items()))

    @cached_property
    def colours(self) -> dict[Colour, int]:
        """RGB -> pixels in all masks, the most frequent first."""
        return dict(_sum(sample.by_colour for sample in self.samples).most_common())

    @cached_property
    def num_pixels(self) -> int:
        return sum(sample.num_pixels for sample in self.samples)

    def share(self, pixels: int) -> str:
        """A count of pixels in words: "3.2 % of the pixels"."""
        percent = 100 * pixels / self.num_pixels
        return f"{'less than 0.1' if 0 < percent < 0.05 else f'{percent:.1f}'} % of the pixels"

    def first_with(self, value: Any) -> tuple[str, int]:
        """Name of the first mask with a value or colour, and how many pixels of it have it."""
        for sample in self.samples:
            pixels = (sample.by_value or {}).get(value) or (sample.by_colour or {}).get(value)
            if pixels:
                return sample.name, pixels
        raise KeyError(value)

    @cached_property
    def describe(self) -> str:
        """Formats and modes in words: "38 masks (PNG, 8-bit grey), 2 masks (PNG, palette)"."""
        kinds = Counter((sample.format, sample.mode) for sample in self.samples)
        return ", ".join(f"{plural(n, 'mask')} ({format}, {mode})" for (format, mode), n in kinds.most_common())

    def refuse_smoothed(self, known: Set[int | Colour] = frozenset()) -> None:
        """Raise DataError where a mask holds so many rare values that they are mixtures, and no labels.

        Parameters
        ----------
        known : values and colours that have a meaning, and so are no mixtures.
        """
        for sample in self.samples:
            held: Mapping[Any, int] = sample.values if sample.by_value is None else sample.by_value
            if sample.num_values > len(sample.values) or _is_smoothed(held, known):
                what = (
                    f"mask {sample.name} holds {sample.num_values:,} different {sample.mode} values, most of them rare"
                )
                raise DataError(
                    f"{what}: it was resized or saved with smoothing, or was a JPEG once, so its values are no labels.",
                    remedy="Make the masks again without smoothing (nearest neighbour), as PNG.",
                )

    def refuse_measurements(self, unknown: Collection[int | Colour]) -> None:
        """Raise DataError where so many values or colours have no meaning that they are no classes.

        Parameters
        ----------
        unknown : values or colours that masks hold and nobody named.
        """
        if len(unknown) <= _MANY_UNKNOWN:
            return
        first = next(iter(unknown))
        file, _ = self.first_with(first)
        kind = "values" if isinstance(first, int) else "colours"
        raise DataError(
            f"The masks hold {len(unknown):,} {kind} that nothing gives a meaning to, {value_text(first)} in {file} "
            "among them: numbers of objects, distances or photographs have as many, classes seldom.",
            remedy="Set data.masks to the files that hold classes, or write a class file with a line for each.",
        )


def _sum(counts: Iterable[Mapping[Value, int] | None]) -> Counter[Value]:
    total: Counter[Value] = Counter()
    for each in counts:
        total.update(each or {})
    return total


def _is_smoothed(held: Mapping[Any, int], known: Set[int | Colour]) -> bool:
    """Smoothing mixes neighbours: between a few frequent values lie many rare ones."""
    pixels = sum(held.values())
    frequent = [value for value, count in held.items() if count >= pixels / 100]
    rare = [value for value, count in held.items() if count < pixels / 100 and value not in known]
    grey = [value for value in frequent if isinstance(value, int)]
    if not grey:
        return len(held) > _MANY_COLOURS or (len(rare) >= 30 and len(rare) > 3 * len(frequent))
    between = [value for value in rare if isinstance(value, int) and min(grey) < value < max(grey)]
    return len(between) >= 8 and len(between) > 2 * len(grey) and len(between) >= 0.9 * len(rare)


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"
