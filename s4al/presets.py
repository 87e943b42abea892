"""Named starting points for a run: sections and keys that differ from the defaults of `config`.

A preset is a protocol of a paper, with its source and its published numbers in `NOTES`, or one of our own that fits the
hours of a small machine.
"""

from __future__ import annotations

from typing import Any, NamedTuple

_SMALL: dict[str, dict[str, Any]] = {
    "data": {"adapter": "camvid", "height": 180, "width": 240},
    "model": {"backbone": "efficientnet_lite0"},
    # As many labelled images a training as in another, with pseudo-labels or without (Table 1's proportion, but for the
    # last): twice the steps at half the labelled images once there are pseudo-labels (author code). Chosen on the val
    # split by full supervision: after 2,400 steps it is 17 points above a tenth of the labels, after 900 it is not.
    "trainer": {
        "epochs": 30,
        "last_epochs": 30,
        "iterations_per_epoch": 40,
        "joint_iterations_per_epoch": 80,
        "batch_unlabelled": 2,
        "optimizer": "adam",
        "lr": 5e-4,
        "head_lr_multiplier": 4.0,
        "warmup_steps": 100,
    },
    # Half the size, half of all that is counted in pixels.
    "augment": {"cutout_pixels": 25, "blur_sigma_min": 0.125, "blur_sigma_max": 0.625},
    "acquisition": {"region_height": 15, "region_width": 15},
}

_S4AL_TRAINER: dict[str, Any] = {
    "last_epochs": 200,
    "joint_iterations_per_epoch": 50,
    "batch_labelled": 4,
    "batch_unlabelled": 4,
    "weight_decay": 5e-4,
    "ce_reduction": "valid",
}


def _cityscapes_ssl(fraction: float) -> dict[str, dict[str, Any]]:
    """Self-training without queries: one supervised training and two joint ones, at the original size."""
    return {
        "run": {"cycles": 3},
        "data": {
            "adapter": "cityscapes",
            "height": 1024,
            "width": 2048,
            "test_split": "val",
            "labelled_fraction": fraction,
        },
        "model": {"backbone": "resnet101"},
        "trainer": {
            "epochs": 240,
            "last_epochs": 240,
            "iterations_per_epoch": 100,
            "joint_iterations_per_epoch": 300,
        },
        "augment": {"crop_height": 768, "crop_width": 768},
        "acquisition": {"region_height": 64, "region_width": 64, "regions_per_image": 0},
    }


