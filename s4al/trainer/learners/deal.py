"""DEAL (Xie et al., ACCV 2020): a supervised network that also learns where it is wrong, to ask for such images."""

from __future__ import annotations

from s4al.trainer.batches import Batch, normalise
from s4al.trainer.learners.learner import Losses, Setting, Step
from s4al.trainer.learners.supervised import Supervised
from s4al.trainer.networks.difficulty import difficulty_loss


class Deal(Supervised):
    """Cross entropy, and the loss of the network's difficulty branch, whose gradient goes on into the network."""

    figures = ("cross_entropy", "difficulty")
    contrastive = False

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._unknown_is_easy = not setting.targets.asked

    def losses(self, batch: Batch, step: Step) -> Losses:
        ((image_BHWC, label_BHW),) = self.split(batch)
        logits_BChw, difficulty_B1rs = self.student(normalise(image_BHWC), with_difficulty=True)
        supervision = self.supervise(logits_BChw, label_BHW)
        predicted_BHW = self.full_size(logits_BChw.detach(), label_BHW).argmax(dim=1)
        difficulty_BHW = self.full_size(difficulty_B1rs, label_BHW).squeeze(1)
        wrong = difficulty_loss(difficulty_BHW, predicted_BHW, label_BHW, unknown_is_easy=self._unknown_is_easy)
        return Losses(supervision + wrong, {"cross_entropy": supervision, "difficulty": wrong})
