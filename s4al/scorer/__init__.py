"""Scoring: engines, the pool's pass, pseudo-labels, selection. Importing this loads no torch."""

from s4al.scorer.acquisition.stage import select_cycle as select_cycle
from s4al.scorer.cycle import score_cycle as score_cycle
from s4al.scorer.engines.engine import EngineRequest as EngineRequest
