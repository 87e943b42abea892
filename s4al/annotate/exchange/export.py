"""What a format writes from: pictures, pixels, guesses, classes."""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.annotate.exchange.manifest import Manifest
from s4al.annotate.exchange.pictures import Picture

if TYPE_CHECKING:
    from s4al.annotate.queries import Round

_MOST_THREADS = 4  # each holds a decoded image
_FAST = 1  # of PNG's compression levels: a quarter of the time for a tenth more bytes


class Export:
    """The pictures of one export, read as they are asked for.

    Attributes
    ----------
    pictures : in the order in which people should see them.
    class_names : C names; ids are their positions.
    palette : uint8 (C, 3).
    """

    def __init__(self, round: Round, manifest: Manifest) -> None:
        self.round = round
        self.manifest = manifest
        self.pictures = manifest.pictures
        self.class_names = manifest.class_names
        self.palette = manifest.palette

    def write_images(self, folder: Path) -> None:
        """Write `folder / picture.file` of every picture; each image of the pool is decoded once.

        Raises ImageError, DataError (an image changed since the run began), OSError.
        """
        by_image: dict[str, list[Picture]] = defaultdict(list)
        for picture in self.pictures:
            by_image[picture.image].append(picture)
        (folder / "images").mkdir(exist_ok=True)
        with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as threads:
            for _ in threads.map(partial(self._cut, folder), by_image.values()):
                pass  # what a thread raises, this raises

    def _cut(self, folder: Path, pictures: list[Picture]) -> None:
        """Write the pictures of one image."""
        whole_HWC = self.round.image(self.round.query(pictures[0].parts[0].query))
        for picture in pictures:
            window = np.s_[picture.y0 : picture.y0 + picture.height, picture.x0 : picture.x0 + picture.width]
            pixels_HWC = np.ascontiguousarray(whole_HWC[window])
            Image.fromarray(pixels_HWC).save(folder / picture.file, "PNG", compress_level=_FAST)

    def guess(self, picture: Picture) -> NDArray[np.uint8] | None:
        """uint8 (H, W): the network's classes inside the picture's regions, `UNPAINTED` elsewhere.

        None where there is none, or guesses are not wanted.
        """
        if not self.manifest.guesses:
            return None
        guess_HW, found = picture.blank(), False
        for part in picture.parts:
            inside = self.round.guess(self.round.query(part.query))
            if inside is not None:
                guess_HW[part.box], found = inside, True
        return guess_HW if found else None

    @cached_property
    def has_guesses(self) -> bool:
        return any(self.guess(picture) is not None for picture in self.pictures)

    def uncertainty(self, picture: Picture) -> float | None:
        """Mean over the picture's regions of entropy / ln C, 0 to 1; None where there was no network."""
        maps = [self.round.uncertainty(self.round.query(part.query)) for part in picture.parts]
        known = [values for values in maps if values is not None]
        if not known:
            return None
        return float(sum(int(values.sum(dtype=np.int64)) for values in known) / sum(v.size for v in known) / 255)
