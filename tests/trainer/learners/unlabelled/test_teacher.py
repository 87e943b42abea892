from __future__ import annotations

import pytest
import torch
from torch import nn

from s4al.trainer.learners.unlabelled.teacher import MeanTeacher, frozen_statistics


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_the_decay_warms_up():
    teacher = MeanTeacher(student(), decay=0.99, buffers=False)
    assert [round(teacher.decay_at(step), 3) for step in (0, 1, 2, 98, 99, 100, 5000)] == [
        0.0, 0.5, 0.667, 0.99, 0.99, 0.99, 0.99,
    ]  # fmt: skip


def test_the_average_by_hand():
    network = student()
    teacher = MeanTeacher(network, decay=0.75, buffers=False)
    before = network[0].weight.detach().clone()
    with torch.no_grad():
        network[0].weight += 4.0
    teacher.follow(network, 100)
    torch.testing.assert_close(teacher.network[0].weight, before + 1.0)
    teacher = MeanTeacher(network, decay=0.99, buffers=False)
    with torch.no_grad():
        network[0].weight -= 4.0
    teacher.follow(network, 0)  # decay 0: a copy
    assert torch.equal(teacher.network[0].weight, network[0].weight)


@pytest.mark.parametrize("buffers", [False, True])
def test_statistics_are_averaged_or_its_own(buffers):
    network = student().train()
    teacher = MeanTeacher(network, decay=0.5, buffers=buffers)
    assert teacher.network.training is not buffers
    network(torch.randn(8, 3, 4, 4) + 3)
    teacher.follow(network, 7)
    mean = network[1].running_mean
    torch.testing.assert_close(teacher.network[1].running_mean, mean / 2 if buffers else torch.zeros(4))
    teacher.network(torch.randn(8, 3, 4, 4))
    assert (teacher.network[1].running_mean == mean / 2).all() == buffers


def test_a_teacher_takes_no_gradient():
    teacher = MeanTeacher(student(), decay=0.99, buffers=True)
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())


def test_frozen_statistics_use_the_batch_and_forget_it():
    network = student().train()
    image = torch.randn(8, 3, 4, 4) + 3
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    with frozen_statistics(network):
        output = network(image)
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())
    assert output.mean(dim=(0, 2, 3)).abs().max() < 1e-5  # normalised by the batch
    torch.testing.assert_close(network(image), output)
    assert not torch.equal(network[1].running_mean, kept["1.running_mean"])