def _deal(data: dict[str, Any], query_pixels: int, stride: int, batch: int) -> dict[str, dict[str, Any]]:
    """Whole images, of a random half of the pool, six times."""
    return {
        "run": {"cycles": 7},
        "data": data,
        "model": {"difficulty_stride": stride},
        "learner": {"name": "deal"},
        "trainer": {
            "last_epochs": 100,
            "batch_labelled_only": batch,
            "head_lr_multiplier": 10.0,
            "weight_decay": 5e-4,
            "ce_reduction": "valid",
        },
        "reco": {"weight": 0.0},
        "acquisition": {
            "metric": "difficulty",
            "strategy": "global",
            "region_height": data["height"],
            "region_width": data["width"],
            "budget_pixels": query_pixels,
            "candidate_fraction": 0.5,
        },
    }


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "demo": {
        "run": {"full_supervision": True, "random_regions": True},
        "data": {"adapter": "scenes", "height": 96, "width": 128, "labelled_fraction": 0.05},
        "model": {"backbone": "efficientnet_lite0", "representation_dim": 64},
        "trainer": {
            "epochs": 10,
            "last_epochs": 6,
            "iterations_per_epoch": 20,
            "joint_iterations_per_epoch": 40,  # half as many labelled images a step, twice the steps (author code)
            "batch_unlabelled": 2,
            "optimizer": "adam",
            "lr": 0.002,
            "head_lr_multiplier": 2.0,
            "warmup_steps": 20,
            "precision": "32-true",  # bfloat16 is emulated, and slow, on older processors
        },
        "augment": {"cutout_pixels": 16},
        "reco": {"num_queries": 64, "num_negatives": 64},
        "acquisition": {
            "region_height": 8,
            "region_width": 8,
            "regions_per_image": 16,
        },  # an eighth of all pixels in all
    },
    # What depends on the images and the machine (sizes, steps, who answers) is added by cli/suggestions.py.
    "images": {
        "model": {"backbone": "efficientnet_lite0"},
        "trainer": {
            "batch_unlabelled": 2,
            "optimizer": "adam",
            "lr": 5e-4,
            "head_lr_multiplier": 4.0,
            "warmup_steps": 100,
        },
    },
    "camvid": {"data": {"adapter": "camvid"}},
    "camvid-small": _SMALL,
    "camvid-s4al": {
        "run": {"cycles": 3},
        "data": {"adapter": "camvid"},
        "learner": {"name": "s4al"},
        "trainer": _S4AL_TRAINER,
        "augment": {"scale_min": 0.75, "scale_max": 1.25},
    },
    "cityscapes": {
        "run": {"cycles": 5},
        "data": {"adapter": "cityscapes", "height": 688, "width": 688, "test_split": "val"},
        "trainer": {"last_epochs": 200, "iterations_per_epoch": 100, "joint_iterations_per_epoch": 300},
        "acquisition": {"region_height": 43, "region_width": 43},
    },
    "cityscapes-s4al": {
        "run": {"cycles": 6},
        "data": {"adapter": "cityscapes", "height": 688, "width": 688, "test_split": "val"},
        "learner": {"name": "s4al", "replay_size": 500, "balance_classes": 6},
        "trainer": {**_S4AL_TRAINER, "iterations_per_epoch": 100, "joint_iterations_per_epoch": 100},
        "acquisition": {"region_height": 43, "region_width": 43},
    },
    **{f"cityscapes-ssl-{part}": _cityscapes_ssl(1 / part) for part in (16, 8, 4, 2)},
    "cityscapes-phtps": {
        "run": {"cycles": 1},
        "data": {
            "adapter": "cityscapes",
            "height": 512,
            "width": 1024,
            "test_split": "val",
            "labelled_fraction": 0.25,
        },
        "model": {"name": "swiftnet", "backbone": "resnet18"},
        "learner": {"name": "phtps"},
        "trainer": {
            "optimizer": "adam",
            "schedule": "cosine",
            "lr": 1e-4,
            "head_lr_multiplier": 4.0,
            "backbone_weight_decay_multiplier": 0.25,
            "epochs": 800,
            "last_epochs": 800,
            "iterations_per_epoch": 93,
            "joint_iterations_per_epoch": 93,
            "batch_labelled": 8,
            "batch_unlabelled": 8,
            "ce_reduction": "valid",
        },
        "augment": {"crop_height": 448, "crop_width": 448, "scale_min": 0.667, "scale_max": 1.5},
        "acquisition": {"region_height": 32, "region_width": 32, "regions_per_image": 0},
    },
    "camvid-equal": {
        "data": {"adapter": "camvid", "labelled_fraction": 0.08},
        "model": {"name": "deeplabv3", "backbone": "resnet50"},
        "learner": {"name": "equal"},
        "trainer": {"optimizer": "adam", "lr": 5e-4, "weight_decay": 2e-4, "ce_reduction": "valid"},
        "reco": {"weight": 0.0},
        "acquisition": {
            "metric": "flip_entropy",
            "strategy": "global",
            "region_height": 72,
            "region_width": 96,
            "budget_pixels": 367 * 360 * 480 // 25,
        },
    },
    "camvid-deal": _deal(
        {"adapter": "camvid", "height": 360, "width": 480, "labelled_fraction": 40 / 367}, 20 * 360 * 480, 6, 4
    ),
    "cityscapes-deal": _deal(
        {
            "adapter": "cityscapes",
            "height": 688,
            "width": 688,
            "labelled_fraction": 300 / 2975,
            "test_split": "val",
        },
        150 * 1024 * 2048,
        8,
        8,
    ),
}


