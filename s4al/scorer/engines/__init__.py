"""Engines run the exported network."""

from s4al.scorer.engines.open import CPU_BATCH as CPU_BATCH
from s4al.scorer.engines.open import TRT_BATCH as TRT_BATCH
from s4al.scorer.engines.open import Engine as Engine
from s4al.scorer.engines.open import LoadNetwork as LoadNetwork
from s4al.scorer.engines.open import OpenTrt as OpenTrt
from s4al.scorer.engines.open import OrtEngine as OrtEngine
from s4al.scorer.engines.open import TorchEngine as TorchEngine
from s4al.scorer.engines.open import available_cores as available_cores
from s4al.scorer.engines.open import network_or_refusal as network_or_refusal
from s4al.scorer.engines.open import open_engine as open_engine
