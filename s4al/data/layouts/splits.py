"""The names that splits go by, and the test images drawn where nobody set any apart."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

# "default" is what CVAT calls the one split of an export.
ALIASES = {
    "train": "train",
    "training": "train",
    "default": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
ANY_ALIAS = "|".join(sorted(ALIASES, key=len, reverse=True))


def drawn_test(ids: Collection[str], fraction: float) -> set[str]:
    """Ids of the images to test on: those whose sha256, as a number in [0, 1), is below `fraction`.

    Whether an image is drawn depends on its own id alone, so that images can be added later without moving others.
    At least one is drawn (the lowest), and never all (the highest stays); of one image, none.
    """
    if len(ids) < 2:
        return set()
    place = {id: int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big") / 2**64 for id in ids}
    in_order = sorted(place, key=lambda id: (place[id], id))
    drawn = {id for id in in_order if place[id] < fraction} | {in_order[0]}
    return drawn - {in_order[-1]} if len(drawn) == len(place) else drawn
