"""What only a GPU can show, each part on its own: kernel, network, whole pool, parity of half precision, TensorRT.

    python -m benchmarks.gpu PART [--dry-run] [--data CAMVID] [--out DIR]

Needs CUDA; with `--dry-run` every part runs on the CPU at toy size and records nothing but that it ran. `gpu.sh` runs
all of them. Ratios are of turns taken in one process; networks have random weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.record import record
from benchmarks.region_scores import published_chain
from s4al.config import Config, resolve
from s4al.export.scoring_network import ScoringNetwork, folded, wrap
from s4al.kernels import region_scores
from s4al.scorer.engines.model_card import ModelCard
from s4al.scorer.profile.roofline import kernel_work_of
from s4al.trainer.networks.build import build_network

_REPEATS = 50
_WARM_UPS = 3
_L2_BYTES = 64 * 2**20  # inputs rotate over more than the second-level cache holds


@dataclass(frozen=True)
class Size:
    num_classes: int
    height: int
    width: int
    region: int
    stride: int = 4

    @property
    def name(self) -> str:
        return f"{self.num_classes}x{self.height}x{self.width}, stride {self.stride}"

    @property
    def low(self) -> tuple[int, int]:
        return -(-self.height // self.stride), -(-self.width // self.stride)


CAMVID, CITYSCAPES, FULL = Size(11, 360, 480, 30), Size(19, 688, 688, 43), Size(19, 1024, 2048, 64)
KERNEL_SIZES = [
    *(CAMVID, CITYSCAPES, FULL, Size(150, 512, 512, 32)),
    *(Size(each.num_classes, each.height, each.width, each.region, 16) for each in (CAMVID, CITYSCAPES, FULL)),
]
TOY = Size(5, 64, 96, 16)


class Bench:
    """Where a part runs, and how time is taken there."""

    def __init__(self, dry_run: bool) -> None:
        self.dry_run = dry_run
        self.repeats = 2 if dry_run else _REPEATS
        self.device = torch.device("cpu" if dry_run else "cuda")
        self.dtype = torch.float32 if dry_run else torch.float16

    def sizes(self, sizes: list[Size]) -> list[Size]:
        return [TOY] if self.dry_run else sizes

    def in_turns(self, candidates: dict[str, Callable[[int], object]]) -> dict[str, float]:
        """Median milliseconds of each candidate, called with 0, 1, 2 ... in turns with the others."""
        ms: dict[str, list[float]] = {name: [] for name in candidates}
        for repeat in range(-_WARM_UPS, self.repeats):
            for name, candidate in candidates.items():
                elapsed = self._elapsed_ms(lambda candidate=candidate, turn=repeat + _WARM_UPS: candidate(turn))
                if repeat >= 0:
                    ms[name].append(elapsed)
        return {name: statistics.median(each) for name, each in ms.items()}

    def _elapsed_ms(self, work: Callable[[], object]) -> float:
        if self.dry_run:
            started = time.perf_counter()
            work()
            return 1000 * (time.perf_counter() - started)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)


# ------------------------------------------------------------------------------------------------------- kernel


def kernel(bench: Bench) -> dict[str, Any]:
    """The fused kernel against the published chain, eager and compiled, from the same float16 logits."""
    return {size.name: _kernel_at(bench, size, batch) for size in bench.sizes(KERNEL_SIZES) for batch in (1, 8)}


def _kernel_at(bench: Bench, size: Size, batch: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (batch, size.num_classes, *size.low)).astype(np.float16)
    copies = 1 if bench.dry_run else max(1, min(64, -(-_L2_BYTES // logits.nbytes)))
    inputs = [torch.from_numpy(logits).to(bench.device) for _ in range(copies)]
    grid = size.height // size.region, size.width // size.region

    def chain(logits_NChw: torch.Tensor) -> object:
        return published_chain(logits_NChw.float(), size.height, size.width, grid)

    candidates: dict[str, Callable[[int], object]] = {
        "eager": lambda turn: chain(inputs[turn % copies]),
        "kernel": _launch(bench, size, inputs),
    }
    if not bench.dry_run:
        compiled = torch.compile(chain)
        candidates["compiled"] = lambda turn: compiled(inputs[turn % copies])
    ms = {name: value / batch for name, value in bench.in_turns(candidates).items()}
    return {
        "batch": batch,
        "us_per_image": {name: 1000 * value for name, value in ms.items()},
        "times_eager": ms["eager"] / ms["kernel"],
        "times_compiled": ms["compiled"] / ms["kernel"] if "compiled" in ms else None,
        **_kernel_bound(size, ms["kernel"]),
    }


def _launch(bench: Bench, size: Size, inputs: list[torch.Tensor]) -> Callable[[int], object]:
    geometry = card_of(size).geometry
    if bench.dry_run:
        arrays = [each.numpy() for each in inputs]
        return lambda turn: region_scores(arrays[turn % len(arrays)], **geometry)
    import cupy

    from s4al.kernels.region_scores_cuda import RegionScoresKernel

    arrays = [cupy.from_dlpack(each) for each in inputs]
    fused = RegionScoresKernel(arrays[0].shape, arrays[0].dtype, **geometry)
    out = fused.empty_scores()
    stream = cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream)
    return lambda turn: fused.launch(arrays[turn % len(arrays)], None, out, stream)


def _kernel_bound(size: Size, ms: float) -> dict[str, float]:
    """Achieved rates; scoring.md's model and the machine's peaks are held against them by whoever reads this."""
    work = kernel_work_of(card_of(size), np.dtype(np.float16))
    return {
        "gb_per_s": work.bytes / ms / 1e6,
        "gflop_per_s": work.operations / ms / 1e6,
        "gexp_per_s": work.exponentials / ms / 1e6,
    }


# ------------------------------------------------------------------------------------------------------ network


def network(bench: Bench) -> dict[str, Any]:
    """The bare network, float16 and channels-last: eager, and as a CUDA graph, by batch size."""
    batches = (1, 2) if bench.dry_run else (1, 4, 16, 32, 64, 128)
    return {
        size.name: [_network_at(bench, size, batch) for batch in batches] for size in bench.sizes([CAMVID, CITYSCAPES])
    }


def _network_at(bench: Bench, size: Size, batch: int) -> dict[str, Any]:
    net = scoring(size).to(bench.device, bench.dtype).to(memory_format=torch.channels_last)
    image = torch.zeros((batch, size.height, size.width, 3), dtype=torch.uint8, device=bench.device)
    with torch.inference_mode():
        candidates: dict[str, Callable[[int], object]] = {"eager": lambda turn: net(image)}
        if not bench.dry_run:
            candidates["graph"] = _captured(net, image)
        ms = bench.in_turns(candidates)
    return {"batch": batch, "images_per_s": {name: 1000 * batch / value for name, value in ms.items()}}


def _captured(net: nn.Module, image: torch.Tensor) -> Callable[[int], object]:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            net(image)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        net(image)
    return lambda turn: graph.replay()


def configuration(size: Size) -> Config:
    return resolve(
        None,
        None,
        [
            f"data.height={size.height}",
            f"data.width={size.width}",
            f"acquisition.region_height={size.region}",
            f"acquisition.region_width={size.region}",
            'model.weights="none"',
        ],
    )


def scoring(size: Size) -> ScoringNetwork:
    """The exported network with random weights and batch norm folded, float32 on the CPU."""
    torch.manual_seed(0)
    config = configuration(size)
    net = build_network(config.model, size.num_classes).eval()
    return folded(wrap(net, size.height, size.width, config.pseudo)).eval()


# --------------------------------------------------------------------------------------------------------- pool


def pool(bench: Bench, images: int) -> dict[str, Any]:
    """From the decoded memmap to scores on the host: ours, the bare network, and the published loop, same weights."""
    return {
        size.name: _pool_at(bench, size, 8 if bench.dry_run else images) for size in bench.sizes([CAMVID, CITYSCAPES])
    }


def _pool_at(bench: Bench, size: Size, images: int) -> dict[str, Any]:
    from s4al.scorer.pipeline import score_batches
    from s4al.scorer.profile.published import BATCH_SIZE, published_batch
    from s4al.scorer.read_ahead import spans
    from s4al.scorer.stopwatch import Stopwatch

    net, card, watch = scoring(size), card_of(size), Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        pool_NHWC = _random_pool(Path(folder) / "pool.npy", size, images)
        engine = open_engine(bench, net, card)

        def read(first: int, out_NHWC: np.ndarray) -> None:
            out_NHWC[:] = pool_NHWC[first : first + len(out_NHWC)]

        def ours() -> None:
            batches = spans(0, images, engine.batch_size)
            for batch in score_batches(read, batches, engine, ids=[""] * images, stopwatch=watch):
                del batch

        def published() -> None:
            for first in range(0, images, BATCH_SIZE):
                published_batch(baseline, np.array(pool_NHWC[first : first + BATCH_SIZE]), card, 4, threads=2)

        baseline = net.to(bench.device)
        seconds: dict[str, list[float]] = {"ours": [], "published": []}
        for turn in range(3):
            for name, work in (("ours", ours), ("published", published)):
                started = time.perf_counter()
                work()
                if turn:
                    seconds[name].append(time.perf_counter() - started)
        rate = {name: images / min(each) for name, each in seconds.items()}
        alone = _alone(bench, engine)
    return {
        "images": images,
        "share_of_bare": rate["ours"] * alone["network"],
        "gpu_idle": max(0.0, 1 - rate["ours"] * (alone["network"] + alone["kernel"])),
        "ms_per_image_alone": {name: 1000 * each for name, each in alone.items()},
        "engine": f"{engine.name} ({engine.provider})",
        "batch_size": engine.batch_size,
        "images_per_s": rate,
        "times_published": rate["ours"] / rate["published"],
        "host_seconds_by_stage": dict(watch.seconds),
    }


def _alone(bench: Bench, engine: Any) -> dict[str, float]:
    """Seconds an image of each stage with nothing else under way; here on the CPU, of the network and the kernel."""
    from s4al.scorer.device_pipeline import stages_alone

    if not bench.dry_run:
        return stages_alone(engine)
    image_NHWC = np.zeros((engine.batch_size, engine.card.height, engine.card.width, 3), np.uint8)
    logits = engine.run(image_NHWC)
    work = {
        "network": lambda _: engine.run(image_NHWC),
        "kernel": lambda _: region_scores(logits, **engine.card.geometry),
    }
    return {name: ms / 1000 / engine.batch_size for name, ms in bench.in_turns(work).items()}


def _random_pool(path: Path, size: Size, images: int) -> np.ndarray:
    """Noise, repeated: what an image shows does not matter to the clock."""
    pool_NHWC = np.lib.format.open_memmap(path, "w+", np.uint8, (images, size.height, size.width, 3))
    noise = np.random.default_rng(0).integers(0, 256, (min(images, 64), size.height, size.width, 3), dtype=np.uint8)
    for first in range(0, images, len(noise)):
        pool_NHWC[first : first + len(noise)] = noise[: images - first]
    return pool_NHWC


def open_engine(bench: Bench, net: ScoringNetwork, card: ModelCard) -> Any:
    from s4al.scorer.engines.cpu_engines import TorchEngine

    if bench.dry_run:
        return TorchEngine(lambda: net, card, batch_size=4, threads=1)
    import copy

    from s4al.scorer.engines.device import CudaDevice
    from s4al.scorer.engines.device_engines import TorchDeviceEngine, settle_batch_size
    from s4al.scorer.engines.gpu import find_gpu
    from s4al.watch import Watch

    engine = TorchDeviceEngine(lambda: copy.deepcopy(net), card, CudaDevice(find_gpu()), batch_size=4, threads=1)
    settle_batch_size(engine, 0, Watch())
    return engine


def card_of(size: Size) -> ModelCard:
    return ModelCard(
        class_names=tuple(f"class {index}" for index in range(size.num_classes)),
        height=size.height,
        width=size.width,
        region_height=size.region,
        region_width=size.region,
        stride=size.stride,
        align_corners=False,
        run="",
        cycle=0,
        weights_sha256="",
    )


# ------------------------------------------------------------------------------------------------------- parity


def parity(bench: Bench, data: Path | None) -> dict[str, Any]:
    """Half against single precision of one network, on real images where there are any: the gate's four figures."""
    size = TOY if bench.dry_run else CAMVID
    net, card = scoring(size), card_of(size)
    images = _images(size, data, 2 if bench.dry_run else 64)
    half = scoring(size).to(bench.device, torch.float16)
    single = net.to(bench.device)
    figures = []
    for image_HWC in images:
        image = torch.from_numpy(image_HWC[None]).to(bench.device)
        with torch.inference_mode():
            logits = [each(image).float().cpu().numpy() for each in (single, half)]
        scores = [region_scores(np.ascontiguousarray(each), **card.geometry) for each in logits]
        figures.append(_difference(logits, scores))
    worst = {name: max(each[name] for each in figures) for name in ("logit", "region_entropy", "labels_other")}
    return {"images": len(images), "real": data is not None, "worst": worst}


