"""The learners by name; `config.LEARNERS` has the settings of each."""

from __future__ import annotations

from s4al.config import LearnerName
from s4al.trainer.learners.consistency import CutMix, CutMixStar, PhTPS, Uda
from s4al.trainer.learners.cps import CrossPseudoSupervision
from s4al.trainer.learners.deal import Deal
from s4al.trainer.learners.equal import Equal
from s4al.trainer.learners.learner import Learner
from s4al.trainer.learners.mean_teacher import MeanTeacherLearner
from s4al.trainer.learners.s4al import S4al
from s4al.trainer.learners.supervised import S4alPlus, Supervised

LEARNERS: dict[LearnerName, type[Learner]] = {
    "supervised": Supervised,
    "s4al-plus": S4alPlus,
    "s4al": S4al,
    "mean-teacher": MeanTeacherLearner,
    "cutmix": CutMix,
    "cutmix-star": CutMixStar,
    "phtps": PhTPS,
    "uda": Uda,
    "cps": CrossPseudoSupervision,
    "deal": Deal,
    "equal": Equal,
}
