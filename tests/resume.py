"""Stopping a training and going on."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning_fabric import Fabric

from s4al.run.state import Run
from s4al.trainer import train_cycle
from s4al.watch import Interrupted, Watch
from tests.tiny import StopAfter, digests, labelled_run


def train_beside_a_stopped_one(root: Path, fabric: Fabric, step: int, *overrides: str) -> Run:
    """A run after its first training, with the bytes of one that was stopped after `step` steps and went on."""
    straight, pool, _ = labelled_run(root / "a", *overrides)
    train_cycle(straight, 0, pool, fabric=fabric, watch=Watch())
    stopped, pool, _ = labelled_run(root / "b", *overrides)
    with pytest.raises(Interrupted):
        train_cycle(stopped, 0, pool, fabric=fabric, watch=StopAfter(step))
    train_cycle(stopped, 0, pool, fabric=fabric, watch=Watch())
    assert digests(straight.root) == digests(stopped.root)
    return straight
