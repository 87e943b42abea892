"""`s4al train`: every cycle that is left, stage by stage; each stage commits one folder and is skipped when it has.

Under torchrun all processes train together; everything else is done by rank 0 while the others wait.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4al import config as settings
from s4al import files
from s4al.cli import comparisons
from s4al.cli.asking import ask_people, check_answered, starts_from_nothing
from s4al.cli.new_run import Wanted, new_settings, settings_again
from s4al.cli.reporting import report_after_cycle
from s4al.errors import DataError
from s4al.packaged_weights import check_weights
from s4al.report.tracking import check_tracking
from s4al.run.classes import CLASSES_FILE, Classes, write_classes
from s4al.run.machine import describe_machine
from s4al.run.state import STAGES, Run
from s4al.watch import Watch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from s4al.data import Dataset, Pool


def run_cycles(
    root: Path,
    *,
    preset: str | None = None,
    config_file: Path | None = None,
    data: Path | None = None,
    cycles: int | None = None,
    engine: str | None = None,
    device: str = "auto",
    overrides: tuple[str, ...] = (),
    watch: Watch,
) -> dict[str, Any]:
    """Make or continue the run at `root` and take it to its last cycle.

    Returns
    -------
    `{"run", "cycles": [...], ...}`, see `summary`.

    Raises
    ------
    AnnotationsNeeded : people have to label the selected regions (data.oracle="people").
    S4alError : as the stages do; Interrupted on a stop request.
    """
    wanted = Wanted(preset, config_file, _overrides(data, cycles, engine, overrides), device)
    if os.environ.get("RANK", "0") != "0":
        return _join(root, wanted, watch)
    run = _open_or_create(root, wanted, watch)
    check_tracking(run.config)
    with files.run_lock(run.root, "train"):
        _replace_settings(run, watch)
        _tidy(run, watch)
        check_answered(run)
        if _is_finished(run):
            watch.note(f"{run.root} is finished: {run.config.run.cycles} cycles. More with --cycles N")
            return summary(run)
        watch.note(f"Run {run.root}: {run.config.run.cycles} cycles. Loading torch.")
        from s4al.trainer.distributed import launch_fabric

        fabric = launch_fabric(device, run.config.trainer.precision)
        pool, dataset = prepare_pool(run, watch)
        files.write_json(run.logs / "machine.json", describe_machine())
        fabric.barrier()
        _run_cycles(run, pool, dataset, fabric, device, watch)
        if run.config.run.random_regions or run.config.run.full_supervision:
            report_after_cycle(run, watch)  # which has comparisons now
    return summary(run)


def _join(root: Path, wanted: Wanted, watch: Watch) -> dict[str, Any]:
    """What the processes of torchrun other than rank 0 do: train. The run may not exist yet when they start."""
    config = _config(root, wanted, Watch())  # of this command: it may ask for more cycles than the run had
    if Run.exists(root) and _is_finished(Run(root, config)):
        return summary(Run(root, config))
    from s4al.data import load_pool
    from s4al.trainer.distributed import launch_fabric

    fabric = launch_fabric(wanted.device, config.trainer.precision)
    fabric.barrier()
    run = Run(root, config)  # which is there by now
    _run_cycles(run, load_pool(run.pool_file), None, fabric, wanted.device, watch)
    return summary(run)


def _overrides(
    data: Path | None, cycles: int | None, engine: str | None, overrides: tuple[str, ...]
) -> tuple[str, ...]:
    given = list(overrides)
    if data is not None:
        given.append(f"data.root={json.dumps(str(data.expanduser().resolve()), ensure_ascii=False)}")
    if cycles is not None:
        given.append(f"run.cycles={cycles}")
    if engine is not None:
        given.append(f"scorer.engine={engine}")
    return tuple(given)


def _config(root: Path, wanted: Wanted, watch: Watch) -> settings.Config:
    """The settings with which the command makes the run, or goes on with it."""
    if not Run.exists(root):
        return new_settings(wanted, watch)
    run = Run.open(root)
    if not wanted.says_where_to_start or (wanted.only_says_where_the_data_are and not run.is_empty):
        return settings.set_values(run.config, wanted.overrides)
    return new_settings(wanted, watch) if run.is_empty else settings_again(wanted, run.config)


def _open_or_create(root: Path, wanted: Wanted, watch: Watch) -> Run:
    config = _config(root, wanted, watch)
    if Run.exists(root):
        return Run.open(root).continued_with(config)
    if not config.model.name.startswith("smp:"):
        check_weights(config.model.backbone, config.model.weights)
    return Run.create(root, config)


def _replace_settings(run: Run, watch: Watch) -> None:
    different = run.store_settings()
    if different:
        watch.note(f"{run.root} was begun with other settings; nothing was committed, so they are replaced.")


def _tidy(run: Run, watch: Watch) -> None:
    with files.storage_errors(f"removing leftovers in {run.root}"):
        removed = files.remove_leftovers(run.root)
        run.remove_finished_work()
    if removed:
        watch.note(f"An unfinished write was removed ({removed[0]}{' and others' if len(removed) > 1 else ''}).")


def _is_finished(run: Run) -> bool:
    cycles = range(run.config.run.cycles)
    done = all(run.is_committed(cycle, stage) for cycle in cycles for stage in STAGES)
    wanted = run.config.run
    return (
        done
        and not (wanted.full_supervision and comparisons.full_miou(run) is None)
        and not (wanted.random_regions and comparisons.random_miou(run) is None)
    )


def prepare_pool(run: Run, watch: Watch) -> tuple[Pool, Dataset]:
    """Read every image and mask once, or check that they are still the same. Raises DataError, StorageError."""
    from s4al.data import load_pool, open_dataset, verify_sources

    if not run.pool_file.is_file():
        dataset = open_dataset(run.config, run.scenes, progress=watch.step)
        _ingest(run, dataset, watch)
        pool = load_pool(run.pool_file)
        if pool.quarantined:
            first = pool.quarantined[0]
            watch.note(f"{len(pool.quarantined)} of {len(pool.rows)} images set aside: {first.reason}")
    pool = load_pool(run.pool_file)
    run.logs.mkdir(exist_ok=True)
    data, memory = run.config.data, run.logs / "sources.json"
    masks_are_files = bool(data.root) and data.adapter != "coco"
    if masks_are_files:
        # Before the folder is listed again: a missing file is then a changed run, not a strange data set.
        verify_sources(pool, Path(data.root), memory)
    dataset = open_dataset(run.config, run.scenes, progress=watch.step)
    if not masks_are_files:  # they were rendered, and are again where they are gone
        verify_sources(pool, dataset.root, memory, dataset.masks_root)
    if not files.is_whole(run.cache):
        watch.note(f"{run.cache} is not whole: it is made again from the images.")
        _ingest(run, dataset, watch, pool)
    return pool, dataset


def _ingest(run: Run, dataset: Dataset, watch: Watch, known: Pool | None = None) -> None:
    """Commit `cache/`, `classes.json` and, last and as the mark that all is there, `pool.parquet`.

    Where the pool is `known`, only `cache/` is made again. Raises DataError where the images give another pool.
    """
    from s4al.data import POOL_FILE
    from s4al.data.ingest import ingest

    def progress(split: str, done: int, total: int) -> None:
        watch.step(f"read {split}", done, total)

    temporary = run.root / f"{files.TEMPORARY}ingest"
    classes = Classes(dataset.class_names, dataset.palette)
    with files.storage_errors(f"reading the data set into {run.root}", kept=""):
        try:
            shutil.rmtree(run.cache, ignore_errors=True)
            pool = ingest(dataset, run.config, temporary, progress, run.root / "faults.csv")
            if known is not None and pool.digest != known.digest:
                raise DataError(
                    f"The images of {run.root} are not as when it began.",
                    kept="Everything committed before is safe.",
                    remedy="Restore the files, or start a new run.",
                )
            if known is None:
                write_classes(run.root / CLASSES_FILE, classes)
            files.seal_folder(temporary / "cache", run.cache)
            if known is None:
                files.write_atomic(run.pool_file, (temporary / POOL_FILE).read_bytes())
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _run_cycles(
    run: Run,
    pool: Pool,
    dataset: Dataset | None,
    fabric: Fabric,
    device: str,
    watch: Watch,
    *,
    to_its_training: bool = False,
) -> None:
    """All stages of all cycles; `dataset` is None in the processes that only train.

    With `to_its_training` the last cycle ends there: what nobody will ask needs no scores.
    """
    from s4al.trainer import train_cycle

    for cycle in range(run.config.run.cycles):
        if dataset is not None:
            _label(run, cycle, pool, dataset, device, watch)
        fabric.barrier()
        if not run.is_committed(cycle, "train"):
            fabric.barrier()  # no process may look before all have: the commit at the end would answer for it
            train_cycle(run, cycle, pool, fabric=fabric, watch=watch)
        if dataset is not None and not (to_its_training and cycle == run.config.run.cycles - 1):
            finished = run.is_committed(cycle, "select")
            _after_training(run, cycle, device, watch)
            if not (finished or to_its_training):
                report_after_cycle(run, watch)
        fabric.barrier()
    if run.config.run.random_regions:
        random = comparisons.random_run(run)
        if dataset is not None:
            comparisons.begin_random(run, random, watch)
        fabric.barrier()
        _run_cycles(random, pool, dataset, fabric, device, watch, to_its_training=True)
    if run.config.run.full_supervision:
        _train_fully_supervised(run, pool, dataset, fabric, watch)


def _train_fully_supervised(run: Run, pool: Pool, dataset: Dataset | None, fabric: Fabric, watch: Watch) -> None:
    from s4al.trainer import train_cycle

    full = comparisons.full_run(run)
    if dataset is not None:
        comparisons.begin_full(run, full, pool, dataset, watch)
    fabric.barrier()
    if not full.is_committed(0, "train"):
        fabric.barrier()
        train_cycle(full, 0, pool, fabric=fabric, watch=watch)


def _label(run: Run, cycle: int, pool: Pool, dataset: Dataset, device: str, watch: Watch) -> None:
    from s4al.run.labelling import ask_oracle, describe_start, label_initial_images

    if run.is_committed(cycle, "labels"):
        return
    watch.stop_here()
    if cycle == 0 and not starts_from_nothing(run, pool):
        pixels_C = label_initial_images(run, pool, dataset)
        for line in describe_start(run, pool, pixels_C):
            watch.note(line)
    elif run.config.data.oracle == "masks":
        ask_oracle(run, cycle, pool, dataset)
    else:
        ask_people(run, cycle, pool, device, watch)


def _after_training(run: Run, cycle: int, device: str, watch: Watch) -> None:
    from s4al.export import CycleNetworks
    from s4al.export.stage import export_cycle
    from s4al.scorer import EngineRequest, score_cycle, select_cycle

    if not run.is_committed(cycle, "export"):
        watch.stop_here()
        started = time.monotonic()
        export_cycle(run, cycle, watch=watch)
        run.add_seconds(cycle, "export", time.monotonic() - started)
    request = EngineRequest(device=device, networks=CycleNetworks(run, cycle))
    if not (run.is_committed(cycle, "score") and run.is_committed(cycle, "pseudo")):
        watch.stop_here()
        score_cycle(run, cycle, request, watch=watch)
    if not run.is_committed(cycle, "select"):
        watch.stop_here()
        select_cycle(run, cycle, request=request, watch=watch)


def summary(run: Run) -> dict[str, Any]:
    """What `train --json` prints: one entry for every cycle that is trained."""
    from s4al.annotate.ledger import people_of_run
    from s4al.data import load_pool

    pool = load_pool(run.pool_file)
    clock = run.clock()
    cycles = []
    for cycle in range(run.last_cycle("train") + 1):
        ledger = run.ledger(cycle, pool)
        evaluation = json.loads(run.committed_file(cycle, "train", "evaluation.json").read_bytes())
        scored = clock.get(f"{cycle:03d}/score", {})
        cycles.append(
            {
                "cycle": cycle,
                "labelled_fraction": ledger.labelled_fraction,
                "labelled_pixels": ledger.labelled_pixels,
                "regions": ledger.regions,
                "seconds": ledger.seconds,
                "people": people_of_run(run, cycle),
                **comparisons.cycle_test(run, cycle),
                "per_class_iou": {name: evaluation["per_class_iou"][name] for name in run.classes(cycle).names},
                "train_s": round(clock.get(f"{cycle:03d}/train", {}).get("seconds", 0.0), 1),
                "score_images_per_s": scored.get("images_per_s"),
                "engine": scored.get("engine"),
            }
        )
    return {
        "run": str(run.root),
        "total_pixels": run.ledger(0, pool).total_pixels if cycles else 0,
        "full_supervision_miou": comparisons.full_miou(run),
        "random_regions_miou": comparisons.random_miou(run),
        "cycles": cycles,
    }
