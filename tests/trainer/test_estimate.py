"""How long a run will take, measured by a few steps."""

from __future__ import annotations

import itertools

import pytest
import torch

from s4al.config import Config, resolve
from s4al.trainer import estimate
from s4al.trainer.estimate import training_seconds

SETTINGS = (
    "data.height=32",
    "data.width=32",
    "model.backbone=mobilenet_v2",
    "model.weights=none",
    "model.representation_dim=8",
    "trainer.epochs=3",
    "trainer.iterations_per_epoch=5",
    "trainer.precision=32-true",
    "trainer.warmup_steps=1",
    "run.cycles=1",
)


def config(*overrides: str) -> Config:
    return resolve("images", overrides=(*SETTINGS, *overrides))


@pytest.mark.parametrize(("wall_s", "cpu_s", "step_s"), [(100.0, 0.5, "cpu"), (0.25, 7.0, "wall")])
def test_a_busy_machine_does_not_lengthen_it(
    wall_s: float, cpu_s: float, step_s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clocks that go on by so much with every look at them."""
    wall, cpu = itertools.count(0.0, wall_s), itertools.count(0.0, cpu_s)
    monkeypatch.setattr(estimate.time, "monotonic", lambda: next(wall))
    monkeypatch.setattr(estimate.time, "process_time", lambda: next(cpu))
    expected = cpu_s / torch.get_num_threads() if step_s == "cpu" else wall_s
    assert training_seconds(config(), 3, "cpu") == pytest.approx(15 * expected)


def test_it_grows_with_the_steps_and_the_pixels() -> None:
    seconds = training_seconds(config(), 3, "cpu")
    assert seconds > 0
    assert training_seconds(config("trainer.iterations_per_epoch=500"), 3, "cpu") > 5 * seconds
    assert training_seconds(config("data.height=640", "data.width=640"), 3, "cpu") > 5 * seconds