class Note(NamedTuple):
    """What a preset is, the paper whose protocol it follows, and the test mIoU that paper reports for it."""

    what: str
    source: str = ""
    published: str = ""


_PLUS, _S4AL = "S4AL+, arXiv 2210.08403", "S4AL, WACV 2023"
NOTES = {
    "demo": Note("embedded street scenes, no downloads, a few minutes on two cores"),
    "images": Note(
        "your own images: pretrained weights; sizes, regions and steps from the images; with --data the default"
    ),
    "camvid-small": Note("CamVid at 180x240 from packaged ImageNet weights, under 45 minutes on two cores"),
    "camvid": Note(
        "CamVid 360x480: 10 % labelled, one round of 4 regions of 30x30 an image",
        f"{_PLUS}, Table 1",
        "62.65 (10 % alone: 60.11)",
    ),
    "camvid-s4al": Note(
        "CamVid 360x480: 10 % labelled, two rounds of 4 regions of 30x30 an image",
        _S4AL,
        "over 95 % of full supervision",
    ),
    "camvid-equal": Note(
        "CamVid 360x480: 8 % labelled, then 4 % of all pixels, the best of 5x5 patches an image",
        "EquAL, BMVC 2020",
        "63.4 (full: 67.2), with a learning rate that falls to a tenth every 20 epochs",
    ),
    "cityscapes": Note(
        "Cityscapes squashed to 688x688: 10 % labelled, four rounds of 4 regions of 43x43 an image",
        f"{_PLUS}, Table 1",
        "63.60 (10 % alone: 55.45)",
    ),
    "cityscapes-s4al": Note(
        "Cityscapes squashed to 688x688: 10 % labelled, five rounds of 4 regions of 43x43 an image",
        _S4AL,
        "over 95 % of full supervision",
    ),
    "camvid-deal": Note(
        "CamVid 360x480: 40 whole images, then 20 a cycle, by difficulty, of a random half of the pool",
        "DEAL, ACCV 2020",
        "about 61.6 at 40 %, in a figure; the network has a second 3x3 convolution there",
    ),
    "cityscapes-deal": Note(
        "Cityscapes squashed to 688x688: 300 whole images, then 150 a cycle, by difficulty",
        "DEAL, ACCV 2020",
        "about 62.0 at 40 %, in a figure; 300 of the training images are not in its pool",
    ),
    "cityscapes-phtps": Note(
        "Cityscapes 512x1024: 1/4 labelled, one-way consistency on SwiftNet, no queries; crops of 448",
        "Grubišić et al., MT-PhTPS",
        "66.0 (supervised: 61.5), scales log-uniform there",
    ),
    **{
        f"cityscapes-ssl-{part}": Note(
            f"Cityscapes: 1/{part} labelled, self-training twice, no queries; crops of 768, whole test images",
            f"{_PLUS}, Fig. 5",
            "in a figure only, with a deep stem",
        )
        for part in (16, 8, 4, 2)
    },
}


class Mark(NamedTuple):
    """A published point: labelled share of all pixels and test mIoU, each of 1, and what it is."""

    share: float
    miou: float
    what: str


# Of those presets whose papers give figures, for marks beside a run's own curve.
PUBLISHED: dict[str, tuple[Mark, ...]] = {
    "camvid": (Mark(0.10, 0.6011, "S4AL+, 10 % alone"), Mark(0.121, 0.6265, "S4AL+")),
    "cityscapes": (Mark(0.10, 0.5545, "S4AL+, 10 % alone"), Mark(0.151, 0.6360, "S4AL+")),
    "camvid-equal": (Mark(0.12, 0.634, "EquAL"), Mark(1.0, 0.672, "EquAL, every label")),
    "camvid-deal": (Mark(0.40, 0.616, "DEAL, read from a figure"),),
    "cityscapes-deal": (Mark(0.40, 0.620, "DEAL, read from a figure"),),
    "cityscapes-phtps": (Mark(0.25, 0.660, "MT-PhTPS"), Mark(0.25, 0.615, "supervised")),
}
