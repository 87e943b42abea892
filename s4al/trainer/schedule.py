"""How long the trainings of a run are, and the learning rate in each of their steps."""

from __future__ import annotations

import math

from s4al.config import Config


def schedule(config: Config, cycle: int, *, joint: bool) -> tuple[int, int]:
    """(epochs, iterations an epoch) of a cycle; the last joint training is longer (paper Table 1)."""
    trainer = config.trainer
    if not joint:
        return trainer.epochs, trainer.iterations_per_epoch
    last = cycle == config.run.cycles - 1
    return (trainer.last_epochs if last else trainer.epochs), trainer.joint_iterations_per_epoch


def images_after(config: Config, cycle: int) -> int:
    """Images that the trainings after that of `cycle` will see, those for comparison with them."""
    trainer = config.trainer
    joint = trainer.batch_labelled + trainer.batch_unlabelled
    later = [math.prod(schedule(config, each, joint=True)) * joint for each in range(1, config.run.cycles)]
    again = sum(later) if config.run.random_regions else 0  # from the same first training
    full = trainer.last_epochs * trainer.joint_iterations_per_epoch * joint if config.run.full_supervision else 0
    return sum(later[cycle:]) + again + full


def poly(epoch: int, epochs: int, power: float) -> float:
    """Factor of the learning rate in an epoch, (1 - epoch / epochs) ** power; stepped by epoch (author code)."""
    return (1.0 - epoch / epochs) ** power


def quarter_cosine(epoch: int, epochs: int) -> float:
    """cos(pi epoch / (2 epochs)), of Grubišić et al."""
    return math.cos(math.pi * epoch / (2 * epochs))


def warm_up(step: int, steps: int) -> float:
    """Factor of the learning rate in a step, from 1 / steps in the first to 1 after `steps` of them.

    Without it the first gradients, whose norm is a hundred times that of later ones, blow up the early layers, behind
    whose batch norm the effective step is small ever after.
    """
    return min(1.0, (step + 1) / steps) if steps else 1.0
