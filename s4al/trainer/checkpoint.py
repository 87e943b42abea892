"""Checkpoints: one committed folder a step, safetensors and JSON only.

    step-000500/{model.safetensors, optimizer.safetensors, meta.json, manifest.json}

Nothing random is stored: randomness is keyed by the step (see `batches.Key`).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim import SGD

from s4al import files
from s4al.config import Config
from s4al.errors import RunStateError
from s4al.trainer.network import DeepLabV3Plus, build_network


@dataclass(frozen=True)
class Meta:
    """What a checkpoint says of itself."""

    step: int  # steps done
    steps: int  # of the whole training
    num_classes: int
    metrics_bytes: int  # length of metrics.jsonl at this step


def step_folder(root: Path, step: int) -> Path:
    return root / f"step-{step:06d}"


def save_checkpoint(root: Path, network: nn.Module, optimizer: SGD, meta: Meta, *, keep: int) -> Path:
    """Commit `root`/step-NNNNNN and remove all but the newest `keep`. Raises StorageError."""
    target = step_folder(root, meta.step)
    with (
        files.storage_errors(
            f"writing the checkpoint of step {meta.step} under {root}", kept="The checkpoint before is safe."
        ),
        files.commit_folder(target) as folder,
    ):
        # Not save_file: it reports a full disk as an error of the format.
        (folder / "model.safetensors").write_bytes(save(_on_cpu(network.state_dict())))
        (folder / "optimizer.safetensors").write_bytes(save(_on_cpu(_momenta(network, optimizer))))
        (folder / "meta.json").write_bytes(files.json_bytes(asdict(meta)))
    for old in checkpoints(root)[:-keep]:
        shutil.rmtree(old)
    return target


def checkpoints(root: Path) -> list[Path]:
    """Committed checkpoints, oldest first."""
    return sorted(folder for folder in root.glob("step-*") if (folder / files.MANIFEST).is_file())


def read_meta(folder: Path) -> Meta:
    return Meta(**json.loads((folder / "meta.json").read_bytes()))


def restore(folder: Path, network: nn.Module, optimizer: SGD) -> Meta:
    """Load a verified checkpoint into a network and its optimiser. Raises RunStateError where it is damaged."""
    files.verify_folder(folder)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    momenta = load_file(folder / "optimizer.safetensors")
    for name, parameter in network.named_parameters():
        if name in momenta:
            optimizer.state[parameter]["momentum_buffer"] = momenta[name].to(parameter.device)
    return read_meta(folder)


def load_network(train_folder: Path, config: Config) -> DeepLabV3Plus:
    """The trained network of a `train/` folder, float32 on the CPU in evaluation mode. Raises RunStateError."""
    newest = checkpoints(train_folder)[-1:]
    if not newest:
        raise RunStateError(f"{train_folder} holds no checkpoint.", remedy="Delete it and run the same command.")
    network = build_network(config.model, read_meta(newest[0]).num_classes, pretrained=False)
    network.load_state_dict(load_file(newest[0] / "model.safetensors"))
    return network.eval()


def _momenta(network: nn.Module, optimizer: SGD) -> dict[str, Tensor]:
    named = (
        (name, optimizer.state[parameter].get("momentum_buffer")) for name, parameter in network.named_parameters()
    )
    return {name: buffer for name, buffer in named if buffer is not None}


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
