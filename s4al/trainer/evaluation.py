"""Testing a network on a split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s4al.config import EvaluationConfig
from s4al.data import Pool, Row
from s4al.data.cache import ImageCache
from s4al.data.masks import IGNORE, resize_mask
from s4al.run.classes import CLASSES_FILE, read_classes
from s4al.run.state import LabelledRegion, Run
from s4al.trainer.batches import normalise
from s4al.trainer.confusion import ConfusionMatrix, mean_or_nan
from s4al.trainer.losses import upsample
from s4al.trainer.networks.network import SegmentationNetwork
from s4al.trainer.region_counts import RegionCounts
from s4al.watch import Watch

_BATCH = 8
Each = Callable[[int, ConfusionMatrix], None]


class _Settings(TypedDict):
    device: torch.device
    watch: Watch
    cycle: int


@dataclass(frozen=True)
class Evaluation:
    """How a network did.

    Attributes
    ----------
    matrix : over all labelled pixels that were tested on.
    tested : how many classes were known when these were labelled; people may have added others since, which are left
        out because nobody could have labelled them.
    split : what it was tested on: a split's name, or "regions".
    regions : how many regions, with `interval` of the mIoU; None where a split was tested on.
    """

    matrix: ConfusionMatrix
    tested: int
    split: str
    regions: int | None = None
    interval: tuple[float, float] | None = None

    def per_class_iou(self) -> NDArray[np.float64]:
        """(C,); NaN where a class is in neither truth nor prediction, or could not be tested."""
        iou_C = self.matrix.per_class_iou()
        iou_C[self.tested :] = np.nan
        return iou_C

    def miou(self) -> float | None:
        """None where there are no test regions, either."""
        iou_C = self.per_class_iou()
        defined_C = iou_C[~np.isnan(iou_C)]
        return None if self.regions is not None and not defined_C.size else mean_or_nan(defined_C)

    def report(self, class_names: Sequence[str]) -> dict[str, Any]:
        """As JSON values."""
        iou_C = self.per_class_iou().tolist()
        about: dict[str, Any] = {
            "split": self.split,
            "miou": self.miou(),
            "per_class_iou": {
                name: None if math.isnan(iou) else iou for name, iou in zip(class_names, iou_C, strict=True)
            },
            "confusion": self.matrix.counts_CC.tolist(),
        }
        if self.regions is not None:
            about["test"] = {"regions": self.regions, "interval": self.interval and list(self.interval)}
        return about


def evaluate_network(
    network: SegmentationNetwork,
    run: Run,
    pool: Pool,
    *,
    device: torch.device,
    watch: Watch,
    cycle: int,
    each: Each | None = None,
) -> Evaluation:
    """On the test split, or where the run has none on the regions that people labelled for it.

    Parameters
    ----------
    each : for the images of a test split, see `evaluate`.
    """
    settings: _Settings = {"device": device, "watch": watch, "cycle": cycle}
    if len(pool.test):
        known = read_classes(run.root / CLASSES_FILE)
        matrix = evaluate(network, run, "test", **settings, each=each)
        return Evaluation(matrix, len(known), run.config.data.test_split)
    return evaluate_regions(network, run, pool, **settings)


def evaluate(
    network: SegmentationNetwork,
    run: Run,
    split: str,
    *,
    device: torch.device,
    watch: Watch,
    cycle: int,
    each: Each | None = None,
) -> ConfusionMatrix:
    """Confusion matrix over a split at the network's size, float32; whole images or sliding windows.

    Parameters
    ----------
    each : gets every image's row of the split's cache and its own confusion matrix.
    """
    images, masks = ImageCache.open(run.cache / split), ImageCache.open(run.cache / split, "masks")
    matrix = ConfusionMatrix(len(run.classes(cycle)))
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    for start in range(0, len(images), _BATCH):
        count = min(_BATCH, len(images) - start)
        image = np.empty((count, *images.row_shape), np.uint8)
        mask = np.empty((count, *masks.row_shape), np.uint8)
        images.read_into(start, image)
        masks.read_into(start, mask)
        with torch.inference_mode():
            predicted_BHW = _labels(network, image, run, device)
        for slot in range(count):
            one = ConfusionMatrix(matrix.num_classes)
            one.add(mask[slot], predicted_BHW[slot])
            matrix.merge(one)
            if each is not None:
                each(start + slot, one)
        watch.progress(f"cycle {cycle} test", start + count, len(images))
    return matrix


def evaluate_regions(
    network: SegmentationNetwork, run: Run, pool: Pool, *, device: torch.device, watch: Watch, cycle: int
) -> Evaluation:
    """Only over the pixels of the test regions, at the network's size; each image is predicted as a whole."""
    regions, num_classes = run.test_regions(cycle), len(run.classes(cycle))
    by_image: dict[str, list[tuple[int, LabelledRegion]]] = {}
    for place, region in enumerate(regions):
        by_image.setdefault(region.image, []).append((place, region))
    matrix, counts = ConfusionMatrix(num_classes), RegionCounts(len(regions), num_classes)
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    asked = [(place, image) for place, image in enumerate(pool.train.rows) if image.id in by_image]
    with ImageCache.open(run.cache / "train") as images:
        for done, (row, image) in enumerate(asked, start=1):
            with torch.inference_mode():
                predicted_HW = _labels(network, images.read(row)[None], run, device)[0].numpy()
            for place, region in by_image[image.id]:
                label_HW = resize_mask(_label(run, image, region), images.height, images.width)
                matrix.add(label_HW, predicted_HW)
                inside_HW = label_HW != IGNORE
                counts.add(place, label_HW[inside_HW], predicted_HW[inside_HW])
            watch.progress(f"cycle {cycle} test", done, len(asked))
    tested = len(run.classes(max((region.cycle for region in regions), default=cycle)))
    interval = counts.interval(run.config.run.seed, tested)
    return Evaluation(matrix, tested, "regions", len(regions), interval)


