"""Checkpoint -> ONNX, with a parity gate between the two."""

from s4al.export.network_metrics import NetworkMetric as NetworkMetric
from s4al.export.scoring_network import folded as folded
from s4al.export.scoring_network import scoring_network as scoring_network
from s4al.export.stage import export_cycle as export_cycle
from s4al.export.stage import export_file as export_file
