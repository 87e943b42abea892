"""The pictures of a page: small, drawn over what the run keeps, and written into the page itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from s4al import files
from s4al.data.masks import IGNORE, read_own_mask
from s4al.report import model
from s4al.report.sources import Gaps, Rows

if TYPE_CHECKING:
    from s4al.run.state import Run

_LONGEST = 320  # pixels of a picture's longer side
_STRENGTH = 0.6  # of the colours over the picture
_LIGHT, _DARK = (255, 230, 60), (0, 0, 0)  # of an outline: seen on any ground, by any eye
_WRONG = (213, 0, 120)
BUDGET_BYTES = 5 * 2**20  # of all pictures of a page, as text; the page itself may have 8 MiB

Pixels = NDArray[np.uint8]


@dataclass
class Pane:
    """One picture: its caption, what it shows in words, and its bytes as a `data:` address."""

    caption: str
    alt: str
    address: str
    width: int
    height: int


class PictureBook:
    """The pictures of a run, drawn as long as there is room; `left_out` counts the others.

    Attributes
    ----------
    asked, hardest, examples, confusions : of the run's lists of these names, panes by position.
    """

    def __init__(self, run: Run, figures: model.Run, gaps: Gaps) -> None:
        self._run, self._figures = run, figures
        self._palette = np.array(figures.palette, np.uint8).reshape(-1, 3)
        self._left = BUDGET_BYTES
        self.left_out = 0
        self.asked: dict[int, list[Pane]] = {}
        self.hardest: dict[int, list[Pane]] = {}
        self.examples: dict[int, list[Pane]] = {}
        self.confusions: dict[int, list[Pane]] = {}
        with gaps.part("The pictures of the test"):
            self._draw_test()
        with gaps.part("The pictures of what was asked"):
            self._draw_cards(figures.asked, self.asked)
        with gaps.part("The pictures of the hardest regions"):
            self._draw_cards(figures.hardest, self.hardest)

    def _keep(self, kept: dict[int, list[Pane]], position: int, panes: list[Pane]) -> None:
        size = sum(len(pane.address) for pane in panes)
        if size > self._left:
            self.left_out += 1
            return
        self._left -= size
        kept[position] = panes

    def drop_all(self) -> None:
        """For a page that has no room for any."""
        for kept in (self.asked, self.hardest, self.examples, self.confusions):
            self.left_out += len(kept)
            kept.clear()

    # ---------------------------------------------------------------------------------------------- the test

    def _draw_test(self) -> None:
        if not self._figures.examples:
            return
        train = self._run.stage(self._figures.tested[-1].cycle, "train")
        folder = self._run.cache / "test"
        with Rows(folder / "images.npy") as images, Rows(folder / "masks.npy") as masks:

            def read(example: dict) -> tuple[Pixels, Pixels, Pixels]:
                predicted_HW = read_own_mask(files.contained(train, example["file"]))
                return images.read(example["row"]), masks.read(example["row"]), predicted_HW

            for position, example in enumerate(self._figures.examples):
                if example["why"] != "confusion":
                    self._keep(self.examples, position, self._test_panes(*read(example)))
            for position, confusion in enumerate(self._figures.confusions):
                if confusion.example is not None:
                    panes = self._confusion_panes(confusion, *read(confusion.example))
                    self._keep(self.confusions, position, panes)

    def _test_panes(self, picture_HWC: Pixels, truth_HW: Pixels, predicted_HW: Pixels) -> list[Pane]:
        wrong = (truth_HW != predicted_HW) & (truth_HW != IGNORE)
        share = wrong.sum() / max(1, (truth_HW != IGNORE).sum())
        return [
            _pane("Picture", "The picture itself.", picture_HWC),
            _pane("Truth", f"Truth: {self._in_words(truth_HW)}.", self._coloured(picture_HWC, truth_HW)),
            _pane(
                "Prediction", f"Predicted: {self._in_words(predicted_HW)}.", self._coloured(picture_HWC, predicted_HW)
            ),
            _pane("Wrong", f"Wrong pixels marked, {share:.0%} of all.", _marked(picture_HWC, wrong)),
        ]

    def _confusion_panes(
        self, confusion: model.Confusion, picture_HWC: Pixels, truth_HW: Pixels, predicted_HW: Pixels
    ) -> list[Pane]:
        assert confusion.example is not None
        wrong = (truth_HW == confusion.example["truth"]) & (predicted_HW == confusion.example["predicted"])
        crop = densest_window(wrong, max(32, wrong.shape[0] // 3), max(32, wrong.shape[1] // 3))
        what = f"{confusion.truth} taken for {confusion.predicted}"
        return [
            _pane("Picture", f"Part of a test picture with {what}.", picture_HWC[crop], 192),
            _pane("Marked", f"The same part, the pixels of {what} marked.", _marked(picture_HWC, wrong)[crop], 192),
        ]

    # --------------------------------------------------------------------------------------------- the pool

    def _draw_cards(self, cards: list[model.Asked], kept: dict[int, list[Pane]]) -> None:
        drawn = [position for position, card in enumerate(cards) if card.row >= 0]
        if not drawn:
            return
        with Rows(self._run.cache / "train" / "images.npy") as images:
            for position in drawn:
                card = cards[position]
                self._keep(kept, position, self._card_panes(card, images.read(card.row)))

    def _card_panes(self, card: model.Asked, picture_HWC: Pixels) -> list[Pane]:
        boxes = _scaled_boxes(card, picture_HWC.shape)
        where = f"{len(boxes)} regions outlined" if len(boxes) > 1 else "one region outlined"
        panes = [_pane("Picture", f"The picture, {where}.", picture_HWC, boxes=boxes)]
        if card.scored_as >= 0:
            with Rows(self._run.stage(card.cycle, "pseudo") / "masks.npy") as labels:
                label_HW = labels.read(card.scored_as)
            alt = f"Predicted with confidence: {self._in_words(label_HW)}; grey elsewhere."
            panes.append(_pane("Prediction", alt, self._coloured(picture_HWC, label_HW), boxes=boxes))
        if card.scores:
            alt = f"Uncertainty by region, highest {max(card.scores):.2f}."
            panes.append(_pane("Uncertainty", alt, self._heat(card, picture_HWC), boxes=boxes))
        if card.answered:
            answer_HW = _nearest(self._run.shown_mask(card.cycle + 1, card.image), picture_HWC.shape)
            alt = f"What people said: {self._in_words(answer_HW)}."
            panes.append(_pane("Answer", alt, self._coloured(picture_HWC, answer_HW), boxes=boxes))
        return panes

    def _heat(self, card: model.Asked, picture_HWC: Pixels) -> Pixels:
        """Regions from blue, sure, to yellow, unsure, on the scale of the image itself."""
        score_R = np.array(card.scores)
        level_R = (score_R - score_R.min()) / max(1e-9, float(np.ptp(score_R)))
        heat_HWC = np.zeros_like(picture_HWC)
        grid = self._run.grid
        for (y0, x0, y1, x1), level in zip(
            grid.original_boxes(*picture_HWC.shape[:2]).tolist(), level_R.tolist(), strict=True
        ):
            heat_HWC[y0:y1, x0:x1] = heat_colour(level)
        return _blend(_grey(picture_HWC), heat_HWC, 0.75)

    def _coloured(self, picture_HWC: Pixels, label_HW: Pixels) -> Pixels:
        """The picture under the colours of its classes, in grey and darker where there is none."""
        known_HW = label_HW < len(self._palette)
        colour_HWC = np.zeros_like(picture_HWC)
        colour_HWC[known_HW] = self._palette[label_HW[known_HW]]
        return np.where(known_HW[..., None], _blend(picture_HWC, colour_HWC, _STRENGTH), _grey(picture_HWC) // 2)

    def _in_words(self, label_HW: Pixels) -> str:
        """The three classes with most pixels."""
        counts_C = np.bincount(label_HW.ravel(), minlength=256)[: len(self._palette)]
        order = [index for index in np.argsort(-counts_C, kind="stable")[:3].tolist() if counts_C[index]]
        shares = (f"{self._figures.class_names[index]} {counts_C[index] / label_HW.size:.0%}" for index in order)
        return ", ".join(shares) or "nothing"


def densest_window(wrong_HW: NDArray[np.bool_], height: int, width: int) -> tuple[slice, slice]:
    """The window of that size, or the whole where it is smaller, that holds most of the marked pixels."""
    height, width = min(height, wrong_HW.shape[0]), min(width, wrong_HW.shape[1])
    sums = np.pad(wrong_HW.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = divmod(int(inside.argmax()), inside.shape[1])
    return slice(top, top + height), slice(left, left + width)


def heat_colour(level: float) -> tuple[int, int, int]:
    """From dark blue, 0, by grey to yellow, 1: the ends of cividis, told apart by every eye and in print."""
    stops = ((0, 34, 78), (124, 123, 120), (254, 232, 56))
    index, part = (0, 2 * level) if level < 0.5 else (1, 2 * level - 1)
    low, high = stops[index], stops[index + 1]
    red, green, blue = (round(a + (b - a) * min(1.0, max(0.0, part))) for a, b in zip(low, high, strict=True))
    return red, green, blue


def _pane(
    caption: str, alt: str, picture_HWC: Pixels, longest: int = _LONGEST, boxes: list[tuple[int, ...]] | None = None
) -> Pane:
    height, width = picture_HWC.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:  # pixels of small pictures stay square
        scale = max(1, int(scale))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    image = Image.fromarray(np.ascontiguousarray(picture_HWC)).resize(size, how)
    draw = ImageDraw.Draw(image)
    for y0, x0, y1, x1 in boxes or ():
        edge = (x0 * scale, y0 * scale, max(x0 * scale, x1 * scale - 1), max(y0 * scale, y1 * scale - 1))
        draw.rectangle([edge[0] - 1, edge[1] - 1, edge[2] + 1, edge[3] + 1], outline=_DARK)
        draw.rectangle(edge, outline=_LIGHT)
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=72)
    address = f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Pane(caption, alt, address, *size)


def _scaled_boxes(card: model.Asked, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The boxes in pixels of a picture of another size."""
    vertical, horizontal = shape[0] / max(1, card.height), shape[1] / max(1, card.width)
    return [
        (
            round(box.y0 * vertical),
            round(box.x0 * horizontal),
            round(box.y1 * vertical),
            round(box.x1 * horizontal),
        )
        for box in card.boxes
    ]


def _nearest(mask_HW: Pixels, shape: tuple[int, ...]) -> Pixels:
    return np.asarray(Image.fromarray(mask_HW).resize((shape[1], shape[0]), Image.Resampling.NEAREST))


def _marked(picture_HWC: Pixels, wrong_HW: NDArray[np.bool_]) -> Pixels:
    """The picture in grey, the marked pixels in one strong colour."""
    mark_HWC = np.full_like(picture_HWC, _WRONG)
    grey_HWC = _grey(picture_HWC)
    return np.where(wrong_HW[..., None], _blend(grey_HWC, mark_HWC, 0.8), grey_HWC)


def _grey(picture_HWC: Pixels) -> Pixels:
    return np.repeat(picture_HWC.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)


def _blend(below_HWC: Pixels, above_HWC: Pixels, strength: float) -> Pixels:
    return (below_HWC * (1 - strength) + above_HWC * strength).astype(np.uint8)
