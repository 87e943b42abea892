"""The ask stage from the second cycle on: what was selected, in the order in which people get it, with guesses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.data import Row, load_pool
from s4al.data.cache import ImageCache
from s4al.errors import NumericsError
from s4al.run.asking import AskedRegion, Guess, commit_questions
from s4al.run.state import Run
from s4al.scorer.acquisition.stage import SELECTIONS
from s4al.scorer.acquisition.table import BOX
from s4al.scorer.cycle import open_run_engine
from s4al.scorer.engines.engine import EngineRequest, run_or_refuse
from s4al.scorer.full_size import region_pixels
from s4al.scorer.read_ahead import spans
from s4al.watch import Watch


def ask_selected(run: Run, cycle: int, request: EngineRequest, *, watch: Watch) -> None:
    """Commit `ask/` of a cycle: the regions that the cycle before selected; nothing to do where it is committed.

    Parameters
    ----------
    request : the engine that guesses; its networks are those of the cycle before.

    Raises
    ------
    RunStateError : the cycle before has selected nothing yet.
    EngineError, NumericsError, StorageError; Interrupted between images, nothing kept.
    """
    if not run.is_committed(cycle, "ask"):
        asked = selected_regions(run, cycle - 1)
        commit_questions(run, cycle, asked, _guesses(run, cycle - 1, asked, request, watch))


def selected_regions(run: Run, cycle: int) -> list[AskedRegion]:
    """What a cycle selected, best first: by rank, and where each image has its own by score."""
    table = files.read_table(run.read_stage(cycle, "select") / SELECTIONS)
    names = ("image", "region", *BOX, "score", "rank", "reason")
    regions = [AskedRegion(**{name: row[name] for name in names}, purpose="train") for row in table.to_pylist()]
    return sorted(regions, key=lambda region: (region.rank, -region.score, region.image, region.region))


def _guesses(
    run: Run, cycle: int, asked: list[AskedRegion], request: EngineRequest, watch: Watch
) -> Iterator[tuple[int, Guess]]:
    """Of each region, from an engine run on the images that are asked about and on no others."""
    by_image: dict[str, list[int]] = {}
    for number, region in enumerate(asked):
        by_image.setdefault(region.image, []).append(number)
    if not by_image:
        return
    rows = {row.id: (place, row) for place, row in enumerate(load_pool(run.pool_file).train.rows)}
    engine = open_run_engine(run, cycle, request, watch=watch)
    images, done = sorted(by_image, key=lambda image: rows[image][0]), 0
    with ImageCache.open(run.cache / "train") as cache:
        for span in spans(0, len(images), engine.batch_size):
            batch = images[span.first : span.first + span.count]
            image_NHWC = np.zeros((engine.batch_size, *cache.row_shape), np.uint8)
            cache.read_rows([rows[image][0] for image in batch], image_NHWC[: span.count])
            for image, logits_Chw in zip(batch, run_or_refuse(engine, image_NHWC), strict=False):
                watch.stop_here()
                for number in by_image[image]:
                    yield number, _guess(logits_Chw, rows[image][1], asked[number], engine.card.align_corners)
            done += span.count
            watch.progress(f"cycle {cycle + 1} guesses", done, len(images))


def _guess(logits_Chw: NDArray[np.floating[Any]], row: Row, region: AskedRegion, align_corners: bool) -> Guess:
    box = (region.y0, region.x0, region.y1, region.x1)
    found = region_pixels(logits_Chw, row.height, row.width, box, align_corners=align_corners)
    if found is None:
        raise NumericsError(
            f"The network's output is not finite for {row.id}.",
            kept="The regions that were selected are kept.",
            remedy="The weights of this cycle are broken: look at its training, lower trainer.lr in a new run.",
        )
    return Guess(*found)
