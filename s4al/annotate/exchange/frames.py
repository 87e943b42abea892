"""The frame that shows people which part of a picture is asked for: a rectangle with a label that is no class."""

from __future__ import annotations

from collections.abc import Sequence

from s4al.annotate.exchange.contract import UNPAINTED, Part, Picture, Reading

FRAME = "QUERY"
FRAME_COLOUR = "#ffff00"


def is_frame(label: str, class_names: Sequence[str]) -> bool:
    """Whether a shape of this label is a frame, not an answer. A run that has such a class has no frames."""
    return label == FRAME and FRAME not in class_names


def answer_id(label: str, reading: Reading) -> int:
    """What a pixel of this label becomes: the id of the class, `UNPAINTED` for a frame. Raises Unusable."""
    return UNPAINTED if is_frame(label, reading.class_names) else reading.class_id(label)


def frames(picture: Picture, class_names: Sequence[str]) -> list[Part]:
    """The parts of a picture to put a frame around: none where the one region fills it."""
    return [part for part in picture.parts if part.size != picture.size and FRAME not in class_names]
