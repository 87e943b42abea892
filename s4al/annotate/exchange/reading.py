"""What comes back, collected and checked before anything is saved: the rules of reading, once for all formats.

A format walks its source and says of every picture what was painted in it::

    for name in source.names(".png"):
        with reading.item(name):
            picture = reading.picture(name)  # whose answer this is; NotOurs
            labels_HW = reading.canvas(picture, height, width)  # its size; Unusable
            labels_HW[mask] = reading.class_id("road")  # classes by name; Unusable
            reading.add(picture, labels_HW, seconds=4.5)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.exchange.manifest import Manifest, bare_picture, parse_name, recall
from s4al.annotate.exchange.pictures import UNPAINTED, NotOurs, Part, Picture, Unusable
from s4al.errors import DataError

if TYPE_CHECKING:
    from s4al.annotate.queries import Round

UNKNOWN_PERSON = "unknown"
_MAX_TEXT = 120


@dataclass(frozen=True)
class Problem:
    """One thing that came back and was not taken: where it was found, which query (or ""), and why."""

    where: str
    query: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """What came back of one region. `packed` is its uint8 label map, zlib: many regions wait in memory at once."""

    where: str
    part: Part
    packed: bytes
    painted: int
    annotator: str
    seconds: float
    skipped: bool
    source: str
    updated: str
    guess: str

    def labels(self) -> NDArray[np.uint8]:
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.part.size)


class Reading:
    """What one import has read so far.

    Attributes
    ----------
    annotator : who answered, where a format does not say.
    class_names : the run's, C names, ids are their positions.
    palette : uint8 (C, 3), the run's.
    seen : the queries whose pictures came back, answered or not.
    candidates, left_out, faults : what came back; what belongs elsewhere; what cannot be taken as it is.
    notes : sentences a person should read.
    """

    def __init__(self, round: Round, annotator: str = UNKNOWN_PERSON) -> None:
        self.round = round
        self.annotator = annotator
        self.class_names = tuple(round.class_names)
        self.palette = round.palette
        self.seen: set[str] = set()
        self.candidates: list[Candidate] = []
        self.left_out: list[Problem] = []
        self.faults: list[Problem] = []
        self.notes: list[str] = []
        self.manifests: dict[str, Manifest] = {}
        self._pictures: dict[str, Picture] = {}
        self._ids = {name: id for id, name in enumerate(self.class_names)}

    @contextmanager
    def item(self, where: str) -> Iterator[None]:
        """Write down what goes wrong with one thing that came back, and go on with the next."""
        try:
            yield
        except (NotOurs, Unusable, DataError) as problem:
            found = parse_name(where)
            reason = problem.what if isinstance(problem, DataError) else str(problem)
            problems = self.left_out if isinstance(problem, NotOurs) else self.faults
            problems.append(Problem(where, found[0] if found else "", reason))

    def picture(self, name: str) -> Picture:
        """The picture that a file, frame or task is about, by the name in its name. Raises NotOurs."""
        found = parse_name(name)
        if found is None:
            raise NotOurs("no region asked for has this name")
        query, key = found
        if key and key not in self.manifests:
            self._load(key)
        picture = self._pictures.get(f"{query}-{key}") if key else bare_picture(self._query(query))
        if picture is None:
            raise NotOurs("the export that it names did not ask for this region")
        self.seen |= {part.query for part in picture.parts}
        return picture

    def manifest(self, picture: Picture) -> Manifest | None:
        """The export that a picture is of; None where it was answered by the bare id of its query."""
        return self.manifests.get(picture.name.rpartition("-")[2])

    def canvas(self, picture: Picture, height: int, width: int) -> NDArray[np.uint8]:
        """uint8 (H, W), all `UNPAINTED`, to paint class ids on; checked before anything is allocated.

        Parameters
        ----------
        height, width : of the picture, as what came back says. Raises Unusable where it is another size.
        """
        if (height, width) != picture.size:
            expected = f"{picture.width} x {picture.height}"
            raise Unusable(f"it is {width} x {height}, its picture is {expected}: labels are never resized")
        return picture.blank()

    def class_id(self, name: str) -> int:
        """Raises Unusable where the run has no class of this name, with a hint where only the case differs."""
        if name in self._ids:
            return self._ids[name]
        alike = [known for known in self.class_names if known.casefold().strip() == name.casefold().strip()]
        if alike:
            raise Unusable(f"class {name!r} is not one of this run's, but {alike[0]!r} is: names must agree in case")
        raise Unusable(f"class {name!r} is not one of this run's ({', '.join(self.class_names)})")

    def add(
        self,
        picture: Picture,
        labels_HW: NDArray[np.uint8],
        *,
        where: str = "",
        annotator: str = "",
        seconds: float = 0.0,
        skipped: bool = False,
        source: str = "",
        updated: str = "",
    ) -> None:
        """Take what was painted in a picture; what lies outside its regions is dropped.

        Parameters
        ----------
        labels_HW : class ids of this run, `UNPAINTED` where nothing was painted. Raises Unusable for other values.
        where : what messages call it; the picture's name where not given.
        annotator : who painted it, "" where the format does not say.
        seconds : of a person's time for the whole picture; shared among its regions by their pixels.
        skipped : the person declined; the labels do not count.
        source, updated : what the tool calls this answer, and its time or version: the same pair again is no change.
            "" where the format has none.
        """
        self._check(picture, labels_HW)
        _check_texts(annotator=annotator, source=source, updated=updated)
        manifest = self.manifest(picture)
        guess = manifest.model if manifest is not None and manifest.guesses else ""
        pixels = sum(part.size[0] * part.size[1] for part in picture.parts)
        for part in picture.parts:
            inside = np.ascontiguousarray(labels_HW[part.box])
            candidate = Candidate(
                where=where or picture.name,
                part=part,
                packed=zlib.compress(inside.tobytes(), 1),
                painted=int(np.count_nonzero(inside != UNPAINTED)),
                annotator=annotator.strip() or self.annotator,
                seconds=seconds * inside.size / pixels,
                skipped=skipped,
                source=source or picture.name,
                updated=updated,
                guess=guess,
            )
            self.candidates.append(candidate)

    def _check(self, picture: Picture, labels_HW: NDArray[np.uint8]) -> None:
        assert labels_HW.shape == picture.size, (labels_HW.shape, picture.size)
        assert labels_HW.dtype == np.uint8, labels_HW.dtype
        wrong = labels_HW[(labels_HW >= len(self.class_names)) & (labels_HW != UNPAINTED)]
        if wrong.size:
            raise Unusable(
                f"class id {wrong[0]} at {wrong.size:,} pixels; this run has {len(self.class_names)} classes"
            )

    def _query(self, id: str):
        try:
            return self.round.query(id)
        except (KeyError, DataError) as error:
            raise NotOurs(f"round {self.round.cycle} asks for no region {id}") from error

    def _load(self, key: str) -> None:
        manifest = recall(self.round, key)
        if manifest is None:
            raise NotOurs(f"it comes from an export {key} that this round of {self.round.run.root} did not make")
        self.manifests[key] = manifest
        self._pictures |= {picture.name: picture for picture in manifest.pictures}


def _check_texts(**texts: str) -> None:
    """As the store will, but before anything is saved. Raises Unusable."""
    for name, text in texts.items():
        if len(text) > _MAX_TEXT or not text.isprintable():
            raise Unusable(f"its {name} {text[:40]!r} is longer than {_MAX_TEXT} characters, or cannot be printed")
