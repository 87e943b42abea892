"""Training: the learners' loops, batches, networks, losses, evaluation and checkpoints. torch lives here."""

from s4al.trainer.loop import train_cycle as train_cycle

__all__ = ["train_cycle"]
