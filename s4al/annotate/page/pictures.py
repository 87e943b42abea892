"""What the page shows of a region, made once and kept for a while: the crop, the whole image small, the superpixels.

Originals are never served: every picture is decoded by the package's reader and encoded again. When an image is
decoded, what its next regions need is cut out of it and kept, the image is not: one of 40 megapixels takes a second,
and is decoded once for many regions, however far apart they are asked.
"""

from __future__ import annotations

import io
import threading
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.annotate.page.superpixels import superpixels

if TYPE_CHECKING:
    from s4al.annotate.queries import Query, Round

_CUT_BYTES = 24 * 2**20
_AHEAD_BYTES, _AHEAD = 8 * 2**20, 256  # cut out of one image at once, and of how many regions
_PREPARED_BYTES = 24 * 2**20
_VIEW_PIXELS = 4_000_000  # context is cut down so that no more has to be sent
_LEAST_CONTEXT = 16
_LOSSLESS_PIXELS = 1_000_000  # beyond, encoding a PNG takes longer than a person likes to wait
_THUMBNAIL = (256, 192)
Value = TypeVar("Value")


@dataclass(frozen=True)
class View:
    """The part of an image that is shown, in original pixels: the region and what is around it."""

    y0: int
    x0: int
    y1: int
    x1: int


@dataclass(frozen=True)
class Cut:
    """What is kept of a decoded image for a region: uint8 (rows, cols, 3) of the view; the whole, small, as JPEG."""

    view: View
    view_HWC: NDArray[np.uint8]
    thumbnail: bytes
    height: int
    width: int

    def region(self, query: Query) -> NDArray[np.uint8]:
        """uint8 (h, w, 3)."""
        y, x = query.y0 - self.view.y0, query.x0 - self.view.x0
        height, width = query.shape
        return self.view_HWC[y : y + height, x : x + width]


@dataclass(frozen=True)
class Prepared:
    """A region, ready to be sent.

    Attributes
    ----------
    about : where it is, `{"number", "height", "width", "y", "x", "view", "image_height", "image_width"}` in pixels;
        "light", the value that 98 % of its samples do not exceed; "step", see `superpixels`.
    arrays : uint16 segments, see `superpixels`; uint8 (h, w) guess and uncertainty, where there are any.
    pictures : media type and bytes of view (the region with what is around it) and thumbnail (the whole image).
    """

    about: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    pictures: dict[str, tuple[str, bytes]]

    @property
    def num_bytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values()) + sum(
            len(data) for _, data in self.pictures.values()
        )


class Pictures:
    """Prepares regions, from several threads. `with_guess` is off where people are to start from nothing."""

    def __init__(self, round: Round, *, with_guess: bool) -> None:
        self._round, self._with_guess = round, with_guess
        self._cuts: Kept[Cut] = Kept(_CUT_BYTES)
        self._prepared: Kept[Prepared] = Kept(_PREPARED_BYTES)
        self._making = threading.Lock()  # one image is decoded at a time: two of 40 megapixels would not fit

    def prepared(self, query: Query) -> Prepared:
        """Raises DataError: the image cannot be read, or is not the one the run began with."""
        found = self._prepared.get(query.number)
        if found is not None:
            return found
        with self._making:
            found = self._prepared.get(query.number)
            if found is None:
                found = self._prepare(query)
                self._prepared.put(query.number, found, found.num_bytes)
            return found

    def crop(self, query: Query) -> NDArray[np.uint8]:
        """uint8 (h, w, 3): the region alone. Raises DataError."""
        with self._making:
            return self._cut(query).region(query)

    def _cut(self, query: Query) -> Cut:
        found = self._cuts.get(query.number)
        if found is None:
            image_HWC = self._round.image(query)
            thumbnail = small_jpeg(image_HWC, _THUMBNAIL)
            found = self._cut_out(query, image_HWC, thumbnail)
            left = _AHEAD_BYTES
            for other in islice(self._next_of_image(query), _AHEAD):
                cut = self._cut_out(other, image_HWC, thumbnail)
                left -= cut.view_HWC.nbytes
                if left < 0:
                    break
        return found

    def _cut_out(self, query: Query, image_HWC: NDArray[np.uint8], thumbnail: bytes) -> Cut:
        height, width = image_HWC.shape[:2]
        view = view_of(query, height, width)
        cut = Cut(view, image_HWC[view.y0 : view.y1, view.x0 : view.x1].copy(), thumbnail, height, width)
        self._cuts.put(query.number, cut, cut.view_HWC.nbytes)
        return cut

    def _next_of_image(self, query: Query) -> Iterator[Query]:
        """The regions of the same image that are asked later."""
        numbers = self._numbers[query.image]
        return (self._round.queries[number] for number in numbers[bisect_right(numbers, query.number) :])

    @cached_property
    def _numbers(self) -> dict[str, list[int]]:
        numbers: dict[str, list[int]] = defaultdict(list)
        for query in self._round.queries:
            numbers[query.image].append(query.number)
        return numbers

    def _prepare(self, query: Query) -> Prepared:
        cut = self._cut(query)
        region_HWC = cut.region(query)
        segments, step = superpixels(region_HWC)
        arrays: dict[str, NDArray[Any]] = {"segments": segments}
        for name, array in (("guess", self._guess(query)), ("uncertainty", self._round.uncertainty(query))):
            if array is not None:
                arrays[name] = array
        pictures = {"view": encode(cut.view_HWC), "thumbnail": ("image/jpeg", cut.thumbnail)}
        about = {
            "number": query.number,
            "height": query.shape[0],
            "width": query.shape[1],
            "y": query.y0,
            "x": query.x0,
            "view": vars(cut.view),
            "image_height": cut.height,
            "image_width": cut.width,
            "step": step,
            "light": int(np.percentile(region_HWC, 98)),
        }
        return Prepared(about, arrays, pictures)

    def _guess(self, query: Query) -> NDArray[np.uint8] | None:
        return self._round.guess(query) if self._with_guess else None


