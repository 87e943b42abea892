"""What `s4al profile` prints: where the time of scoring goes, beside the bare network and the published loop.

All are timed in turns on the same images in one process, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.cache import ImageCache
from s4al.config import Config, EngineName
from s4al.errors import EngineError
from s4al.scorer.cycle import open_run_engine
from s4al.scorer.engines import Engine, LoadNetwork
from s4al.scorer.pipeline import score_batches, spans
from s4al.scorer.published import BATCH_SIZE, published_batch
from s4al.scorer.selection import find_candidates, select
from s4al.scorer.stopwatch import Stopwatch
from s4al.scorer.table import ScoreRows
from s4al.state import Run
from s4al.watch import Watch

_DEFAULT_IMAGES = 128
_ROUND_IMAGES = 32  # of a turn
_ALL: tuple[EngineName, ...] = ("ort", "torch")
_STAGES = ("read", "network", "kernel", "write", "select")


def profile_run(
    run: Run,
    cycle: int,
    *,
    engines: Sequence[EngineName] = (),
    images: int | None = None,
    load_network: LoadNetwork,
    watch: Watch,
) -> dict[str, Any]:
    """Time scoring of the training images of a run, nothing of which is kept.

    Parameters
    ----------
    engines : none for all that work here.
    images : how many of the training images; None for up to 128.
    load_network : as for `open_engine`; the published loop runs it.

    Returns
    -------
    `{"images", "height", "width", "batch_size", "threads", "engines": [{"engine", "provider", "images_per_s",
    "bare_images_per_s", "share_of_bare", "stages": [{"name", "ms_per_image", "share"}]}], "baseline": {"name",
    "images_per_s", "ms_per_image"}}`. `read` is the time spent waiting for images, which are read ahead;
    `bare_images_per_s` is the network alone on images already in memory.

    Raises
    ------
    EngineError, RunStateError.
    """
    opened = _open_engines(run, cycle, engines, load_network, watch)
    with ImageCache.open(run.cache / "train") as cache:
        count = min(images or _DEFAULT_IMAGES, len(cache))
        subjects = [_Subject(engine, run.config) for engine in opened]
        network = load_network()
        published_s = 0.0
        top_k = run.config.acquisition.regions_per_image
        card = opened[0].card
        rounds = spans(0, count, _ROUND_IMAGES)
        for number, span in enumerate((spans(0, min(count, BATCH_SIZE), BATCH_SIZE)[0], *rounds)):
            warm_up = number == 0
            image_NHWC = np.empty((span.count, *cache.row_shape), np.uint8)
            cache.read_into(span.first, image_NHWC)
            for subject in subjects:
                subject.score(cache, span.first, span.count, warm_up)
                subject.run_bare(image_NHWC, warm_up)
            elapsed_s = _seconds(
                lambda images=image_NHWC: [
                    published_batch(network, images[batch.first : batch.first + batch.count], card, top_k)
                    for batch in spans(0, len(images), BATCH_SIZE)
                ]
            )
            published_s += 0.0 if warm_up else elapsed_s
            if not warm_up:
                watch.progress("profile", span.first + span.count, count)
            watch.stop_here()
    return {
        "images": count,
        "height": card.height,
        "width": card.width,
        "batch_size": run.config.scorer.batch_size,
        "threads": opened[0].threads,
        "engines": [subject.report(count) for subject in subjects],
        "baseline": {
            "name": "published acquisition loop (torch eager, batch 4)",
            "images_per_s": count / published_s,
            "ms_per_image": 1000 * published_s / count,
        },
    }


def _open_engines(
    run: Run, cycle: int, names: Sequence[EngineName], load_network: LoadNetwork, watch: Watch
) -> list[Engine]:
    opened: list[Engine] = []
    for name in names or _ALL:
        try:
            opened.append(open_run_engine(run, cycle, engine=name, load_network=load_network, watch=watch))
        except EngineError as error:
            if names:
                raise
            watch.note(f"Left out: {error.what}")
    if not opened:
        raise EngineError("No engine works on this machine.", remedy="See s4al doctor.")
    return opened


@dataclass
class _Subject:
    """An engine and its times."""

    engine: Engine
    config: Config
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    scoring_s: float = 0.0
    bare_s: float = 0.0

    def score(self, cache: ImageCache, first: int, count: int, warm_up: bool) -> None:
        """From the decoded cache to selections, as `score_cycle` and `select_cycle` do it, into files that vanish."""
        stopwatch = Stopwatch() if warm_up else self.stopwatch
        elapsed_s = _seconds(lambda: self._score(cache, first, count, stopwatch))
        self.scoring_s += 0.0 if warm_up else elapsed_s

    def _score(self, cache: ImageCache, first: int, count: int, watch: Stopwatch) -> None:
        engine, settings = self.engine, self.config.acquisition
        rows = ScoreRows(engine.card.grid)
        batches = score_batches(
            cache.read_into,
            spans(first, first + count, engine.batch_size),
            engine,
            ids=cache.ids,
            labelled_pixels=settings.labelled_pixels,
            confidence_threshold=self.config.pseudo.threshold,
            stopwatch=watch,
        )
        with closing(batches), tempfile.TemporaryFile() as masks:
            for batch in batches:
                with watch.stage("write"):
                    masks.write(batch.scores.label_NHW.data)
                    for slot in range(batch.span.count):
                        image = cache.ids[batch.span.first + slot]
                        size = cache.height, cache.width
                        rows.add(image, size, batch.scores, slot, batch.predicted_NR[slot])
        with watch.stage("select"):
            select(
                find_candidates([rows.table()], settings.metric),
                settings.strategy,
                regions_per_image=settings.regions_per_image,
                budget_pixels=settings.budget_pixels,
                seed=(self.config.run.seed, 0),
            )

    def run_bare(self, image_NHWC: NDArray[np.uint8], warm_up: bool) -> None:
        size, count = self.engine.batch_size, len(image_NHWC)
        slots = np.arange(-(-count // size) * size) % count  # the last batch is filled up with the first images
        batches = image_NHWC[slots].reshape(-1, size, *image_NHWC.shape[1:])
        elapsed_s = _seconds(lambda: [self.engine.run(batch) for batch in batches])
        self.bare_s += 0.0 if warm_up else elapsed_s * count / len(slots)

    def report(self, images: int) -> dict[str, Any]:
        rate, bare = images / self.scoring_s, images / self.bare_s
        spent = {name: self.stopwatch.seconds[name] for name in _STAGES}
        spent["other"] = max(0.0, self.scoring_s - sum(spent.values()))
        return {
            "engine": self.engine.name,
            "provider": self.engine.provider,
            "images_per_s": rate,
            "bare_images_per_s": bare,
            "share_of_bare": rate / bare,
            "stages": [
                {"name": name, "ms_per_image": 1000 * seconds / images, "share": seconds / self.scoring_s}
                for name, seconds in spent.items()
            ],
        }


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
