"""Masks for a folder of images, by an exported model: what a person does first with a trained network.

    OUT/masks/<image>.png       class ids at the size of the image as it is shown (after EXIF), in the run's colours
    OUT/overlays/<image>.jpg    the image under these colours, at most `overlay.LONGEST` pixels, with a legend
    OUT/classes.csv             a row an image: its mask, its size, the share of every class; the last row is all images
    OUT/classes.json            ids, names and colours; legend.png shows them
    OUT/quarantine.csv          images that could not be used, and why
    OUT/manifest.json

`<image>` is the path below the folder without its extension, unless two images or an image and a folder would share it:
then it keeps the extension. `classes.csv` says which mask is whose.
"""

from __future__ import annotations

import csv
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al import files
from s4al.data.images import ValueRange
from s4al.data.masks import write_mask
from s4al.errors import ConfigError, NumericsError, RunStateError
from s4al.scorer.batch import SLOTS
from s4al.scorer.engines.device_engine import DeviceEngine
from s4al.scorer.engines.engine import Engine, available_cores, run_or_refuse
from s4al.scorer.folder import FolderDecoder, about_engine, list_images
from s4al.scorer.full_size import label_pixels
from s4al.scorer.overlay import LONGEST, draw_legend, draw_overlay
from s4al.scorer.read_ahead import Read, ReadAhead, Span, spans
from s4al.watch import Watch

_LARGEST_BATCH = 32  # a picture to look at waits beside every image of the batches in memory
_MOST_WRITERS = 8
_ALL = "all images"  # the last row of classes.csv


@dataclass(frozen=True)
class PredictResult:
    """What `s4al predict --json` prints.

    Attributes
    ----------
    classes : name -> share of the pixels of all images, 0 where no image could be used.
    """

    images: int
    quarantined: int
    seconds: float
    images_per_s: float
    engine: str
    provider: str
    classes: dict[str, float]
    out: Path


def predict_folder(
    images: Path,
    engine: Engine,
    out: Path,
    *,
    palette: NDArray[np.uint8],
    max_megapixels: float,
    value_range: ValueRange = (),
    overlays: bool = True,
    watch: Watch,
) -> PredictResult:
    """Write a mask for every image below `images`; those that cannot be read are set aside with the reason.

    The same listing, decoding and limits as `score_folder`. `out` appears whole or not at all.

    Parameters
    ----------
    palette : uint8 (C, 3) RGB, the run's.

    Raises
    ------
    ConfigError : `out` lies in `images`.
    DataError : no folder, or no images in it.
    RunStateError : `out` exists.
    EngineError, NumericsError, StorageError; Interrupted between images, nothing kept.
    """
    check_place(images, out)
    started = time.monotonic()
    names = list_images(images, watch)
    card, style = engine.card, _Style(engine.card.class_names, palette)
    if isinstance(engine, DeviceEngine):
        engine.batch_size = min(engine.batch_size, _LARGEST_BATCH)
    with files.storage_errors(f"writing {out}", kept=""), files.commit_folder(out, about_engine(engine)) as folder:
        decoder = FolderDecoder(
            images, names, (card.height, card.width), max_megapixels, value_range, preview=LONGEST if overlays else 0
        )
        with decoder, _Writer(folder, style) as writer:
            _predict(names, decoder, engine, writer, watch)
            rows = writer.finish()
        _write_classes(folder, rows, style)
        aside = decoder.set_aside()
        _write_csv(folder / "quarantine.csv", [("image", "reason"), *aside])
    seconds = time.monotonic() - started
    shares = dict(zip(style.class_names, _shares(_total(rows, style)).tolist(), strict=True))
    return PredictResult(len(rows), len(aside), seconds, len(rows) / seconds, engine.name, engine.provider, shares, out)


def check_place(images: Path, out: Path) -> None:
    """Whether masks of `images` can go to `out`, which `predict_folder` asks too. Raises ConfigError, RunStateError."""
    if out.exists():
        raise RunStateError(f"{out} exists.", kept="It was not changed.", remedy="Name a new folder with --out.")
    if out.resolve().is_relative_to(images.resolve()):
        raise ConfigError(
            f"{out} lies in {images}, where the next command would take its masks and overlays for images.",
            remedy="Name a folder elsewhere with --out.",
        )


def output_stems(names: Sequence[str]) -> list[str]:
    """Where each image's mask and overlay go, without their own extension.

    The image's path without its extension; with it where that would be another image's too, in any case of letters
    because there are file systems that make no difference; and longer by underscores where even that is taken.
    """
    plain = [PurePosixPath(name).with_suffix("").as_posix() for name in names]
    owners = Counter(stem.casefold() for stem in plain)
    taken = {parent.as_posix().casefold() for name in names for parent in PurePosixPath(name).parents}
    stems = []
    for name, short in zip(names, plain, strict=True):
        stem = short if owners[short.casefold()] == 1 and not _file_names(short) & taken else name
        while _file_names(stem) & taken:
            stem += "_"
        taken |= _file_names(stem)
        stems.append(stem)
    return stems


def _file_names(stem: str) -> set[str]:
    return {f"{stem}{suffix}".casefold() for suffix in (".png", ".jpg")}


