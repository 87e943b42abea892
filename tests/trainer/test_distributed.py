"""Two processes train the model that one would."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from s4al.errors import ConfigError
from s4al.trainer.distributed import check_divisible, launch_fabric
from tests.tiny import TINY

# Dropout draws its masks a process at a time; everything else must agree.
# In double precision, because batch norm over a few pooled values makes single precision differ in the third digit.
EQUAL = (
    *TINY,
    "run.cycles=1",
    "model.dropout=0.0",
    "trainer.batch_labelled_only=4",
    "trainer.precision=64-true",
    "scorer.threads=1",
)


def train(root: Path, processes: int, *overrides: str) -> subprocess.CompletedProcess[str]:
    port = free_port()
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", str(port)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "s4al", "train", str(root)]
    return subprocess.run(
        [*command, "--preset", "demo", "--device", "cpu", "--json", *EQUAL, *overrides],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def free_port() -> int:
    """Below those that the system hands out itself, so that nobody gets it before it is bound."""
    for port in range(10000 + os.getpid() % 20000, 32000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def losses(root: Path) -> dict[str, list[float]]:
    lines = (root / "cycles" / "000" / "train" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return {name: [row[name] for row in rows] for name in ("loss", "cross_entropy", "reco", "grad_norm")}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_have_the_losses_of_one(tmp_path):
    done = {count: train(tmp_path / str(count), count) for count in (1, 2)}
    for result in done.values():
        assert result.returncode == 0, result.stderr
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    for name, values in one.items():
        assert two[name][:3] == pytest.approx(values[:3], rel=1e-4), name
        # Rounding grows a hundredfold a step through the batch norm of four pooled values, as its gradient shows first:
        # on some processors the sixth loss differs by a hundredth.
        assert name == "grad_norm" or two[name][:4] == pytest.approx(values[:4], rel=2e-3), name
    answer = json.loads(done[2].stdout)  # exactly one object, from rank 0
    assert len(answer["cycles"]) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_learner_with_a_teacher_and_several_forward_passes_trains_in_two_processes(tmp_path):
    done = train(tmp_path / "run", 2, "learner.name=s4al", "trainer.batch_unlabelled=4")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run/cycles/000/train/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and all(row["grad_norm"] > 0 for row in rows)


@pytest.mark.parametrize(("batch", "pairs", "message"), [(3, False, "equally by 2"), (2, True, "in pairs by 2")])
def test_batches_that_cannot_be_shared_are_refused(batch, pairs, message):
    two = SimpleNamespace(world_size=2)
    check_divisible(two, 4, "A batch", pairs=pairs)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"A batch of {batch} images cannot be shared {message} processes"):
        check_divisible(two, batch, "A batch", pairs=pairs)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cpu:one"])
def test_unknown_devices_are_named(device):
    if device == "cuda:x" and not torch.cuda.is_available():
        pytest.skip("the CUDA message comes first where there is no GPU")
    with pytest.raises(ConfigError, match=device):
        launch_fabric(device, "32-true")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_says_so():
    with pytest.raises(ConfigError, match="no CUDA GPU"):
        launch_fabric("cuda", "32-true")


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_shared_batch_norm_is_batch_norm_in_one_process(kind, monkeypatch):
    """The formula against torch's own and timm's, which holds a ReLU, the sum over processes being the identity."""
    from s4al.trainer import distributed as dist

    monkeypatch.setattr(dist.distributed, "get_world_size", lambda: 1)
    monkeypatch.setattr(dist, "_sum_over_processes", lambda tensor: tensor)
    torch.manual_seed(0)
    norm = kind(5)
    nn.init.normal_(norm.weight)
    shared = dist._SharedBatchNorm.like(copy.deepcopy(norm))
    x, y = (torch.randn(4, 5, 6, 7, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    expected, found = norm(x), shared(y)
    torch.testing.assert_close(found, expected)
    for output, source in ((expected, x), (found, y)):
        output.square().sum().backward()
        assert source.grad is not None
    torch.testing.assert_close(y.grad, x.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shared.running_var, norm.running_var)
    torch.testing.assert_close(shared.running_mean, norm.running_mean)
    assert shared.num_batches_tracked == 1
    torch.testing.assert_close(shared.eval()(x), norm.eval()(x))
    assert shared.state_dict().keys() == norm.state_dict().keys()  # checkpoints of one process and of several are alike
