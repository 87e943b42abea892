"""Checkpoints: one committed folder a step, safetensors and JSON only.

    step-000500/{model.safetensors, optimizer.safetensors, meta.json, manifest.json}

and the learner's other networks beside the model: teacher.safetensors, second.safetensors.

Nothing random is stored: randomness is keyed by the step (see `batches.Key`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim import Optimizer

from s4al import files
from s4al.config import Config
from s4al.errors import RunStateError
from s4al.trainer.networks.build import build_network
from s4al.trainer.networks.network import SegmentationNetwork


@dataclass(frozen=True)
class Meta:
    """What a checkpoint says of itself."""

    step: int  # steps done
    steps: int  # of the whole training
    num_classes: int
    metrics_bytes: int  # length of metrics.jsonl at this step


def step_folder(root: Path, step: int) -> Path:
    return root / f"step-{step:06d}"


def save_checkpoint(
    root: Path, networks: Mapping[str, nn.Module], optimizer: Optimizer, meta: Meta, *, keep: int
) -> Path:
    """Commit `root`/step-NNNNNN with networks by the stem of their file, and remove all but the newest `keep`.

    Raises StorageError.
    """
    target = step_folder(root, meta.step)
    with (
        files.storage_errors(
            f"writing the checkpoint of step {meta.step} under {root}", kept="The checkpoint before is safe."
        ),
        files.commit_folder(target) as folder,
    ):
        # Not save_file: it reports a full disk as an error of the format.
        for name, network in networks.items():
            (folder / f"{name}.safetensors").write_bytes(save(_on_cpu(network.state_dict())))
        (folder / "optimizer.safetensors").write_bytes(save(_on_cpu(_optimizer_state(networks, optimizer))))
        (folder / "meta.json").write_bytes(files.json_bytes(asdict(meta)))
    for old in checkpoints(root)[:-keep]:
        shutil.rmtree(old)
    return target


def checkpoints(root: Path) -> list[Path]:
    """Committed checkpoints, oldest first."""
    return sorted(folder for folder in root.glob("step-*") if (folder / files.MANIFEST).is_file())


def read_meta(folder: Path) -> Meta:
    return Meta(**json.loads((folder / "meta.json").read_bytes()))


def restore(folder: Path, networks: Mapping[str, nn.Module], optimizer: Optimizer) -> Meta:
    """Load a verified checkpoint into networks and their optimiser. Raises RunStateError where it is damaged."""
    files.verify_folder(folder)
    for name, network in networks.items():
        network.load_state_dict(load_file(folder / f"{name}.safetensors"))
    parameters = dict(_named_parameters(networks))
    for name, tensor in load_file(folder / "optimizer.safetensors").items():
        name, _, key = name.rpartition("/")
        # In the memory format of the parameter, which fused optimisers take for granted.
        like = parameters[name] if tensor.dim() else tensor
        optimizer.state[parameters[name]][key] = torch.empty_like(like, device=parameters[name].device).copy_(tensor)
    return read_meta(folder)


def load_network(train_folder: Path, config: Config) -> SegmentationNetwork:
    """The network of a `train/` folder that is tested, float32 on the CPU in evaluation mode. Raises RunStateError."""
    newest = checkpoints(train_folder)[-1:]
    if not newest:
        raise RunStateError(f"{train_folder} holds no checkpoint.", remedy="Delete it and run the same command.")
    network = build_network(config.model, read_meta(newest[0]).num_classes, pretrained=False)
    network.load_state_dict(load_file(newest[0] / tested_file(config)))
    return network.eval()


def tested_file(config: Config) -> str:
    """Which file of a checkpoint holds the network that is tested, exported, and asks."""
    return "teacher.safetensors" if config.learner.tested == "teacher" else "model.safetensors"


def _optimizer_state(networks: Mapping[str, nn.Module], optimizer: Optimizer) -> dict[str, Tensor]:
    """What the optimiser remembers of each parameter, by "parameter/what"."""
    states = ((name, optimizer.state.get(each, {})) for name, each in _named_parameters(networks))
    return {f"{name}/{key}": value for name, state in states for key, value in state.items() if value is not None}


def _named_parameters(networks: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    """Of the networks that are trained."""
    for stem, network in networks.items():
        yield from ((f"{stem}.{name}", each) for name, each in network.named_parameters() if each.requires_grad)


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
