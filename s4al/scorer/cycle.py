"""Scoring the pool of a run's cycle: shards as units of work, committed one by one, then assembled into two stages.

    cycles/NNN/.work-score/shard-00000/{scores.parquet, masks.npy}     pieces, each committed on its own
    cycles/NNN/pseudo/{masks.npy, masks.xxh128, cache.json}            read with ImageCache.open(folder, "masks")
    cycles/NNN/score/{shard-00000.parquet, ..., quarantine.parquet}

A kill costs at most the shard it happened in; the folders come out byte for byte the same.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from s4al import files
from s4al.config import NETWORK_METRICS
from s4al.data import Pool, Row, load_pool
from s4al.data.cache import ImageCache, describe_masks
from s4al.errors import EngineError, RunStateError
from s4al.run.state import Run
from s4al.scorer.acquisition.selection import kernel_metric
from s4al.scorer.acquisition.table import ScoreRows, quarantine_table
from s4al.scorer.batch import ScoredBatch
from s4al.scorer.engines.device_engine import DeviceEngine
from s4al.scorer.engines.device_engines import settle_batch_size
from s4al.scorer.engines.engine import Engine, EngineRequest, RegionMetric
from s4al.scorer.engines.model_card import check_fits
from s4al.scorer.engines.open import open_engine
from s4al.scorer.pipeline import score_batches
from s4al.scorer.read_ahead import spans
from s4al.watch import Watch

_SCORES, _MASKS, _ENGINE = "scores.parquet", "masks.npy", "engine.json"
_METRIC_BATCH = 4


@dataclass(frozen=True)
class ScoreResult:
    """What `s4al score --json` prints. `seconds` and `images_per_s` are of this call; None where it scored nothing."""

    images: int
    quarantined: int
    seconds: float
    images_per_s: float | None
    engine: str
    provider: str
    out: Path


def open_run_engine(run: Run, cycle: int, request: EngineRequest, *, watch: Watch) -> Engine:
    """The engine for a cycle's exported model, checked against its manifest and the run.

    Raises RunStateError where there is no export or it is damaged, EngineError where no engine serves.
    """
    config = run.config
    opened = open_engine(
        run.read_stage(cycle, "export") / "model.onnx",
        replace(request, engine=request.engine or config.scorer.engine),
        batch_size=config.scorer.batch_size,
        threads=config.scorer.threads,
        watch=watch,
    )
    check_fits(opened.card, run.grid, run.classes(cycle).names)
    if isinstance(opened, DeviceEngine):
        settle_batch_size(opened, _recorded_batch_size(run, cycle, opened) or config.scorer.batch_size, watch)
    return opened


def _recorded_batch_size(run: Run, cycle: int, engine: Engine) -> int:
    """The one this cycle, or the one before it, was scored with by the same engine; 0 where there is none.

    Which batch size is fastest is found by stopwatch, and may come out otherwise when a command is given again.
    """
    work = run.cycle(cycle) / ".work-score" / _ENGINE
    found = [json.loads(work.read_bytes())] if work.is_file() else []
    stages = [(cycle, "pseudo"), (cycle - 1, "score")]
    found += [files.read_manifest(run.stage(*stage)) for stage in stages if stage[0] >= 0 and run.is_committed(*stage)]
    same = [each for each in found if (each["engine"], each["provider"]) == (engine.name, engine.provider)]
    return same[0]["batch_size"] if same else 0


def score_cycle(run: Run, cycle: int, request: EngineRequest | None = None, *, watch: Watch) -> ScoreResult:
    """Score every image of the pool that is not wholly labelled; commit `pseudo/`, then `score/`.

    Parameters
    ----------
    request : without one, the run's engine on whatever there is. Its networks are needed where the run's metric is one
        of `NETWORK_METRICS`.

    Raises
    ------
    NumericsError : the network's output is not finite; names the images.
    EngineError, RunStateError, StorageError; Interrupted between batches, finished shards kept.
    """
    request = request or EngineRequest()
    if run.is_committed(cycle, "score") and run.is_committed(cycle, "pseudo"):
        shutil.rmtree(run.cycle(cycle) / ".work-score", ignore_errors=True)  # a kill between commit and tidying
        result = _committed_result(run, cycle)
        if request.engine not in (None, "auto", result.engine):
            open_run_engine(run, cycle, request, watch=watch)  # whoever names one wants to know that it cannot be had
            watch.note(f"Cycle {cycle} was scored with {result.engine} before, and committed scores are kept.")
        return result
    pool = load_pool(run.pool_file)
    opened = open_run_engine(run, cycle, request, watch=watch)
    with (
        ImageCache.open(run.cache / "train") as cache,
        files.storage_errors(f"scoring cycle {cycle} in {run.root}", kept="Finished shards are kept."),
    ):
        job = _Job(run, cycle, pool, cache, opened, request, watch)
        scored, seconds = job.score_missing_shards()
        watch.stop_here()
        job.commit()
    rate = scored / seconds if scored else None
    figures: dict[str, Any] = {"images_per_s": rate} if rate else {}
    run.add_seconds(cycle, "score", seconds, images=len(job.rows), engine=opened.name, **figures)
    quarantined = len(_set_aside(pool))
    return ScoreResult(
        len(job.rows), quarantined, seconds, rate, opened.name, opened.provider, run.stage(cycle, "score")
    )


def _committed_result(run: Run, cycle: int) -> ScoreResult:
    folder = run.stage(cycle, "score")
    about = files.read_manifest(folder)
    return ScoreResult(about["images"], about["quarantined"], 0.0, None, about["engine"], about["provider"], folder)


def _set_aside(pool: Pool) -> list[Row]:
    return [row for row in pool.quarantined if row.split == "train"]


class _Job:
    """One cycle's scoring: which images, in which shards, by which engine.

    Attributes
    ----------
    rows : of the training cache, those that are not wholly labelled, ascending.
    """

    def __init__(
        self,
        run: Run,
        cycle: int,
        pool: Pool,
        cache: ImageCache,
        engine: Engine,
        request: EngineRequest,
        watch: Watch,
    ) -> None:
        self.run, self.cycle, self.pool, self.cache, self.engine, self.watch = run, cycle, pool, cache, engine, watch
        train = pool.train
        if cache.ids != train.ids:
            raise RunStateError(f"The cache {run.cache / 'train'} does not hold the images of {run.pool_file}.")
        regions = run.labelled_regions(cycle)
        whole = run.whole_images(regions)
        self.labelled: dict[str, list[int]] = {}
        for region in regions:
            if region.image not in whole:
                self.labelled.setdefault(region.image, []).append(region.region)
        self.rows = [row for row, image in enumerate(train.ids) if image not in whole]
        self.ids = [train.ids[row] for row in self.rows]
        self.sizes = [(train.rows[row].height, train.rows[row].width) for row in self.rows]
        step = run.config.scorer.shard_images
        self.shards = [range(start, min(start + step, len(self.rows))) for start in range(0, len(self.rows), step)]
        # With mirror images every image is scored twice in a row: views 2 i and 2 i + 1 are of image i.
        metric = run.config.acquisition.metric
        self.views = 2 if metric == "flip_entropy" else 1
        self.further = "" if metric == kernel_metric(metric) else metric
        self.request, self.needs_network = request, metric in NETWORK_METRICS
        assert request.networks or not self.needs_network, metric
        self._check_same_engine()
        self.work = self._open_work()

    # ------------------------------------------------------------------------------------------------- pieces

    def _open_work(self) -> Path:
        """The work folder; shards of another engine or batch size are dropped, one folder holds one engine's scores."""
        work = self.run.work_folder(self.cycle, "score")
        mark, wanted = work / _ENGINE, self._about_engine()
        found = json.loads(mark.read_bytes()) if mark.is_file() else None
        pieces = sorted(work.glob("shard-*"))
        if found != wanted:
            if pieces:
                self.watch.note(f"Scoring starts again: {len(pieces)} shards were scored with {_engine_line(found)}.")
            for piece in pieces:
                shutil.rmtree(piece)
            files.write_json(mark, wanted)
        return work

    def _about_engine(self) -> dict[str, Any]:
        return {"engine": self.engine.name, "provider": self.engine.provider, "batch_size": self.engine.batch_size}

    def _piece(self, shard: int) -> Path:
        return self.work / f"shard-{shard:05d}"

    def _is_sound(self, shard: int) -> bool:
        piece = self._piece(shard)
        if not piece.exists():
            return False
        try:
            files.verify_folder(piece)
        except RunStateError as error:
            self.watch.note(f"Scored again: {error.what}")
            shutil.rmtree(piece)
            return False
        return True

    def _load_metric(self) -> RegionMetric | None:
        """What is computed beside the engine, where the run's metric asks for it."""
        networks = self.request.networks
        return networks.metric(self.request.device, self.watch) if networks and self.needs_network else None

    def score_missing_shards(self) -> tuple[int, float]:
        """Returns images scored and seconds."""
        missing = [shard for shard in range(len(self.shards)) if not self._is_sound(shard)]
        sound = len(self.shards) - len(missing)
        if sound:
            self.watch.note(f"Cycle {self.cycle}: scoring resumed, {sound} of {len(self.shards)} shards were done.")
        metric = self._load_metric() if missing else None
        done = len(self.rows) - sum(len(self.shards[shard]) for shard in missing)
        started, first = time.monotonic(), done
        ranges = (self.shards[shard] for shard in missing)
        views = self.views
        batches = (
            span for shard in ranges for span in spans(shard.start * views, shard.stop * views, self.engine.batch_size)
        )
        config = self.run.config
        scored = score_batches(
            self._read,
            batches,
            self.engine,
            ids=self.ids if views == 1 else [image for image in self.ids for _ in range(views)],
            labelled_regions=self._labelled_regions,
            labelled_pixels=config.acquisition.labelled_pixels,
            pooling=config.acquisition.pooling,
            confidence_threshold=config.pseudo.threshold,
        )
        with closing(scored):
            for shard in missing:
                with self._writing(shard) as piece:
                    while piece.missing:
                        self.watch.stop_here()
                        batch = next(scored)
                        done += piece.add(batch)
                        rate = (done - first) / (time.monotonic() - started)
                        self.watch.progress(f"cycle {self.cycle} score", done, len(self.rows), images_per_s=rate)
                    if metric:
                        self._measure(self.shards[shard], piece, metric)
        return done - first, time.monotonic() - started

    def _measure(self, shard: range, piece: _Piece, metric: RegionMetric) -> None:
        """The same batches whenever a shard is scored, because what is drawn at random is keyed by them."""
        size = self.cache.row_shape
        for span in spans(shard.start, shard.stop, _METRIC_BATCH):
            self.watch.stop_here()
            image_NHWC = np.empty((span.count, *size), np.uint8)
            self.cache.read_rows([self.rows[index] for index in range(span.first, span.first + span.count)], image_NHWC)
            for value_R in metric(image_NHWC, span.first):
                piece.rows.add_further(value_R)
            done = span.first + span.count
            self.watch.progress(f"cycle {self.cycle} {self.further.replace('_', ' ')}", done, len(self.rows))

    def _read(self, start: int, out: NDArray[np.uint8]) -> None:
        """Views from `start` on, mirror images mirrored."""
        views = range(start, start + len(out))
        self.cache.read_rows([self.rows[view // self.views] for view in views], out)
        for slot, view in enumerate(views):
            if view % self.views:
                out[slot] = out[slot, :, ::-1].copy()

    def _labelled_regions(self, view: int) -> Sequence[int]:
        regions = self.labelled.get(self.ids[view // self.views], ())
        cols = self.run.grid.cols
        return [region + cols - 1 - 2 * (region % cols) for region in regions] if view % self.views else regions

    @contextmanager
    def _writing(self, shard: int) -> Iterator[_Piece]:
        with files.commit_folder(self._piece(shard)) as folder, (folder / _MASKS).open("wb") as stream:
            _write_header(stream, len(self.shards[shard]), self.run)
            piece = _Piece(self, len(self.shards[shard]), stream)
            yield piece
            stream.flush()
            files.write_table(folder / _SCORES, piece.rows.table())

    def new_rows(self) -> ScoreRows:
        return ScoreRows(self.run.grid, self.further)

    # ------------------------------------------------------------------------------------------------- commit

    def commit(self) -> None:
        """Assemble the pieces: `pseudo/` first, so that a committed `score/` means that both are there."""
        about = self._about_engine()
        if self.engine.passed_over:
            about["passed_over"] = list(self.engine.passed_over)
        aside = _set_aside(self.pool)
        if not self.run.is_committed(self.cycle, "pseudo"):
            with self.run.commit(self.cycle, "pseudo", **about, images=len(self.rows)) as folder:
                self._write_pseudo(folder)
        if not self.run.is_committed(self.cycle, "score"):  # where it is, only the pseudo-labels had been removed
            with self.run.commit(self.cycle, "score", **about, images=len(self.rows), quarantined=len(aside)) as folder:
                self._write_scores(folder, aside)
        shutil.rmtree(self.work)

    def _write_scores(self, folder: Path, aside: list[Row]) -> None:
        for shard in range(len(self.shards)):
            shutil.copyfile(self._piece(shard) / _SCORES, folder / f"shard-{shard:05d}.parquet")
        if not self.shards:  # everything is labelled: readers still find the columns
            files.write_table(folder / "shard-00000.parquet", self.new_rows().table())
        rows = [(row.id, row.image, row.reason) for row in aside]
        files.write_table(folder / "quarantine.parquet", quarantine_table(rows))

    def _write_pseudo(self, folder: Path) -> None:
        data = self.run.config.data
        with (folder / _MASKS).open("wb") as stream:
            offset = _write_header(stream, len(self.rows), self.run)
            for shard in range(len(self.shards)):
                with (self._piece(shard) / _MASKS).open("rb") as piece:
                    piece.seek(offset)
                    shutil.copyfileobj(piece, stream, 2**20)
        describe_masks(folder, data.height, data.width, "confident predictions", self.ids)

    def _check_same_engine(self) -> None:
        """A kill between the two commits must not leave pseudo-labels of one engine beside scores of another."""
        if not self.run.is_committed(self.cycle, "pseudo"):
            return
        made = files.read_manifest(self.run.stage(self.cycle, "pseudo"))
        if any(made[key] != value for key, value in self._about_engine().items()):
            raise EngineError(
                f"The pseudo-labels of cycle {self.cycle} were made with {_engine_line(made)}, "
                f"not with {_engine_line(self._about_engine())}.",
                kept="They are kept.",
                remedy="Score with that engine and batch size, or delete the pseudo folder of the cycle.",
            )


class _Piece:
    """One shard while it is being scored."""

    def __init__(self, job: _Job, images: int, masks: BinaryIO) -> None:
        self._job, self._masks = job, masks
        self._views_missing = images * job.views
        self.rows = job.new_rows()

    @property
    def missing(self) -> bool:
        return self._views_missing > 0

    def add(self, batch: ScoredBatch) -> int:
        """Returns how many images that were, mirror images not counted."""
        span, views, before = batch.span, self._job.views, len(self.rows)
        for slot in range(span.count):
            index, mirrored = divmod(span.first + slot, views)
            if mirrored:
                self.rows.add_mirrored(batch, slot)
            else:
                self.rows.add(self._job.ids[index], self._job.sizes[index], batch, slot)
                self._masks.write(batch.label_NHW[slot].data)
        self._views_missing -= span.count
        assert self._views_missing >= 0, "batches do not cross shards"
        return len(self.rows) - before


def _write_header(stream: BinaryIO, count: int, run: Run) -> int:
    """The .npy header of `count` label maps; its length, the same for every count."""
    shape = (count, run.config.data.height, run.config.data.width)
    npy_format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.tell()


def _engine_line(about: dict[str, Any] | None) -> str:
    return f"{about['engine']} ({about['provider']}, batch {about['batch_size']})" if about else "another engine"