def _difference(logits: list[np.ndarray], scores: list[Any]) -> dict[str, float]:
    return {
        "logit": float(np.abs(logits[0] - logits[1]).max()),
        "region_entropy": float(np.abs(scores[0].entropy_NR - scores[1].entropy_NR).max()),
        "labels_other": float(np.mean(scores[0].label_NHW != scores[1].label_NHW)),
    }


def _images(size: Size, data: Path | None, count: int) -> list[np.ndarray]:
    from s4al.data.images import load_image, resize_image

    if data is None:
        rng = np.random.default_rng(0)
        return [rng.integers(0, 256, (size.height, size.width, 3), dtype=np.uint8) for _ in range(count)]
    paths = sorted(path for path in data.rglob("*.png") if "label" not in path.as_posix().lower())[:count]
    loaded = (load_image(path, path.name, max_megapixels=40).pixels for path in paths)
    return [resize_image(pixels, size.height, size.width) for pixels in loaded]


# ----------------------------------------------------------------------------------------------------- tensorrt


def tensorrt(bench: Bench) -> dict[str, Any]:
    """One try of each TensorRT library that is there: build, load, run, compare; or what it says instead."""
    from s4al.scorer.engines.trt_adapter import NAMES

    return {name: _try_tensorrt(bench, name) for name in NAMES}


