"""The gate between the trained network and what was exported: both run on real images, and what matters is compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.config import ExportConfig, Metric, Pooling
from s4al.errors import EngineError
from s4al.scorer.engines.engine import Engine


@dataclass(frozen=True)
class Parity:
    """How far two engines are apart over the probe images; maxima over all of them, means where said."""

    images: int
    max_logit_difference: float
    max_entropy_error: float  # nats, of a region's score
    label_agreement: float  # share of pixels, mean
    topk_overlap: float  # share of the regions that would be asked for, mean over the images


def measure_parity(
    reference: Engine,
    candidate: Engine,
    images: Iterable[NDArray[np.uint8]],
    *,
    metric: Metric,
    pooling: Pooling = "mean",
    top_k: int,
) -> Parity:
    """Compare two engines of the same card, image by image, whatever their batch sizes.

    Parameters
    ----------
    images : uint8 (H, W, 3), one or more.
    pooling : of a region's pixels, as the pool's are: a maximum shows an error of one pixel undiluted.
    top_k : regions that would be asked for in an image; 0 counts as full overlap.
    """
    from s4al.kernels import region_scores

    card = candidate.card
    rows: list[tuple[float, float, float, float]] = []
    for image_HWC in images:
        logits = [_run_one(engine, image_HWC) for engine in (reference, candidate)]
        scores = [
            region_scores(
                np.ascontiguousarray(each),
                **card.geometry,
                pooling=pooling,
            )
            for each in logits
        ]
        metric_R = [getattr(each, f"{metric}_NR")[0] for each in scores]
        rows.append(
            (
                float(np.abs(logits[0].astype(np.float64) - logits[1]).max()),
                float(np.abs(scores[0].entropy_NR.astype(np.float64) - scores[1].entropy_NR).max()),
                float((scores[0].label_NHW == scores[1].label_NHW).mean()),
                overlap(metric_R[0], metric_R[1], top_k),
            )
        )
    assert rows, "parity needs at least one image"
    logit, entropy, labels, topk = np.array(rows).T
    return Parity(len(rows), float(logit.max()), float(entropy.max()), float(labels.mean()), float(topk.mean()))


def _run_one(engine: Engine, image_HWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
    """(1, C, h, w): the last of a batch that holds the image again and again."""
    return engine.run(np.repeat(image_HWC[None], engine.batch_size, axis=0))[-1:]


def check_parity(
    parity: Parity, limits: ExportConfig, what: str, remedy: str = "", kept: str = "Nothing was exported."
) -> None:
    """Raises EngineError with the figures where one is beyond its limit or not a number."""
    failures = [
        f"{name} {found:.4g} ({'at most' if sign > 0 else 'at least'} {limit:g})"
        for name, found, limit, sign in (
            ("region entropy differs by", parity.max_entropy_error, limits.max_entropy_error, 1),
            ("label agreement", parity.label_agreement, limits.min_label_agreement, -1),
            ("top-k overlap", parity.topk_overlap, limits.min_topk_overlap, -1),
        )
        if not sign * found <= sign * limit  # NaN fails too
    ]
    if failures:
        raise EngineError(
            f"{what} disagrees with the trained network on {parity.images} images: {'; '.join(failures)}; "
            f"largest logit difference {parity.max_logit_difference:.3g}.",
            kept=kept,
            remedy=remedy or "Please report this with the figures; a new run may set other limits (export.*).",
        )


def report(parity: Parity, limits: ExportConfig, image_ids: list[str], candidate: Engine) -> dict[str, Any]:
    """The content of parity.json; figures to five digits."""
    figures = {key: value if isinstance(value, int) else float(f"{value:.5g}") for key, value in asdict(parity).items()}
    return {
        "reference": "torch",
        "candidate": candidate.name,
        "provider": candidate.provider,
        "limits": {key: value for key, value in limits.model_dump().items() if key != "probe_images"},
        "measured": figures,
        "image_ids": image_ids,
    }


def overlap(first_R: NDArray[np.floating[Any]], second_R: NDArray[np.floating[Any]], top_k: int) -> float:
    """Share of the `top_k` best of one array that are among those of the other."""
    top_k = min(top_k, len(first_R))
    if top_k == 0:
        return 1.0
    best = [set(np.argsort(-scores_R, kind="stable")[:top_k].tolist()) for scores_R in (first_R, second_R)]
    return len(best[0] & best[1]) / top_k