def _label(run: Run, image: Row, region: LabelledRegion) -> NDArray[np.uint8]:
    """uint8 (H, W) at original size: the labels inside a test region, 255 elsewhere."""
    label_HW = np.full((image.height, image.width), IGNORE, np.uint8)
    box = np.s_[region.y0 : region.y1, region.x0 : region.x1]
    label_HW[box] = run.label_mask(region.cycle, region.image, only_tests=True)[box]
    return label_HW


def predict_row(
    network: SegmentationNetwork, run: Run, split: str, row: int, device: torch.device
) -> NDArray[np.uint8]:
    """uint8 (H, W), what the network sees in one row of a split's cache."""
    with ImageCache.open(run.cache / split) as images, torch.inference_mode():
        return _labels(network, images.read(row)[None], run, device)[0].numpy().astype(np.uint8)


def _labels(network: SegmentationNetwork, image_BHWC: NDArray[np.uint8], run: Run, device: torch.device) -> Tensor:
    """The class ids of every pixel, on the CPU."""
    image_BCHW = normalise(torch.from_numpy(image_BHWC).to(device))
    return predict(network, image_BCHW, run.config.evaluation).argmax(dim=1).cpu()


def predict(network: SegmentationNetwork, image_BCHW: Tensor, config: EvaluationConfig) -> Tensor:
    """Scores of the classes at full size, (B, C, H, W); only their order means something.

    With windows: the sum of the softmaxes of all windows that hold a pixel.
    """
    height, width = image_BCHW.shape[-2:]
    if not config.window_height:
        return upsample(network(image_BCHW), image_BCHW, align_corners=network.align_corners)
    total_BCHW = None
    for rows in _windows(height, config.window_height, config.overlap):
        for columns in _windows(width, config.window_width, config.overlap):
            window = image_BCHW[..., rows, columns]
            probability = upsample(network(window), window, align_corners=network.align_corners).softmax(dim=1)
            if total_BCHW is None:
                total_BCHW = probability.new_zeros(*probability.shape[:2], height, width)
            total_BCHW[..., rows, columns] += probability
    assert total_BCHW is not None
    return total_BCHW


def _windows(length: int, window: int, overlap: float) -> list[slice]:
    """Evenly spread over an axis, from one end to the other, each overlapping the next by `overlap` of it or more."""
    count = 1 + math.ceil((length - window) / max(1.0, window * (1 - overlap)))
    starts = np.linspace(0, length - window, count).round().astype(int).tolist()
    return [slice(start, start + window) for start in starts]
