"""Features of candidate regions, from the decoded cache: what diversity is measured in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s4al.data.cache import ImageCache
from s4al.run.state import Run
from s4al.scorer.acquisition.selection import Candidates
from s4al.scorer.engines.engine import EngineRequest, RegionFeatures
from s4al.scorer.read_ahead import spans
from s4al.watch import Watch

_BATCH = 4


class CandidateFeatures:
    """A `diversity.Features`: runs the network on the images of the candidates that are asked for, and on no others.

    Nothing is loaded before the first are.

    Raises
    ------
    Interrupted : between batches.
    """

    def __init__(self, run: Run, cycle: int, candidates: Candidates, request: EngineRequest, watch: Watch) -> None:
        self._run, self._cycle, self._candidates, self._request, self._watch = run, cycle, candidates, request, watch
        self._network: RegionFeatures | None = None
        self._row: dict[str, int] = {}

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Indices into the candidates -> float32 (M, D), the mean feature of each region."""
        image_M, region_M = self._candidates.image_M[indices], self._candidates.region_M[indices]
        images, place_M = np.unique(image_M, return_inverse=True)
        found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(indices)
        with ImageCache.open(self._run.cache / "train") as cache:
            self._row = self._row or {image: row for row, image in enumerate(cache.ids)}
            for span in spans(0, len(images), _BATCH):
                self._watch.stop_here()
                batch = np.arange(span.first, span.first + span.count)
                image_NHWC = np.empty((span.count, *cache.row_shape), np.uint8)
                cache.read_rows([self._row[self._candidates.images[images[place]]] for place in batch], image_NHWC)
                feature_NRD = self._open_network()(image_NHWC)
                for index in np.flatnonzero((place_M >= span.first) & (place_M < span.first + span.count)):
                    found[index] = feature_NRD[place_M[index] - span.first, region_M[index]].copy()
                self._watch.progress(f"cycle {self._cycle} features", span.first + span.count, len(images))
        return np.stack(found)

    def _open_network(self) -> RegionFeatures:
        assert self._request.networks, "k-centre needs the network"
        self._network = self._network or self._request.networks.features(self._request.device)
        return self._network