class Kept(Generic[Value]):
    """The values used last by region, up to so many bytes, and always the newest one. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._values: OrderedDict[int, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, number: int) -> Value | None:
        with self._lock:
            if number not in self._values:
                return None
            self._values.move_to_end(number)
            return self._values[number][0]

    def put(self, number: int, value: Value, num_bytes: int) -> None:
        with self._lock:
            self._bytes += num_bytes - self._values.pop(number, (None, 0))[1]
            self._values[number] = value, num_bytes
            while self._bytes > self._most_bytes and len(self._values) > 1:
                self._bytes -= self._values.popitem(last=False)[1][1]


def view_of(query: Query, height: int, width: int) -> View:
    """The region and its own size on each side, inside the image, and less of it where that is very much."""
    region_height, region_width = query.y1 - query.y0, query.x1 - query.x0
    share = 1.0
    while share > 0.05 and region_height * region_width * (1 + 2 * share) ** 2 > _VIEW_PIXELS:
        share *= 0.8
    rows = max(_LEAST_CONTEXT, round(region_height * share))
    cols = max(_LEAST_CONTEXT, round(region_width * share))
    return View(
        max(0, query.y0 - rows), max(0, query.x0 - cols), min(height, query.y1 + rows), min(width, query.x1 + cols)
    )


def encode(image_HWC: NDArray[np.uint8]) -> tuple[str, bytes]:
    """A picture as PNG, as JPEG of high quality where it is large: its media type and its bytes."""
    stream = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image_HWC))
    if image_HWC.shape[0] * image_HWC.shape[1] <= _LOSSLESS_PIXELS:
        picture.save(stream, "PNG", compress_level=1)
        return "image/png", stream.getvalue()
    picture.save(stream, "JPEG", quality=95, subsampling=0)
    return "image/jpeg", stream.getvalue()


def small_jpeg(image_HWC: NDArray[np.uint8], most: tuple[int, int]) -> bytes:
    """The picture as a JPEG of at most (width, height) `most`."""
    picture = Image.fromarray(image_HWC)
    picture.thumbnail(most, reducing_gap=2.0)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=88)
    return stream.getvalue()


def painted(region_HWC: NDArray[np.uint8], labels_HW: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """PNG of an answer over its picture, small regions enlarged; undecided pixels show the picture alone."""
    colours_HWC = np.zeros((256, 3), np.uint8)
    colours_HWC[: len(palette)] = palette
    mixed_HWC = (region_HWC.astype(np.uint16) * 2 + colours_HWC[labels_HW].astype(np.uint16) * 3) // 5
    shown_HWC = np.where((labels_HW == 255)[..., None], region_HWC, mixed_HWC.astype(np.uint8))
    picture = Image.fromarray(np.ascontiguousarray(shown_HWC))
    if max(picture.size) > 512:
        picture.thumbnail((512, 512))
    else:
        times = max(1, 128 // max(picture.size))
        picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=3)
    return stream.getvalue()
