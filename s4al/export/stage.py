"""The export stage: checkpoint -> gate -> `cycles/NNN/export/`, and a file on request."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.data.cache import ImageCache
from s4al.export.onnx_export import Precision, export_onnx
from s4al.export.parity import Parity, check_parity, measure_parity, report
from s4al.export.scoring_network import ScoringNetwork, scoring_network
from s4al.run.state import Run
from s4al.scorer.acquisition.selection import kernel_metric
from s4al.scorer.engines.cpu_engines import OrtEngine, TorchEngine
from s4al.scorer.engines.engine import Engine, available_cores
from s4al.scorer.engines.model_card import ModelCard
from s4al.trainer.checkpoint import tested_file
from s4al.watch import Watch

MODEL, PARITY = "model.onnx", "parity.json"


@dataclass(frozen=True)
class ExportResult:
    path: Path
    parity: Parity
    bytes: int
    seconds: float


def export_cycle(run: Run, cycle: int, *, watch: Watch) -> Path:
    """Export the network of a cycle and commit `export/{model.onnx, parity.json}`; nothing to do where it is committed.

    Returns the model's path.

    Raises
    ------
    EngineError : torch cannot export the network, or the exported one disagrees with it.
    RunStateError, StorageError.
    """
    folder = run.stage(cycle, "export")
    if run.is_committed(cycle, "export"):
        return folder / MODEL
    watch.progress(f"cycle {cycle} export", 0, 2)
    network = scoring_network(run, cycle)
    card = make_card(run, cycle, network)
    model = export_onnx(network, card)
    watch.progress(f"cycle {cycle} export", 1, 2)
    parity, ids, engine = _gate(run, network, card, model, "fp32")
    with run.commit(cycle, "export") as temporary:
        (temporary / MODEL).write_bytes(model)
        (temporary / PARITY).write_bytes(files.json_bytes(report(parity, run.config.export, ids, engine)))
    watch.progress(f"cycle {cycle} export", 2, 2)
    return folder / MODEL


def export_file(run: Run, cycle: int, *, precision: Precision, out: Path, watch: Watch) -> ExportResult:
    """Write the network of a trained cycle to `out`, in either precision, through the same gate.

    Raises
    ------
    EngineError : torch cannot export the network, or the exported one disagrees with it.
    RunStateError, StorageError.
    """
    started = time.monotonic()
    network = scoring_network(run, cycle)
    card = make_card(run, cycle, network)
    model = export_onnx(network, card, precision)
    parity, _, _ = _gate(run, network, card, model, precision)
    with files.storage_errors(f"writing {out}", kept="The run is unchanged."):
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(out, model)
    return ExportResult(out, parity, len(model), time.monotonic() - started)


def make_card(run: Run, cycle: int, network: ScoringNetwork) -> ModelCard:
    """What the exported file says about itself. Raises RunStateError where the cycle is not trained."""
    grid, manifest = run.grid, files.read_manifest(run.stage(cycle, "train"))
    file = tested_file(run.config)
    weights = [entry["sha256"] for name, entry in sorted(manifest["files"].items()) if Path(name).name == file]
    return ModelCard(
        class_names=run.classes(cycle).names,
        height=grid.height,
        width=grid.width,
        region_height=grid.region_height,
        region_width=grid.region_width,
        stride=network.stride,
        align_corners=network.align_corners,
        run=manifest["config"],
        cycle=cycle,
        weights_sha256=weights[-1],
    )


def _gate(
    run: Run, network: ScoringNetwork, card: ModelCard, model: bytes, precision: Precision
) -> tuple[Parity, list[str], OrtEngine]:
    candidate = OrtEngine(model, card, batch_size=1, threads=run.config.scorer.threads or available_cores())
    parity, ids = measure_on_probes(run, network, candidate)
    remedy = "Use --precision fp32." if precision == "fp16" else ""
    check_parity(parity, run.config.export, f"The exported {precision} model", remedy)
    return parity, ids, candidate


def measure_on_probes(run: Run, network: ScoringNetwork, candidate: Engine) -> tuple[Parity, list[str]]:
    """Compare an engine with the network in torch (float32, CPU) on training images; returns their ids as well."""
    reference = TorchEngine(lambda: network, candidate.card, batch_size=1, threads=candidate.threads)
    with ImageCache.open(run.cache / "train") as cache:
        indices = probe_rows(len(cache), run.config.export.probe_images)
        images = (cache.read(int(index)) for index in indices)
        acquisition = run.config.acquisition
        parity = measure_parity(
            reference,
            candidate,
            images,
            metric=kernel_metric(acquisition.metric),
            pooling=acquisition.pooling,
            top_k=acquisition.regions_per_image,
        )
        return parity, [cache.ids[index] for index in indices]


def probe_rows(count: int, wanted: int) -> NDArray[np.int64]:
    """Up to `wanted` rows of `count`, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(np.int64))
