"""Single stages on request: which cycle, the run's lock, and the result as plain values for `--json`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4al import files
from s4al.config import EngineName, Metric
from s4al.errors import ConfigError, RunStateError
from s4al.run.state import Run
from s4al.watch import Watch

if TYPE_CHECKING:
    from s4al.export.onnx_export import Precision
    from s4al.export.stage import ExportResult
    from s4al.export.trt_plan import OpenedPlan

_HARDEST = 5  # regions that `score` names


def score(
    root: Path,
    *,
    cycle: int | None,
    engine: EngineName | None,
    images: Path | None,
    out: Path | None,
    metric: Metric | None,
    device: str,
    watch: Watch,
) -> dict[str, Any]:
    """Score the pool into the run (and, with `out`, a copy in one file), or another folder of images into `out`.

    Returns
    -------
    `{"images", "quarantined", "seconds", "images_per_s", "engine", "provider", "out", "metric", "hardest"}`; `hardest`
    are the regions that score highest by `metric`, which is the run's where it is None.

    Raises
    ------
    DataError, EngineError, NumericsError, RunStateError, StorageError.
    """
    from s4al.export import CycleNetworks
    from s4al.scorer import EngineRequest, score_cycle

    run = Run.open(root)
    number = _newest(run, cycle, "export")
    request = EngineRequest(engine, device, CycleNetworks(run, number))
    if images is None:
        with files.run_lock(root, "score"):
            result = _plain(score_cycle(run, number, request, watch=watch))
        if out is not None:
            _copy_scores(Path(result["out"]), out)
            result["out"] = str(out)
    else:
        from s4al.scorer.cycle import open_run_engine
        from s4al.scorer.folder import score_folder

        target = out or root / "scored" / f"{images.resolve().name}-cycle-{number:03d}"
        with _locked_if_inside(root, out, "score"):
            opened = open_run_engine(run, number, request, watch=watch)
            limit, values = run.config.data.max_megapixels, run.config.data.value_range
            result = _plain(score_folder(images, opened, target, max_megapixels=limit, value_range=values, watch=watch))
    from s4al.scorer.acquisition.selection import kernel_metric
    from s4al.scorer.acquisition.stage import check_metric

    by = metric or run.config.acquisition.metric
    if images is None or metric:
        check_metric(Path(result["out"]), by)
    else:
        by = kernel_metric(by)
    return {**result, "metric": by, "hardest": _hardest(Path(result["out"]), by)}


def predict(
    root: Path,
    *,
    images: Path,
    out: Path | None,
    cycle: int | None,
    engine: EngineName | None,
    device: str,
    overlays: bool,
    watch: Watch,
) -> dict[str, Any]:
    """Write the masks of a folder of images into `out`, or into the run.

    Returns
    -------
    `{"run", "cycle", "images", "quarantined", "seconds", "images_per_s", "engine", "provider", "classes", "out"}`.

    Raises
    ------
    ConfigError, DataError, EngineError, NumericsError, RunStateError, StorageError.
    """
    from s4al.export import CycleNetworks
    from s4al.scorer import EngineRequest
    from s4al.scorer.cycle import open_run_engine
    from s4al.scorer.predict import check_place, predict_folder

    run = Run.open(root)
    number = _newest(run, cycle, "export")
    target = out or root / "predicted" / f"{images.resolve().name}-cycle-{number:03d}"
    check_place(images, target)  # before an engine is opened, which may take minutes
    with _locked_if_inside(root, out, "predict"):
        opened = open_run_engine(run, number, EngineRequest(engine, device, CycleNetworks(run, number)), watch=watch)
        result = predict_folder(
            images,
            opened,
            target,
            palette=run.classes(number).palette,
            max_megapixels=run.config.data.max_megapixels,
            value_range=run.config.data.value_range,
            overlays=overlays,
            watch=watch,
        )
    return {"run": str(root), "cycle": number, **_plain(result)}


def select(root: Path, *, cycle: int | None, watch: Watch, **settings: Any) -> dict[str, Any]:
    """Commit the selections of a cycle; settings that are None are the run's. Raises RunStateError, StorageError."""
    from s4al.export import CycleNetworks
    from s4al.scorer import EngineRequest, select_cycle

    run = Run.open(root)
    number = _newest(run, cycle, "score")
    request = EngineRequest(networks=CycleNetworks(run, number))
    with files.run_lock(root, "select"):
        return _plain(select_cycle(run, number, **settings, request=request, watch=watch))


def export(
    root: Path, *, cycle: int | None, format: str, precision: Precision | None, out: Path | None, watch: Watch
) -> dict[str, Any]:
    """Write the network of a cycle as one ONNX file, or have its TensorRT plan in this machine's cache.

    Raises EngineError, RunStateError, StorageError; ConfigError where a plan is to go anywhere else.
    """
    if format == "trt" and out is not None:
        raise ConfigError(
            "A TensorRT plan is kept in this machine's cache: no other machine may load it.",
            remedy="Leave out --out, or use --format onnx.",
        )
    run = Run.open(root)
    number = _newest(run, cycle, "train")
    if format == "trt":
        return _export_plan(run, number, precision or "fp16", watch)
    from s4al.export.stage import export_file

    precision = precision or "fp32"
    target = out or root / "exported" / f"cycle-{number:03d}-{precision}.onnx"
    with _locked_if_inside(root, out, "export"):
        result = export_file(run, number, precision=precision, out=target, watch=watch)
    return _exported(number, precision, result)


