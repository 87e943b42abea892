"""The networks of a trained cycle, as the scorer asks for them; torch is loaded when the first is called for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from s4al.run.state import Run
from s4al.watch import Watch

if TYPE_CHECKING:
    from s4al.export.network_metrics import NetworkMetric
    from s4al.export.region_features import RegionFeatures
    from s4al.export.scoring_network import ScoringNetwork
    from s4al.scorer.engines.trt_engine import TrtEngine


@dataclass(frozen=True)
class CycleNetworks:
    """A `scorer.engines.engine.Networks` of one cycle. Its methods raise RunStateError where that is not trained."""

    run: Run
    cycle: int

    def folded(self) -> ScoringNetwork:
        from s4al.export.scoring_network import folded

        return folded(self.trained())

    def trained(self) -> ScoringNetwork:
        from s4al.export.scoring_network import scoring_network

        return scoring_network(self.run, self.cycle)

    def open_trt(self, *, batch_size: int, threads: int, device: str, watch: Watch) -> TrtEngine:
        """Raises EngineError."""
        from s4al.scorer.engines.trt_engine import find_trt

        find_trt(device)  # most machines have nothing, and are told so before torch is loaded
        from s4al.export.trt_plan import open_tensorrt

        return open_tensorrt(self.run, self.cycle, batch_size=batch_size, threads=threads, device=device, watch=watch)

    def metric(self, device: str, watch: Watch) -> NetworkMetric:
        from s4al.export.network_metrics import NetworkMetric

        return NetworkMetric(self.run, self.cycle, device, watch)

    def features(self, device: str) -> RegionFeatures:
        from s4al.export.region_features import RegionFeatures

        return RegionFeatures(self.run, self.cycle, device)
