"""What the pretrained backbone sees of cells: told by the image alone, and used to choose what is asked first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from s4al.config import ModelConfig
from s4al.data.cache import CacheWriter, ImageCache
from s4al.export.start_features import StartFeatures
from s4al.run.state import Run
from s4al.trainer.networks.build import build_network
from tests.tiny import tiny_config

SIZE = (48, 64)


def weights(path: Path) -> Path:
    """Of a backbone, as somebody might have them."""
    torch.manual_seed(0)
    state = build_network(ModelConfig(weights="none"), 2).backbone.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def test_features_are_of_the_image_and_the_weights_alone(tmp_path: Path) -> None:
    file = weights(tmp_path / "backbone.safetensors")
    run = Run(tmp_path / "run", tiny_config(f'model.weights="{file}"'))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(2)]
    with CacheWriter(tmp_path / "cache", *SIZE, "test") as writer:
        for name, image in (("a", images[0]), ("b", images[1]), ("c", images[0])):
            writer.append(name, image)
    with ImageCache.open(tmp_path / "cache") as cache:
        found = StartFeatures(run, cache, "cpu")([0, 1, 2])
        assert found.shape[:2] == (3, run.grid.num_regions) and found.dtype == np.float32
        assert np.isfinite(found).all()
        torch.manual_seed(1)  # neither the state of torch's generator nor the batch changes them
        again = StartFeatures(run, cache, "cpu")([2])[0]
        scale = np.abs(found[0]).max()  # weights that were never trained give small features
        for same in (found[2], again):
            np.testing.assert_allclose(same / scale, found[0] / scale, rtol=0, atol=1e-4)
        assert np.abs(found[0] - found[1]).max() > 0.01 * scale
