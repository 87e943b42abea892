"""What `s4al profile` prints: where the time of scoring goes, beside the bare network and the published loop.

All are timed in turns on the same images in one process, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import itertools
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4al.config import Config, EngineName
from s4al.data.cache import ImageCache
from s4al.errors import DataError, EngineError
from s4al.run.state import Run
from s4al.scorer.acquisition.selection import find_candidates, kernel_metric, select, table_strategy
from s4al.scorer.acquisition.table import ScoreRows
from s4al.scorer.cycle import open_run_engine
from s4al.scorer.device_pipeline import stages_alone
from s4al.scorer.engines.device_engine import DeviceEngine
from s4al.scorer.engines.device_engines import network_rate
from s4al.scorer.engines.engine import Engine, EngineRequest, LoadNetwork, Networks
from s4al.scorer.pipeline import score_batches
from s4al.scorer.profile.preprocess import open_preprocess
from s4al.scorer.profile.published import BATCH_SIZE, published_batch
from s4al.scorer.profile.roofline import Peaks, Work, device_peaks, host_peaks, network_work, region_scores_work
from s4al.scorer.read_ahead import Span, spans
from s4al.scorer.stopwatch import Stopwatch, write_trace
from s4al.watch import Watch

if TYPE_CHECKING:
    import torch

_DEFAULT_IMAGES = 128
_PAUSE_S = 0.05  # before each turn: threads of whoever came before spin on for a while
_ROUND_IMAGES = 32  # of a turn
_DECODED_IMAGES = 16
_ALL: tuple[EngineName, ...] = ("trt", "ort", "torch")
_STAGES = ("read", "preprocess", "network", "kernel", "write", "select")
_STAGES_ON_DEVICE = ("set-up", "read", "launch", "wait", "write", "select")  # of the host; see `stages_alone`


def profile_run(
    run: Run,
    cycle: int,
    networks: Networks,
    *,
    engines: Sequence[EngineName] = (),
    images: int | None = None,
    trace: Path | None = None,
    decode: Callable[[int], object] | None = None,
    watch: Watch,
) -> dict[str, Any]:
    """Time scoring of the training images of a run, nothing of which is kept.

    Parameters
    ----------
    engines : none for all that work here.
    images : how many of the training images; None for up to 128.
    decode : brings the n-th training image from its file to the network's size.
    trace : where to write the timelines of all engines, for ui.perfetto.dev.

    Returns
    -------
    `{"images", "height", "width", "batch_size", "threads", "peak_memory_bytes", "peaks": {"bytes_per_s",
    "operations_per_s"}, "trace", "decode_ms_per_image", "engines": [{"engine", "provider", "images_per_s",
    "bare_images_per_s", "share_of_bare", "host_idle", "stages": [{"name", "ms_per_image", "share"}], "bounds":
    [{"name", "bytes", "operations", "bound_ms_per_image", "share_of_bound"}]}], "baseline": {"name", "images_per_s",
    "ms_per_image"}}`.

    `read` is the time spent waiting for images, which are read ahead; `preprocess`, which is the head of the exported
    graph, is timed by itself and taken out of `network` (0 where that cannot be told); `bare_images_per_s` is the whole
    graph alone on images already in memory; `host_idle` is the share of the threads' time in which they computed
    nothing; `decode_ms_per_image` is of one thread, and spent once, before a pool is scored; `peak_memory_bytes` is of
    the process since its start. Bounds: see `roofline`. Engines on a GPU also have `device_stages`: each stage alone,
    as `stages_alone` times it, in shares of the pipeline's time, which overlap; and `idle`, what is left of that time
    beside network and kernel. Their network contains the preprocessing, with which it is one graph.

    Raises
    ------
    EngineError, RunStateError.
    """
    opened = _open_engines(run, cycle, engines, networks, watch)
    model = (run.stage(cycle, "export") / "model.onnx").read_bytes()
    subjects = [_subject(engine, run.config, model, networks.folded) for engine in opened]
    published = _Published(_beside(networks.trained(), opened[0]), opened[0], run.config.acquisition.regions_per_image)
    with ImageCache.open(run.cache / "train") as cache:
        count = min(images or _DEFAULT_IMAGES, len(cache))
        peaks, warm_up = host_peaks(), Span(0, min(count, BATCH_SIZE))
        for span in (warm_up, *spans(0, count, _ROUND_IMAGES)):
            image_NHWC = np.empty((span.count, *cache.row_shape), np.uint8)
            cache.read_into(span.first, image_NHWC)
            for subject in subjects:
                subject.score(cache, span)
                subject.run_bare(image_NHWC)
            published.run(image_NHWC)
            peaks = peaks.or_better(host_peaks())
            if span is warm_up:
                for each in (*subjects, published):
                    each.forget()
            else:
                watch.progress("profile", span.first + span.count, count)
            watch.stop_here()
    if trace:
        try:
            trace.parent.mkdir(parents=True, exist_ok=True)
            write_trace(trace, {f"s4al, {subject.engine.name}": subject.stopwatch for subject in subjects})
        except OSError as error:  # the figures are worth having all the same
            watch.note(f"No trace was written: {error}.")
            trace = None
    card = opened[0].card
    network = network_work(model)
    return {
        "images": count,
        "height": card.height,
        "width": card.width,
        "batch_size": opened[0].batch_size,
        "threads": opened[0].threads,
        "peak_memory_bytes": _peak_memory_bytes(),
        "peaks": asdict(peaks),
        "trace": str(trace) if trace else None,
        "decode_ms_per_image": _decode_ms(decode, min(_DECODED_IMAGES, count)) if decode else None,
        "engines": [subject.report(count, peaks, network) for subject in subjects],
        "baseline": published.report(count),
    }


def _decode_ms(decode: Callable[[int], object], count: int) -> float | None:
    try:
        return 1000 * _seconds(lambda: [decode(index) for index in range(count)]) / count
    except (DataError, OSError):  # the originals are not needed any more, and may be gone
        return None


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _open_engines(run: Run, cycle: int, names: Sequence[EngineName], networks: Networks, watch: Watch) -> list[Engine]:
    opened: list[Engine] = []
    for name in names or _ALL:
        try:
            opened.append(open_run_engine(run, cycle, EngineRequest(name, networks=networks), watch=watch))
        except EngineError as error:
            if names:
                raise
            if name != "trt":  # which few machines have
                watch.note(f"Left out: {error.what}")
    if not opened:
        raise EngineError("No engine works on this machine.", remedy="See s4al doctor.")
    return opened


def _beside(network: torch.nn.Module, engine: Engine) -> torch.nn.Module:
    """The baseline's network, where the engine is."""
    return network.to(f"cuda:{engine.device.index}") if isinstance(engine, DeviceEngine) else network


