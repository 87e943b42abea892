"""A round of questions: the regions that one cycle asks people to label, with what it takes to show them.

The stage `ask` holds them, `cycles/NNN/ask/`: queries.parquet, and for each region, where a network has seen it, its
guess and its uncertainty (`s4al.run.asking`).
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.annotate.classes import RoundClasses
from s4al.errors import AnswerError, ImageError, RunStateError
from s4al.run.asking import QUERIES, AskedRegion, guess_file, uncertainty_file
from s4al.run.state import Run


@dataclass(frozen=True, slots=True)
class Query(AskedRegion):
    """An asked region with its place in the round."""

    number: int
    id: str  # "r003-000017": cycle and number

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w)."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def pixels(self) -> int:
        return (self.y1 - self.y0) * (self.x1 - self.x0)

    @property
    def box(self) -> tuple[slice, slice]:
        return np.s_[self.y0 : self.y1, self.x0 : self.x1]


class Round:
    """The queries of one cycle, best rank first. `Round.open` finds the one that is being answered."""

    def __init__(self, run: Run, cycle: int) -> None:
        self.run = run
        self.cycle = cycle
        self.classes = RoundClasses(run.classes(cycle - 1), run.answers_folder(cycle) / "classes.jsonl")

    @classmethod
    def open(cls, run: Run) -> Round:
        """The round whose labels are not committed yet. Raises RunStateError where nothing is asked."""
        cycle = run.last_cycle("ask")
        if cycle >= 0 and not run.is_committed(cycle, "labels"):
            return cls(run, cycle)
        command = f"s4al train {shlex.quote(str(run.root))}"
        if run.config.data.oracle != "people":
            raise RunStateError(
                f"The run {run.root} asks no people: its labels come from masks (data.oracle).",
                remedy='Start a new run with data.oracle="people".',
            )
        done = f"; the labels of cycle {cycle} are committed" if cycle >= 0 else " yet"
        raise RunStateError(f"The run {run.root} asks for no regions{done}.", remedy=f"Run: {command}.")

    @property
    def folder(self) -> Path:
        """Of the committed stage."""
        return self.run.stage(self.cycle, "ask")

    @property
    def class_names(self) -> list[str]:
        """By class id, with those added in this round, by whichever process."""
        return self.classes.names

    @property
    def palette(self) -> NDArray[np.uint8]:
        """uint8 (C, 3)."""
        return self.classes.palette

    @cached_property
    def queries(self) -> tuple[Query, ...]:
        """In the order of their numbers, which is that of their ranks. Raises RunStateError."""
        table = files.read_table(self.folder / QUERIES)
        seen: dict[str, str] = {}  # a name of an image comes many times and is kept once
        columns: dict[str, list[Any]] = {name: table[name].to_pylist() for name in table.column_names}
        for name in ("image", "reason", "purpose"):
            columns[name] = [seen.setdefault(text, text) for text in columns[name]]
        columns["id"] = [f"r{self.cycle:03d}-{number:06d}" for number in columns["number"]]
        names = Query.__dataclass_fields__
        return tuple(Query(*row) for row in zip(*(columns[name] for name in names), strict=True))

    @cached_property
    def _number_of(self) -> dict[str, int]:
        return {query.id: query.number for query in self.queries}

    def query(self, key: str | int) -> Query:
        """By number or id. Raises AnswerError where the round asks no such region."""
        number = self._number_of.get(key, -1) if isinstance(key, str) else key
        if not 0 <= number < len(self.queries):
            raise AnswerError(
                f"Cycle {self.cycle} of {self.run.root} asks for no region {key!r}; it asks for {len(self.queries):,}.",
                kept="Nothing was changed.",
                remedy="Answers belong to the round that they were asked in: export it again.",
            )
        return self.queries[number]

    def is_for_two(self, query: Query, overlap: float | None = None) -> bool:
        """Whether a second person is to answer this region, too: a share of them, the same ones always.

        Parameters
        ----------
        overlap : the share; None takes the run's, `data.overlap`.
        """
        share = self.run.config.data.overlap if overlap is None else overlap
        digest = hashlib.sha256(f"{self.run.config.run.seed}/{query.image}/{query.region}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64

    @cached_property
    def _sources(self) -> dict[str, tuple[str, str, tuple[int, int] | None]]:
        """image id -> (path below the data folder, sha256, size of its mask if it has one); of asked images alone."""
        from s4al.data import load_pool

        asked = {query.image for query in self.queries}
        return {
            row.id: (row.image, row.sha256, (row.height, row.width) if row.mask else None)
            for row in load_pool(self.run.pool_file).train.rows
            if row.id in asked
        }

    def image(self, query: Query) -> NDArray[np.uint8]:
        """uint8 (H, W, 3): the whole original image. Raises ImageError, DataError where its file has changed."""
        from s4al.data.images import load_image

        data = self.run.config.data
        name, sha256, mask_size = self._sources[query.image]
        root = Path(data.root) if data.root else self.run.scenes
        try:
            path = files.contained(root, name, links_may_leave=data.links == "anywhere")
        except RuntimeError as error:  # pathlib's word for links that go round in circles
            raise ImageError(f"{name}: a link that leads nowhere", remedy="Restore the image.") from error
        return load_image(
            path,
            name,
            max_megapixels=data.max_megapixels,
            expected_sha256=sha256,
            value_range=data.value_range,
            mask_size=mask_size,
        ).pixels

    def guess(self, query: Query) -> NDArray[np.uint8] | None:
        """uint8 (h, w): the network's classes inside the region; None before there is one. Raises RunStateError."""
        return self._read(guess_file(self.folder, query.number), query)

    def uncertainty(self, query: Query) -> NDArray[np.uint8] | None:
        """uint8 (h, w): entropy / ln C * 255 inside the region; None before there is a network."""
        return self._read(uncertainty_file(self.folder, query.number), query)

    def _read(self, path: Path, query: Query) -> NDArray[np.uint8] | None:
        from s4al.data.masks.reader import read_own_mask

        if not path.is_file():
            return None
        picture_hw = read_own_mask(path)
        if picture_hw.shape != query.shape:
            h, w = query.shape
            raise RunStateError(
                f"{path} is {picture_hw.shape[1]} x {picture_hw.shape[0]}, its region {w} x {h} pixels.",
                remedy=f"Delete {self.folder} and run: s4al train {shlex.quote(str(self.run.root))}.",
            )
        return picture_hw
