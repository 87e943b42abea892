"""Files of a data set that cannot be used: all of one reading in one message and one table."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from s4al.data.pool import first_few
from s4al.errors import DataError, ImageError, MaskError
from s4al.files import write_atomic

_MOST_NAMED = 20
_EXAMPLES = 3  # files of a kind of fault
_KINDS: dict[str, type[DataError]] = {"mask": MaskError, "image": ImageError}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for the beginning of a formula


@dataclass(frozen=True)
class Fault:
    """`file` is relative to the data folder; `reason` names it too. A training image that is set aside is not fatal."""

    split: str
    id: str
    file: str
    kind: Literal["image", "mask"]
    reason: str

    @property
    def fatal(self) -> bool:
        return self.kind == "mask" or self.split != "train"


def grouped(faults: Sequence[tuple[str, str]]) -> str:
    """Many faults in one sentence, those of one kind together: "5 files (a.png, b.png, c.png and 2 more): ends early".

    Parameters
    ----------
    faults : (file, reason that begins with its name); reasons that differ in numbers alone are of one kind.
    """
    kinds: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for file, reason in faults:
        said = reason.removeprefix("mask ").removeprefix(f"{file}: ").removesuffix(".")
        kinds[re.sub(r"\d[\d,.]*", "#", said)].append((file, said))
    in_order = sorted(kinds.values(), key=lambda kind: -len(kind))
    return first_few([_of_one_kind(kind) for kind in in_order])


def _of_one_kind(faults: Sequence[tuple[str, str]]) -> str:
    files = [file for file, _ in faults]
    if len(files) == 1:
        return f"{files[0]}: {faults[0][1]}"
    more = f" and {len(files) - _EXAMPLES:,} more" if len(files) > _EXAMPLES else ""
    which = "of the first, " if len({said for _, said in faults}) > 1 else ""
    return f"{len(files):,} files ({', '.join(files[:_EXAMPLES])}{more}): {which}{faults[0][1]}"


def write_faults(faults: list[Fault], path: Path) -> None:
    """Write the table, or remove an older one where there are no faults. Raises OSError.

    Names are untrusted: a cell that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    if not faults:
        path.unlink(missing_ok=True)
        return
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("split", "id", "file", "kind", "reason"))
    for fault in faults:
        cells = (fault.split, fault.id, fault.file, fault.kind, fault.reason)
        writer.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    write_atomic(path, stream.getvalue().encode(errors="backslashreplace"))


def raise_fatal(faults: list[Fault], path: Path) -> None:
    """Raise one error for all fatal faults, of the class of the first; `path` is where all faults are listed."""
    fatal = [fault for fault in faults if fault.fatal]
    if not fatal:
        return
    aside = len(faults) - len(fatal)
    raise _KINDS[fatal[0].kind](
        _what(fatal),
        kept="No labels were taken." if fatal[0].kind == "mask" else "",
        remedy=f"{_remedy(fatal)} {_listed(len(fatal), aside, path)}",
    )


def check_quarantine(faults: list[Fault], num_images: int, allowed: int, path: Path) -> None:
    """Refuse a training pool with more bad images than `allowed`, or without any other. Raises DataError."""
    bad = [(fault.file, fault.reason) for fault in faults if not fault.fatal]
    if len(bad) > allowed:
        count = f"{len(bad):,} of {num_images:,} training images cannot be used (up to {allowed:,} would be set aside)"
        enough = math.ceil(1e4 * len(bad) / num_images) / 1e4
        remedy = f"Repair or remove them, or set data.max_bad_fraction={enough:g}. All are listed in {path}."
        raise DataError(f"{count}: {grouped(bad)}.", remedy=remedy)
    if bad and len(bad) == num_images:
        what = f"No training image can be used: {grouped(bad)}."
        raise DataError(what, remedy=f"Repair or replace them. All are listed in {path}.")


def _what(fatal: list[Fault]) -> str:
    if len(fatal) == 1:
        only = fatal[0]
        return only.reason if only.kind == "mask" else f"{only.reason}. The {only.split} split must be sound."
    masks = sum(fault.kind == "mask" for fault in fatal)
    counts = [_count(masks, "mask"), _count(len(fatal) - masks, "image")]
    reasons = [fault.reason.removesuffix(".") for fault in fatal]  # on one line: a line break is no part of a message
    return f"{' and '.join(count for count in counts if count)} cannot be used: {first_few(reasons, _MOST_NAMED)}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number > 1 else ''}" if number else ""


def _remedy(fatal: list[Fault]) -> str:
    if len(fatal) > 1:
        return "Repair them, or remove each image together with its mask."
    kind, other = ("mask", "image") if fatal[0].kind == "mask" else ("image", "mask")
    return f"Repair the {kind}, or remove it and its {other}."


def _listed(num_fatal: int, num_aside: int, path: Path) -> str:
    aside = f", with {num_aside:,} bad training image{'s' if num_aside > 1 else ''}" if num_aside else ""
    return f"{'It is' if num_fatal == 1 else 'All are'} listed in {path}{aside}."
