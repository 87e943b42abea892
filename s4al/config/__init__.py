"""The configuration of a run: `sections` has every setting and its default, `tree` what must hold between them, and
`toml` reads and writes it."""

from s4al.config.sections import LEARNERS as LEARNERS
from s4al.config.sections import METRICS as METRICS
from s4al.config.sections import NETWORK_METRICS as NETWORK_METRICS
from s4al.config.sections import RECO_LEARNERS as RECO_LEARNERS
from s4al.config.sections import STRATEGIES as STRATEGIES
from s4al.config.sections import AcquisitionConfig as AcquisitionConfig
from s4al.config.sections import AugmentConfig as AugmentConfig
from s4al.config.sections import DataConfig as DataConfig
from s4al.config.sections import EngineName as EngineName
from s4al.config.sections import EvaluationConfig as EvaluationConfig
from s4al.config.sections import ExportConfig as ExportConfig
from s4al.config.sections import LearnerConfig as LearnerConfig
from s4al.config.sections import LearnerName as LearnerName
from s4al.config.sections import Metric as Metric
from s4al.config.sections import ModelConfig as ModelConfig
from s4al.config.sections import Pooling as Pooling
from s4al.config.sections import Precision as Precision
from s4al.config.sections import PseudoConfig as PseudoConfig
from s4al.config.sections import ReCoConfig as ReCoConfig
from s4al.config.sections import RunConfig as RunConfig
from s4al.config.sections import ScenesConfig as ScenesConfig
from s4al.config.sections import ScorerConfig as ScorerConfig
from s4al.config.sections import Strategy as Strategy
from s4al.config.sections import TrainerConfig as TrainerConfig
from s4al.config.toml import changes as changes
from s4al.config.toml import dump as dump
from s4al.config.toml import fingerprint as fingerprint
from s4al.config.toml import flatten as flatten
from s4al.config.toml import given_keys as given_keys
from s4al.config.toml import load as load
from s4al.config.toml import resolve as resolve
from s4al.config.toml import set_values as set_values
from s4al.config.tree import FREE_ON_RESUME as FREE_ON_RESUME
from s4al.config.tree import Config as Config
