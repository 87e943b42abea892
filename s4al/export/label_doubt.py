"""Likely wrong pseudo-labels: confident pixels whose features are nearer to another class (after A2LC, 2506.11599).

Shape suffixes: N images, C classes, D feature channels, H W image size, h w size at the network's stride.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s4al.data import load_pool
from s4al.data.cache import ImageCache
from s4al.data.masks import resize_mask
from s4al.run.state import LabelledRegion, Run
from s4al.trainer.batches import normalise
from s4al.trainer.networks.network import SegmentationNetwork
from s4al.trainer.targets import true_labels
from s4al.watch import Watch


@dataclass(frozen=True)
class Prototypes:
    """What the labelled pixels of each class look like to the network.

    Attributes
    ----------
    mean_CD : float32, the mean feature; of no meaning where a class has no pixel.
    count_C : int64, labelled pixels at the network's stride.
    """

    mean_CD: Tensor
    count_C: Tensor

    @property
    def rarity(self) -> Tensor:
        """float32 (C,): sqrt(fewest / pixels of the class); 1 for the rarest class, and for one without a label."""
        fewest = self.count_C[self.count_C > 0].min() if (self.count_C > 0).any() else self.count_C.new_tensor(1)
        return (fewest / self.count_C.clamp(min=1)).clamp(max=1.0).sqrt()


def label_doubt(feature_NDhw: Tensor, logits_NChw: Tensor, prototypes: Prototypes, threshold: float) -> Tensor:
    """float32 (N, h, w): the weight of the rarer of both classes where a confident pixel is nearer to another class.

    d(x) = max(w_p, w_q) [p != q] [max softmax >= threshold], with p the predicted class and q = argmin_c |f(x) - m_c|
    over the classes that have a mean, the lowest where two are as near; 0 elsewhere.

    Parameters
    ----------
    threshold : from which on a pixel becomes a pseudo-label (`pseudo.threshold`).
    """
    confidence_Nhw, predicted_Nhw = logits_NChw.softmax(dim=1).max(dim=1)
    mean_CD, weight_C = prototypes.mean_CD, prototypes.rarity
    # |f - m|^2 less |f|^2, which is the same for all classes
    distance_NChw = mean_CD.square().sum(dim=1)[:, None, None] - 2 * torch.einsum(
        "ndhw,cd->nchw", feature_NDhw, mean_CD
    )
    nearest_Nhw = distance_NChw.masked_fill((prototypes.count_C == 0)[:, None, None], torch.inf).argmin(dim=1)
    doubted_Nhw = (confidence_Nhw >= threshold) & (nearest_Nhw != predicted_Nhw) & (prototypes.count_C > 0).any()
    return torch.maximum(weight_C[predicted_Nhw], weight_C[nearest_Nhw]) * doubted_Nhw


class PrototypeSums:
    """Adds features up, a batch at a time, in float64 and without an atomic addition, so that a GPU repeats itself."""

    def __init__(self, num_classes: int) -> None:
        self._sum_CD: Tensor | None = None
        self._count_C = torch.zeros(num_classes, dtype=torch.int64)

    def add(self, feature_NDhw: Tensor, label_NHW: NDArray[np.uint8]) -> None:
        """A low-resolution pixel has the label under its centre; 255 ones are left out."""
        height, width = feature_NDhw.shape[-2:]
        rows, cols = (_centres(*sizes) for sizes in zip(label_NHW.shape[1:], (height, width), strict=True))
        label_Nhw = torch.from_numpy(label_NHW[:, rows][:, :, cols].astype(np.int64)).to(feature_NDhw.device)
        classes = torch.arange(len(self._count_C), device=feature_NDhw.device)
        member_NChw = label_Nhw[:, None] == classes[:, None, None]
        sum_CD = torch.einsum("nchw,ndhw->cd", member_NChw.to(feature_NDhw), feature_NDhw).cpu().double()
        self._sum_CD = sum_CD if self._sum_CD is None else self._sum_CD + sum_CD
        self._count_C += member_NChw.sum(dim=(0, 2, 3)).cpu()

    def prototypes(self, device: torch.device) -> Prototypes:
        assert self._sum_CD is not None, "no labelled image"
        mean_CD = self._sum_CD / self._count_C.clamp(min=1)[:, None]
        return Prototypes(mean_CD.float().to(device), self._count_C.to(device))


def find_prototypes(
    run: Run, cycle: int, network: SegmentationNetwork, device: torch.device, watch: Watch
) -> Prototypes:
    """One pass of the network over the images that labels of a cycle lie in. Raises Interrupted between images."""
    sums = PrototypeSums(len(run.classes(cycle)))
    with torch.inference_mode():
        for image_HWC, label_HW in _labelled_images(run, cycle, watch):
            features = network.features(normalise(torch.from_numpy(image_HWC[None]).to(device)))
            sums.add(features, label_HW[None])
    return sums.prototypes(device)


def _labelled_images(run: Run, cycle: int, watch: Watch) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """uint8 (H, W, 3) and (H, W) at the network's size, in the order of the cache."""
    by_image: dict[str, list[LabelledRegion]] = defaultdict(list)
    for region in run.training_regions(cycle):
        by_image[region.image].append(region)
    rows, done = load_pool(run.pool_file).train.rows, 0
    with ImageCache.open(run.cache / "train") as cache:
        for place, row in enumerate(rows):
            if row.id not in by_image:
                continue
            watch.stop_here()
            label, _ = true_labels(run, by_image[row.id], row.height, row.width)
            yield cache.read(place), resize_mask(label, cache.height, cache.width)
            done += 1
            watch.progress(f"cycle {cycle} prototypes", done, len(by_image))


def _centres(size: int, low_size: int) -> NDArray[np.intp]:
    """The full-size pixel under the centre of each low-resolution one."""
    return (2 * np.arange(low_size) + 1) * size // (2 * low_size)