def _predict(names: Sequence[str], decoder: FolderDecoder, engine: Engine, writer: _Writer, watch: Watch) -> None:
    stems, align_corners = output_stems(names), engine.card.align_corners
    batches = _network_outputs(decoder.read, spans(0, len(names), engine.batch_size), engine)
    started = time.monotonic()
    with closing(batches):
        for span, logits_NChw in batches:
            for slot, logits_Chw in enumerate(logits_NChw):
                watch.stop_here()
                index = span.first + slot
                if index not in decoder.refused:
                    size = decoder.sizes.pop(index)
                    label_HW = label_pixels(logits_Chw, *size, align_corners=align_corners, threads=engine.threads)
                    if label_HW is None:
                        raise _not_finite(names[index])
                    writer.add(_Prediction(names[index], stems[index], label_HW, decoder.previews.pop(index, None)))
                done = index + 1
                watch.progress("predict", done, len(names), images_per_s=done / (time.monotonic() - started))


def _network_outputs(
    read: Read, batches: Iterable[Span], engine: Engine
) -> Generator[tuple[Span, NDArray[np.floating[Any]]]]:
    """Logits (N, C, h, w) of each span, read ahead in one other thread. The arrays are not reused."""
    shape = (engine.batch_size, engine.card.height, engine.card.width, 3)
    images = [np.zeros(shape, np.uint8) for _ in range(SLOTS)]
    with ReadAhead(read, batches, images) as ahead:
        while (item := ahead.next()) is not None:
            span, slot = item
            logits_NChw = run_or_refuse(engine, images[slot])[: span.count]
            ahead.release(slot)
            yield span, logits_NChw


def _not_finite(name: str) -> NumericsError:
    return NumericsError(
        f"The network's output is not finite for {name}.",
        kept="Nothing was written.",
        remedy="The weights of this cycle are broken: look at its training, or name another --cycle.",
    )


# ------------------------------------------------------------------------------------------------------ what is written


@dataclass(frozen=True)
class _Style:
    class_names: tuple[str, ...]
    palette: NDArray[np.uint8]


@dataclass(frozen=True)
class _Prediction:
    name: str
    stem: str
    label_HW: NDArray[np.uint8]
    preview_HWC: NDArray[np.uint8] | None


@dataclass(frozen=True)
class _Row:
    """A line of classes.csv; `count_C` are pixels."""

    name: str
    mask: str
    height: int
    width: int
    count_C: NDArray[np.int64]


class _Writer:
    """Encodes masks and overlays in threads of its own, while the network goes on; Pillow lets go of the GIL.

    As many images as there are threads are under way at most, because each may be large.
    """

    def __init__(self, folder: Path, style: _Style) -> None:
        self._folder, self._style = folder, style
        self._threads = min(available_cores(), _MOST_WRITERS)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="s4al-write")
        self._pending: deque[Future[_Row]] = deque()
        self._rows: list[_Row] = []

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, prediction: _Prediction) -> None:
        """Raises OSError where an earlier image could not be written."""
        if len(self._pending) == self._threads:
            self._rows.append(self._pending.popleft().result())
        self._pending.append(self._pool.submit(self._write, prediction))

    def finish(self) -> list[_Row]:
        """Everything that was added, in this order, when it is written."""
        self._rows += [future.result() for future in self._pending]
        self._pending.clear()
        return self._rows

    def _write(self, prediction: _Prediction) -> _Row:
        label_HW, style = prediction.label_HW, self._style
        height, width = label_HW.shape
        mask = f"masks/{prediction.stem}.png"
        write_mask(_with_parents(self._folder / mask), label_HW, style.palette)
        count_C = np.array(Image.fromarray(label_HW).histogram()[: len(style.class_names)], np.int64)
        if prediction.preview_HWC is not None:
            overlay = draw_overlay(prediction.preview_HWC, label_HW, style.class_names, style.palette, _shares(count_C))
            path = _with_parents(self._folder / f"overlays/{prediction.stem}.jpg")
            overlay.save(path, "JPEG", quality=90, subsampling=0)
        return _Row(prediction.name, mask, height, width, count_C)


def _with_parents(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_classes(folder: Path, rows: Sequence[_Row], style: _Style) -> None:
    names, palette = style.class_names, style.palette
    head = ("image", "mask", "height", "width", *names)
    lines = [(row.name, row.mask, row.height, row.width, *_rounded(row.count_C)) for row in rows]
    _write_csv(folder / "classes.csv", [head, *lines, (_ALL, "", "", "", *_rounded(_total(rows, style)))])
    colours = palette.tolist()
    about = [{"id": index, "name": name, "colour": colours[index]} for index, name in enumerate(names)]
    files.write_json(folder / "classes.json", {"classes": about})
    draw_legend(names, palette).save(folder / "legend.png", "PNG")


def _write_csv(path: Path, lines: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(lines)


def _total(rows: Sequence[_Row], style: _Style) -> NDArray[np.int64]:
    return sum((row.count_C for row in rows), np.zeros(len(style.class_names), np.int64))


def _shares(count_C: NDArray[np.int64]) -> NDArray[np.float64]:
    return count_C / max(int(count_C.sum()), 1)


def _rounded(count_C: NDArray[np.int64]) -> list[str]:
    return [f"{share:.6f}" for share in _shares(count_C)]
