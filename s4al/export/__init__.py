"""Checkpoint -> ONNX -> TensorRT plan, with a parity gate before anybody uses them. Importing this loads no torch."""

from s4al.export.networks import CycleNetworks as CycleNetworks