def _try_tensorrt(bench: Bench, name: str) -> dict[str, Any]:
    from s4al.errors import EngineError
    from s4al.export.onnx_export import export_onnx
    from s4al.scorer.engines.trt_adapter import load_trt

    size = TOY if bench.dry_run else CAMVID
    net, card, batch = scoring(size), card_of(size), 2 if bench.dry_run else 32
    image, about = (size.height, size.width, 3), {"library": name}
    try:
        trt = load_trt(name)
        about["library"] = str(trt)
        started = time.perf_counter()
        shapes = (1, *image), (batch, *image), (batch, *image)
        plan, _ = trt.build_plan(export_onnx(net, card, "fp16"), "image", shapes)
        about |= {"plan_bytes": len(plan), "build_s": time.perf_counter() - started}
        if not bench.dry_run:  # loading needs a GPU
            about |= _run_plan(bench, trt.load_plan(plan), net, card, batch)
    except EngineError as error:
        about["says"] = error.what
    return about


def _run_plan(bench: Bench, plan: Any, net: ScoringNetwork, card: ModelCard, batch: int) -> dict[str, Any]:
    from s4al.scorer.engines.device import CudaDevice
    from s4al.scorer.engines.device_engines import network_rate
    from s4al.scorer.engines.gpu import find_gpu
    from s4al.scorer.engines.trt_engine import TrtEngine

    device = CudaDevice(find_gpu())
    engine = TrtEngine(plan, card, device, batch_size=batch, threads=1, provider="")
    image_NHWC = np.random.default_rng(0).integers(0, 256, (batch, card.height, card.width, 3), np.uint8)
    with torch.inference_mode():
        expected = net.to(bench.device)(torch.from_numpy(image_NHWC).to(bench.device)).float().cpu().numpy()
    logits = [engine.run(image_NHWC).astype(np.float32), expected]
    scores = [region_scores(np.ascontiguousarray(each), **card.geometry) for each in logits]
    return {"images_per_s": network_rate(engine), "against_torch": _difference(logits, scores)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("kernel", "network", "pool", "parity", "tensorrt"))
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, at toy size")
    parser.add_argument("--data", type=Path, help="CamVid, for the part parity")
    parser.add_argument("--images", type=int, default=5000, help="of the pool")
    parser.add_argument("--out", type=Path, default=None, help="where the JSON goes")
    arguments = parser.parse_args()
    bench = Bench(arguments.dry_run)
    results = {
        "kernel": lambda: kernel(bench),
        "network": lambda: network(bench),
        "pool": lambda: pool(bench, arguments.images),
        "parity": lambda: parity(bench, arguments.data),
        "tensorrt": lambda: tensorrt(bench),
    }[arguments.part]()
    results["dry_run"] = arguments.dry_run
    results["cpus"] = len(os.sched_getaffinity(0))
    print(record(f"gpu_{arguments.part}", results, folder=arguments.out))


if __name__ == "__main__":
    main()