def _export_plan(run: Run, cycle: int, precision: Precision, watch: Watch) -> dict[str, Any]:
    from s4al.export.trt_plan import build_plan

    result = build_plan(run, cycle, precision=precision, watch=watch)
    engine = result.engine
    return {
        **_exported(cycle, precision, result),
        "provider": engine.provider,
        "batch_size": engine.batch_size,
        "passed_over": list(engine.passed_over),
    }


def _exported(cycle: int, precision: Precision, result: ExportResult | OpenedPlan) -> dict[str, Any]:
    return {
        "cycle": cycle,
        "precision": precision,
        "out": str(result.path),
        "bytes": result.bytes,
        "seconds": result.seconds,
        "parity": asdict(result.parity),
    }


def profile(root: Path, *, engines: Sequence[EngineName], images: int | None, watch: Watch) -> dict[str, Any]:
    """Time scoring on the newest exported network; writes a trace into `logs/`. Raises EngineError, RunStateError."""
    from s4al.export import CycleNetworks
    from s4al.scorer.profile.profile import profile_run

    run = Run.open(root)
    cycle = _newest(run, None, "export")
    return profile_run(
        run,
        cycle,
        CycleNetworks(run, cycle),
        engines=engines,
        images=images,
        trace=run.logs / "profile-trace.json",
        decode=_decoder(run),
        watch=watch,
    )


def _decoder(run: Run) -> Callable[[int], object]:
    """Decodes the n-th training image as `ingest` does. Raises DataError, OSError."""
    from s4al.data import load_pool
    from s4al.data.images import read_image, resize_image

    data, rows = run.config.data, load_pool(run.pool_file).train.rows
    root = Path(data.root) if data.root else run.scenes

    def decode(index: int) -> object:
        row = rows[index]
        pixels = read_image(
            root / row.image,
            max_megapixels=data.max_megapixels,
            value_range=data.value_range,
            mask_size=(row.height, row.width) if row.mask else None,
        )
        return resize_image(pixels, data.height, data.width)

    return decode


def _newest(run: Run, cycle: int | None, stage: str) -> int:
    """The cycle that was asked for, or the newest that has `stage`. Raises RunStateError where there is none."""
    number = run.last_cycle(stage) if cycle is None else cycle
    if number < 0 or not run.is_committed(number, stage):
        which = f"Cycle {number} of {run.root}" if number >= 0 else f"The run {run.root}"
        raise RunStateError(f"{which} has no {stage} stage yet.", remedy=f"Run: s4al train {run.root}")
    return number


def _locked_if_inside(root: Path, out: Path | None, command: str) -> contextlib.AbstractContextManager[None]:
    """The run's lock where the result goes into the run; elsewhere it may be written beside a training."""
    return files.run_lock(root, command) if out is None else contextlib.nullcontext()


def _score_files(folder: Path) -> list[Path]:
    """Of a run's `score/` (shards) or of a scored folder (one file)."""
    return sorted(folder.glob("shard-*.parquet")) or [folder / "scores.parquet"]


def _copy_scores(folder: Path, out: Path) -> None:
    """Commit `out`/{scores.parquet, quarantine.parquet}: the shards of a run's score stage in one file."""
    if out.exists():
        raise RunStateError(f"{out} exists.", kept="The scores are in the run.", remedy="Name a new folder with --out.")
    with files.storage_errors(f"writing {out}", kept="The scores are in the run."):
        about = {"copy_of": files.manifest_digest(folder)}
        with files.commit_folder(out, about) as temporary:
            _join_tables(_score_files(folder), temporary / "scores.parquet")
            files.write_table(temporary / "quarantine.parquet", files.read_table(folder / "quarantine.parquet"))


def _join_tables(sources: Sequence[Path], target: Path) -> None:
    """One Parquet file out of several, a source at a time."""
    import pyarrow.parquet as pq

    schema = files.read_table(sources[0]).schema
    with pq.ParquetWriter(target, schema, compression="zstd", write_page_checksum=True) as writer:
        for source in sources:
            writer.write_table(files.read_table(source))


def _hardest(folder: Path, metric: Metric) -> list[dict[str, Any]]:
    """The regions with the highest scores, `{"image", "region", metric}`; equal scores by image and region."""
    best: list[dict[str, Any]] = []
    for rows in _top_rows(folder, metric):
        best = sorted(best + rows, key=lambda row: (-row[metric], row["image"], row["region"]))[:_HARDEST]
    return best


def _top_rows(folder: Path, metric: Metric) -> Iterator[list[dict[str, Any]]]:
    order = [(metric, "descending"), ("image", "ascending"), ("region", "ascending")]
    for path in _score_files(folder):
        yield files.read_table(path, ["image", "region", metric]).sort_by(order).slice(0, _HARDEST).to_pylist()


def _plain(result: Any) -> dict[str, Any]:
    """A result's fields, paths as text."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(result).items()}
