"""What people are asked: the stage `ask` of a cycle, committed before they answer.

    cycles/NNN/ask/queries.parquet              a row a region, in the order in which they are asked
    cycles/NNN/ask/guess/<number>.png           class ids the network gives the region, at original size
    cycles/NNN/ask/uncertainty/<number>.png     its entropy there, 255 for one that knows nothing

The pictures are not there where no network is: in the first cycle of a run that starts without a label. NNN is the
cycle whose labels are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.run.state import Run

if TYPE_CHECKING:
    import pyarrow as pa

QUERIES = "queries.parquet"
Purpose = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class AskedRegion:
    """A box of one image, in original pixels, ends exclusive, and why it is asked for.

    Attributes
    ----------
    score : by which it was selected; 0 where it was not by a network.
    rank : among the selected ones, see the selection's strategy.
    purpose : "train", or "test" for a region that is never learnt from.
    """

    image: str
    region: int
    y0: int
    x0: int
    y1: int
    x1: int
    score: float
    rank: int
    reason: str
    purpose: Purpose


@dataclass(frozen=True)
class Guess:
    """What a network says about an asked region: uint8 (h, w) class ids, and uint8 (h, w) entropy / ln C * 255."""

    label_hw: NDArray[np.uint8]
    uncertainty_hw: NDArray[np.uint8]


def commit_questions(run: Run, cycle: int, asked: Sequence[AskedRegion], guesses: Iterable[tuple[int, Guess]]) -> None:
    """Commit the stage `ask`.

    Parameters
    ----------
    asked : in the order in which people get them; their numbers are their places.
    guesses : (number, guess) of some or all of them.

    Raises StorageError, and what the guesses raise; nothing is kept then.
    """
    palette = run.classes(cycle - 1).palette
    with run.commit(cycle, "ask") as folder:
        files.write_table(folder / QUERIES, _table(asked))
        for number, guess in guesses:
            _write_guess(folder, number, guess, palette)


def read_questions(run: Run, cycle: int) -> list[AskedRegion]:
    """In the order of their numbers. Raises RunStateError where the stage is not committed or damaged."""
    rows = files.read_table(run.read_stage(cycle, "ask") / QUERIES).sort_by("number").to_pylist()
    return [AskedRegion(**{name: value for name, value in row.items() if name != "number"}) for row in rows]


def guess_file(ask: Path, number: int) -> Path:
    return ask / "guess" / f"{number}.png"


def uncertainty_file(ask: Path, number: int) -> Path:
    return ask / "uncertainty" / f"{number}.png"


def _write_guess(folder: Path, number: int, guess: Guess, palette: NDArray[np.uint8]) -> None:
    from PIL import Image

    from s4al.data.masks import write_mask

    labels, doubt = guess_file(folder, number), uncertainty_file(folder, number)
    for path in (labels, doubt):
        path.parent.mkdir(exist_ok=True)
    write_mask(labels, guess.label_hw, palette)
    Image.fromarray(guess.uncertainty_hw).save(doubt, "PNG")


def _table(asked: Sequence[AskedRegion]) -> pa.Table:
    import pyarrow as pa

    whole, text = pa.int32(), pa.string()
    schema = pa.schema(
        [("number", whole), ("image", text), ("region", whole)]
        + [(name, whole) for name in ("y0", "x0", "y1", "x1")]
        + [("score", pa.float32()), ("rank", whole), ("reason", text), ("purpose", text)]
    )
    rows = [{"number": number, **asdict(region)} for number, region in enumerate(asked)]
    return pa.Table.from_pylist(rows, schema=schema)
