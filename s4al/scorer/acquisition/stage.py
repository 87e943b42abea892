"""The select stage: score shards -> `cycles/NNN/select/selections.parquet`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from s4al import files
from s4al.config import Metric, Strategy
from s4al.errors import RunStateError
from s4al.run.state import Run
from s4al.scorer.acquisition.candidate_features import CandidateFeatures
from s4al.scorer.acquisition.class_rules import noise_beta
from s4al.scorer.acquisition.selection import Candidates, Choice, find_candidates, sample_images, select
from s4al.scorer.acquisition.spread import Spread
from s4al.scorer.acquisition.table import BOX
from s4al.scorer.engines.engine import EngineRequest
from s4al.watch import Watch

if TYPE_CHECKING:
    import pyarrow as pa

SELECTIONS = "selections.parquet"


@dataclass(frozen=True)
class SelectResult:
    """What `s4al select --json` prints."""

    regions: int
    images: int
    pixels: int
    strategy: str
    metric: str
    out: Path


def select_cycle(
    run: Run,
    cycle: int,
    *,
    strategy: Strategy | None = None,
    metric: Metric | None = None,
    regions_per_image: int | None = None,
    budget_pixels: int | None = None,
    request: EngineRequest | None = None,
    watch: Watch,
) -> SelectResult:
    """Choose the regions to ask for next and commit them; None takes the run's setting.

    selections.parquet has `image, region, y0, x0, y1, x1` (original pixels), `score` (the metric's), `rank` and
    `reason`, in the order of choice: by image, or as the strategy took them from the whole pool.

    Parameters
    ----------
    request : its networks are needed where the strategy is k-centre, and run on its device.

    Raises
    ------
    RunStateError : the cycle is not scored, or has selected already with other settings.
    StorageError; Interrupted while features are computed, nothing kept.
    """
    settings = run.config.acquisition
    chosen_by: dict[str, Any] = {
        "strategy": strategy or settings.strategy,
        "metric": metric or settings.metric,
        "regions_per_image": settings.regions_per_image if regions_per_image is None else regions_per_image,
        "budget_pixels": settings.budget_pixels if budget_pixels is None else budget_pixels,
        "most_per_image": settings.most_per_image,
        "min_distance": settings.min_distance,
        "candidate_fraction": settings.candidate_fraction,
    }
    if chosen_by["strategy"] == "k-centre":
        chosen_by["shortlist"] = settings.shortlist
    if run.is_committed(cycle, "select"):
        return _committed_result(run, cycle, chosen_by)
    started = time.monotonic()
    scores = run.read_stage(cycle, "score")
    check_metric(scores, chosen_by["metric"])
    columns = ["image", "region", *BOX, "least_confidence", "labelled", "predicted"]
    columns += {chosen_by["metric"]} - {"least_confidence"}
    candidates = find_candidates(
        (files.read_table(path, columns) for path in sorted(scores.glob("shard-*.parquet"))),
        chosen_by["metric"],
        run.grid.ring() if settings.exclude_ring else None,
        best_of_image=_quota(chosen_by),
    )
    candidates = sample_images(candidates, settings.candidate_fraction, (run.config.run.seed, cycle))
    beta = noise_beta(cycle, run.config.run.cycles)
    choice = select(
        candidates,
        chosen_by["strategy"],
        regions_per_image=chosen_by["regions_per_image"],
        budget_pixels=chosen_by["budget_pixels"],
        seed=(run.config.run.seed, cycle),
        spread=Spread(chosen_by["most_per_image"], chosen_by["min_distance"], run.grid.cols),
        beta=beta,
        features=CandidateFeatures(run, cycle, candidates, request or EngineRequest(), watch),
        shortlist=settings.shortlist,
    )
    _say_if_little_is_left(candidates, choice, chosen_by, watch)
    # Recorded, not compared: the number of cycles, which it goes by, may have grown since.
    noise = {"noise_beta": beta} if chosen_by["strategy"] == "class-quota" else {}
    with run.commit(cycle, "select", **chosen_by, **noise) as folder:
        table = _table(candidates, choice, _reasons(run.classes(cycle).names, candidates, choice, chosen_by))
        files.write_table(folder / SELECTIONS, table)
    run.add_seconds(cycle, "select", time.monotonic() - started)
    return _result(run, cycle, table, chosen_by)


def check_metric(scores: Path, metric: Metric) -> None:
    """Raises RunStateError where the images were not scored by this metric."""
    import pyarrow.parquet as pq

    tables = (path for path in sorted(scores.glob("*.parquet")) if path.name != "quarantine.parquet")
    if metric not in pq.read_schema(next(tables)).names:
        raise RunStateError(
            f"{scores} holds no {metric}, for which more has to be computed while the pool is scored.",
            kept="The scores are unchanged.",
            remedy=f"Make a new run with acquisition.metric={metric}.",
        )


def _quota(chosen_by: dict[str, Any]) -> int | None:
    """How many regions of an image can be chosen at most, where that is known beforehand."""
    by_quota = chosen_by["strategy"] == "per-image" and not chosen_by["min_distance"]
    return chosen_by["regions_per_image"] if by_quota else None


def _committed_result(run: Run, cycle: int, chosen_by: dict[str, Any]) -> SelectResult:
    folder = run.read_stage(cycle, "select")
    found = files.read_manifest(folder)
    different = [
        f"{key} {found[key]!r}, not {value!r}"
        for key, value in chosen_by.items()
        if key in found and found[key] != value  # a setting of one strategy alone is told by the strategy
    ]
    if different:
        raise RunStateError(
            f"Cycle {cycle} has selected its regions already, with {'; '.join(different)}.",
            kept="Its selections are unchanged.",
            remedy=f"If nobody has labelled them yet, delete {folder} and run the same command.",
        )
    return _result(run, cycle, files.read_table(folder / SELECTIONS), chosen_by)


def _say_if_little_is_left(candidates: Candidates, choice: Choice, chosen_by: dict[str, Any], watch: Watch) -> None:
    if not len(candidates):
        if chosen_by["regions_per_image"]:
            watch.note("No region is left to ask for: everything that may be asked is labelled.")
    elif chosen_by["strategy"] != "per-image" and len(choice.index_K) == len(candidates):
        watch.note(f"The budget covers all {len(candidates):,} regions that are left; all of them are asked for.")
    elif chosen_by["strategy"] == "per-image" and chosen_by["budget_pixels"]:
        watch.note("The strategy per-image goes by regions_per_image; budget_pixels is not used.")
    elif chosen_by["strategy"] == "class-quota" and len(choice.index_K) and not choice.for_class_K.any():
        watch.note("No class's part of the budget is as large as a region; all regions are the best of the whole pool.")
    undecided = 0 if chosen_by["strategy"] == "random" else int((candidates.score_M[choice.index_K] == 0).sum())
    if undecided:
        watch.note(
            f"{undecided:,} of the {len(choice.index_K):,} regions chosen have a {chosen_by['metric']} of 0, which "
            "says nothing about which of them are worth more."
        )


def _reasons(names: Sequence[str], candidates: Candidates, choice: Choice, chosen_by: dict[str, Any]) -> list[str]:
    strategy = chosen_by["strategy"]
    if strategy == "random":
        return ["random"] * len(choice.index_K)
    metric = f"{chosen_by['metric']}{' with noise' if strategy == 'class-quota' else ''}"
    others = f"highest {metric} of {'its image' if strategy == 'per-image' else 'the pool'}"
    if strategy == "k-centre":
        others = f"unlike the others among the highest {metric} of the pool"
    return [
        f"highest {metric} of regions predicted as {names[predicted]}" if for_class else others
        for predicted, for_class in zip(candidates.predicted_M[choice.index_K], choice.for_class_K, strict=True)
    ]


def _table(candidates: Candidates, choice: Choice, reasons: list[str]) -> pa.Table:
    import pyarrow as pa

    indices = choice.index_K
    images = [candidates.images[image] for image in candidates.image_M[indices]]
    columns = {"image": pa.array(images, pa.string()), "region": pa.array(candidates.region_M[indices], pa.int32())}
    columns |= {name: pa.array(candidates.box_M4[indices, axis], pa.int32()) for axis, name in enumerate(BOX)}
    columns["score"] = pa.array(candidates.score_M[indices], pa.float32())
    columns["rank"] = pa.array(choice.rank_K, pa.int32())
    columns["reason"] = pa.array(reasons, pa.string())
    return pa.table(columns)


def _result(run: Run, cycle: int, table: pa.Table, chosen_by: dict[str, Any]) -> SelectResult:
    y0, x0, y1, x1 = (table[name].to_numpy().astype(np.int64) for name in BOX)
    return SelectResult(
        regions=table.num_rows,
        images=len(set(table["image"].to_pylist())),
        pixels=int(((y1 - y0) * (x1 - x0)).sum()),
        strategy=chosen_by["strategy"],
        metric=chosen_by["metric"],
        out=run.stage(cycle, "select") / SELECTIONS,
    )
