"""Scoring any folder of images with an exported model: no masks, no pool, no run needed.

    OUT/{scores.parquet, quarantine.parquet, manifest.json}

The column `image` holds paths relative to the folder, with their extension.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.data.images import IMAGE_SUFFIXES, ValueRange, load_image, resize_image
from s4al.errors import DataError, ImageError, RunStateError
from s4al.scorer.acquisition.table import ScoreRows, quarantine_table
from s4al.scorer.cycle import ScoreResult
from s4al.scorer.decode_workers import Decoded, DecodePool
from s4al.scorer.engines.engine import Engine
from s4al.scorer.pipeline import score_batches
from s4al.scorer.read_ahead import spans
from s4al.watch import Watch

_SUFFIXES_READ = f"{', '.join(IMAGE_SUFFIXES[:-1])} or {IMAGE_SUFFIXES[-1]}"
_ROW_GROUP_IMAGES = 256  # bounds what waits to be written


def score_folder(
    images: Path, engine: Engine, out: Path, *, max_megapixels: float, value_range: ValueRange = (), watch: Watch
) -> ScoreResult:
    """Score every image file below `images`; those that cannot be read are set aside with the reason.

    Worker processes decode ahead of the network. `out` appears whole or not at all.

    Raises
    ------
    DataError : no folder, or no images in it.
    RunStateError : `out` exists.
    NumericsError, StorageError; Interrupted between batches, nothing kept.
    """
    if out.exists():
        raise RunStateError(f"{out} exists.", kept="It was not changed.", remedy="Name a new folder with --out.")
    started = time.monotonic()
    names = list_images(images, watch)
    with files.storage_errors(f"writing {out}", kept=""), files.commit_folder(out, about_engine(engine)) as folder:
        decoder = FolderDecoder(images, names, (engine.card.height, engine.card.width), max_megapixels, value_range)
        with decoder:
            _write_scores(folder / "scores.parquet", names, decoder, engine, watch)
        aside = decoder.set_aside()
        files.write_table(
            folder / "quarantine.parquet", quarantine_table([(name, name, reason) for name, reason in aside])
        )
    seconds = time.monotonic() - started
    scored = len(names) - len(aside)
    return ScoreResult(scored, len(aside), seconds, scored / seconds, engine.name, engine.provider, out)


def about_engine(engine: Engine) -> dict[str, Any]:
    """What the manifest of a folder says about whoever computed it."""
    about: dict[str, Any] = {
        "engine": engine.name,
        "provider": engine.provider,
        "batch_size": engine.batch_size,
        "weights_sha256": engine.card.weights_sha256,
        "run": engine.card.run,
        "cycle": engine.card.cycle,
    }
    if engine.passed_over:
        about["passed_over"] = list(engine.passed_over)
    return about


def list_images(root: Path, watch: Watch) -> list[str]:
    """Names relative to `root`, sorted; hidden files and folders are passed over. Raises DataError where none are."""
    names: list[str] = []
    others = 0
    for parent, folders, found in os.walk(root, onerror=_cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = [name for name in found if not name.startswith(".")]
        chosen = [name for name in visible if name.lower().endswith(IMAGE_SUFFIXES)]
        others += len(visible) - len(chosen)
        names += [Path(parent, name).relative_to(root).as_posix() for name in chosen]
    if not names:
        raise DataError(f"{root} holds no {_SUFFIXES_READ} files.", remedy="Check --images.")
    if others:
        watch.note(f"{others:,} files that are no {_SUFFIXES_READ} were passed over.")
    return sorted(names)


def _cannot_list(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be listed ({error.strerror}).", remedy="Check --images.") from error


def _write_scores(path: Path, names: Sequence[str], decoder: FolderDecoder, engine: Engine, watch: Watch) -> None:
    import pyarrow.parquet as pq

    rows = ScoreRows(engine.card.grid)
    schema = rows.table().schema
    batches = score_batches(decoder.read, spans(0, len(names), engine.batch_size), engine, ids=names)
    started = time.monotonic()
    with closing(batches), pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in batches:
            watch.stop_here()
            for slot in range(batch.span.count):
                index = batch.span.first + slot
                if index not in decoder.refused:
                    rows.add(names[index], decoder.sizes.pop(index), batch, slot)
            done = batch.span.first + batch.span.count
            if len(rows) >= _ROW_GROUP_IMAGES or done == len(names):
                writer.write_table(rows.table())
                rows = ScoreRows(engine.card.grid)
            watch.progress("score", done, len(names), images_per_s=done / (time.monotonic() - started))


class FolderDecoder:
    """Reads batches of images for a pipeline.

    Parameters
    ----------
    size : height and width of the network's input.
    preview : longest side, in pixels, of a copy of every picture for people to look at; 0 for none.

    Attributes
    ----------
    refused : index -> why the image cannot be used; its place in the batch is black.
    sizes : index -> (height, width) of the original, to be taken out by whoever uses it.
    previews : index -> uint8 (H, W, 3), likewise; empty without `preview`.
    """

    def __init__(
        self,
        root: Path,
        names: list[str],
        size: tuple[int, int],
        max_megapixels: float,
        value_range: ValueRange = (),
        preview: int = 0,
    ) -> None:
        limits = {"max_megapixels": max_megapixels, "value_range": value_range}
        decode = partial(_decode, root=root, size=size, preview=preview, limits=limits)
        self._names = names
        self._pool = DecodePool(decode, names)
        self.refused: dict[int, str] = {}
        self.sizes: dict[int, tuple[int, int]] = {}
        self.previews: dict[int, NDArray[np.uint8]] = {}

    def __enter__(self) -> FolderDecoder:
        self._pool.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.__exit__(*error)

    def read(self, first: int, out_NHWC: NDArray[np.uint8]) -> None:
        for slot, index in enumerate(range(first, first + len(out_NHWC))):
            decoded = self._pool.fetch(index)
            if decoded.pixels_HWC is None:
                self.refused[index] = decoded.reason
                out_NHWC[slot] = 0
                continue
            self.sizes[index] = decoded.size
            out_NHWC[slot] = decoded.pixels_HWC
            if decoded.preview_HWC is not None:
                self.previews[index] = decoded.preview_HWC

    def set_aside(self) -> list[tuple[str, str]]:
        """(name, reason) of the images that could not be used, in the order of the names."""
        return [(_printable(self._names[index]), reason) for index, reason in sorted(self.refused.items())]


def _decode(name: str, *, root: Path, size: tuple[int, int], preview: int, limits: dict[str, Any]) -> Decoded:
    try:
        if name != _printable(name):
            raise ImageError(f"{_printable(name)}: its name is not UTF-8")
        pixels = load_image(_contained(root, name), name, **limits).pixels
    except ImageError as error:
        return Decoded(None, reason=error.what)
    height, width = pixels.shape[:2]
    return Decoded(resize_image(pixels, *size), (height, width), preview_HWC=_fitted(pixels, preview))


def _fitted(pixels_HWC: NDArray[np.uint8], longest: int) -> NDArray[np.uint8] | None:
    """The picture, shrunk where its longer side has more than `longest` pixels; None for `longest` of 0."""
    if not longest:
        return None
    scale = min(1.0, longest / max(pixels_HWC.shape))
    height, width = (max(1, round(side * scale)) for side in pixels_HWC.shape[:2])
    return resize_image(pixels_HWC, height, width)


def _contained(root: Path, name: str) -> Path:
    try:
        return files.contained(root, name)
    except (DataError, RuntimeError) as error:  # RuntimeError is pathlib's word for links that go round in circles
        raise ImageError(f"{name}: a link that leaves the folder or leads nowhere") from error


def _printable(name: str) -> str:
    """The name where it is UTF-8; bytes that are not come out as \\xNN."""
    return os.fsencode(name).decode(errors="backslashreplace")