@dataclass
class _Subject:
    """An engine and its times."""

    engine: Engine
    config: Config
    preprocess: Engine | None  # none where it cannot be told from the network
    stopwatch: Stopwatch = field(default_factory=lambda: Stopwatch(timeline=True))
    scoring_s: float = 0.0
    computing_s: float = 0.0  # of all threads, meanwhile
    bare_s: float = 0.0
    fastest_batch_s: float = math.inf  # through the whole graph
    fastest_preprocess_s: float = math.inf

    def forget(self) -> None:
        self.stopwatch = Stopwatch(timeline=True)
        self.scoring_s = self.computing_s = self.bare_s = 0.0
        self.fastest_batch_s = self.fastest_preprocess_s = math.inf

    def score(self, cache: ImageCache, span: Span) -> None:
        """From the decoded cache to selections, as `score_cycle` and `select_cycle` do it, into files that vanish."""
        computing_s = time.process_time()
        self.scoring_s += _seconds(lambda: self._score(cache, span))
        self.computing_s += time.process_time() - computing_s

    def _score(self, cache: ImageCache, span: Span) -> None:
        engine, settings, watch = self.engine, self.config.acquisition, self.stopwatch
        rows = ScoreRows(engine.card.grid)

        def read(first: int, out_NHWC: NDArray[np.uint8]) -> None:
            with watch.stage("read ahead"):
                cache.read_into(first, out_NHWC)

        batches = score_batches(
            read,
            spans(span.first, span.first + span.count, engine.batch_size),
            engine,
            ids=cache.ids,
            labelled_pixels=settings.labelled_pixels,
            pooling=settings.pooling,
            confidence_threshold=self.config.pseudo.threshold,
            stopwatch=watch,
        )
        with closing(batches), tempfile.TemporaryFile() as masks:
            for batch in batches:
                with watch.stage("write"):
                    masks.write(batch.label_NHW.data)
                    for slot in range(batch.span.count):
                        image = cache.ids[batch.span.first + slot]
                        size = cache.height, cache.width
                        rows.add(image, size, batch, slot)
        with watch.stage("select"):
            select(
                find_candidates([rows.table()], kernel_metric(settings.metric)),
                table_strategy(settings.strategy),
                regions_per_image=settings.regions_per_image,
                budget_pixels=settings.budget_pixels,
                seed=(self.config.run.seed, 0),
            )

    def run_bare(self, image_NHWC: NDArray[np.uint8]) -> None:
        """The network alone, on images in memory; on a GPU, in its memory."""
        if isinstance(self.engine, DeviceEngine):
            self.bare_s += len(image_NHWC) / network_rate(self.engine)
            return
        size, count = self.engine.batch_size, len(image_NHWC)
        slots = np.arange(-(-count // size) * size) % count  # the last batch is filled up with the first images
        batches = image_NHWC[slots].reshape(-1, size, *image_NHWC.shape[1:])
        batch_s = _seconds_each(self.engine.run, batches)
        self.bare_s += sum(batch_s) * count / len(slots)
        self.fastest_batch_s = min(self.fastest_batch_s, *batch_s)
        if self.preprocess is not None:
            self.fastest_preprocess_s = min(self.fastest_preprocess_s, *_seconds_each(self.preprocess.run, batches))

    def _split(self, graph_s: float) -> tuple[float, float]:
        """The graph's seconds as (preprocessing, network), in the shares of the fastest batches.

        Hiccups only ever add to a time. Where the head alone still took longer than the graph, as may be with toy
        networks, all of it is the network's.
        """
        share = self.fastest_preprocess_s / self.fastest_batch_s
        return (share * graph_s, (1 - share) * graph_s) if share < 1 else (0.0, graph_s)

    def report(self, images: int, peaks: Peaks, network: Work) -> dict[str, Any]:
        rate, bare = images / self.scoring_s, images / self.bare_s
        on_device = isinstance(self.engine, DeviceEngine)
        spent = {name: self.stopwatch.seconds[name] for name in (_STAGES_ON_DEVICE if on_device else _STAGES)}
        if not on_device:
            spent["preprocess"], spent["network"] = self._split(spent["network"])
        spent["other"] = max(0.0, self.scoring_s - sum(spent.values()))
        return {
            "engine": self.engine.name,
            "provider": self.engine.provider,
            "images_per_s": rate,
            "bare_images_per_s": bare,
            "share_of_bare": rate / bare,
            "host_idle": max(0.0, 1 - self.computing_s / (self.scoring_s * self.engine.threads)),
            "stages": [
                {"name": name, "ms_per_image": 1000 * seconds / images, "share": seconds / self.scoring_s}
                for name, seconds in spent.items()
            ],
            **self._report_bounds({name: seconds / images for name, seconds in spent.items()}, rate, peaks, network),
        }

    def _report_bounds(self, spent_s: dict[str, float], rate: float, peaks: Peaks, network: Work) -> dict[str, Any]:
        """The least that network and kernel can take; on a GPU also what its stages take alone."""
        logits_dtype, more, pooling = np.dtype(np.float32), {}, self.config.acquisition.pooling
        if isinstance(self.engine, DeviceEngine):
            logits_dtype, peaks = self.engine.logits_dtype, device_peaks(self.engine.device)
            network = Work(network.bytes * logits_dtype.itemsize / 4, network.operations)
            spent_s = stages_alone(self.engine, pooling)
            spent_s["idle"] = max(0.0, 1 / rate - spent_s["network"] - spent_s["kernel"])
            more["device_stages"] = [
                {"name": name, "ms_per_image": 1000 * seconds, "share": seconds * rate}
                for name, seconds in spent_s.items()
            ]
        works = {"network": network, "kernel": region_scores_work(self.engine.card, logits_dtype, pooling)}
        bounds = [
            {
                "name": name,
                "bytes": work.bytes,
                "operations": work.operations,
                "bound_ms_per_image": 1000 * peaks.bound_s(work),
                "share_of_bound": peaks.bound_s(work) / spent_s[name],
            }
            for name, work in works.items()
        ]
        return {"bounds": bounds, **more}


def _subject(engine: Engine, config: Config, model: bytes, load_network: LoadNetwork) -> _Subject:
    on_device = isinstance(engine, DeviceEngine)
    return _Subject(engine, config, None if on_device else open_preprocess(engine, model, load_network))


@dataclass
class _Published:
    """The published loop and its time."""

    network: torch.nn.Module
    engine: Engine  # for its card and number of threads
    top_k: int
    seconds: float = 0.0

    def forget(self) -> None:
        self.seconds = 0.0

    def run(self, image_NHWC: NDArray[np.uint8]) -> None:
        batches = [image_NHWC[span.first : span.first + span.count] for span in spans(0, len(image_NHWC), BATCH_SIZE)]
        card, threads = self.engine.card, self.engine.threads
        self.seconds += _seconds(
            lambda: [published_batch(self.network, batch, card, self.top_k, threads) for batch in batches]
        )

    def report(self, images: int) -> dict[str, Any]:
        return {
            "name": f"published acquisition loop (torch eager, batch {BATCH_SIZE})",
            "images_per_s": images / self.seconds,
            "ms_per_image": 1000 * self.seconds / images,
        }


def _seconds_each(work: Callable[[NDArray[np.uint8]], object], batches: NDArray[np.uint8]) -> list[float]:
    time.sleep(_PAUSE_S)
    moments = [time.perf_counter()]
    for batch in batches:
        work(batch)
        moments.append(time.perf_counter())
    return [end - start for start, end in itertools.pairwise(moments)]


def _seconds(work: Callable[[], object]) -> float:
    time.sleep(_PAUSE_S)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
