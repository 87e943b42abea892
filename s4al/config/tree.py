"""The whole configuration: its sections, and what must hold between them."""

from __future__ import annotations

from pydantic import model_validator

from s4al.config.sections import (
    NETWORK_METRICS,
    RECO_LEARNERS,
    AcquisitionConfig,
    AugmentConfig,
    DataConfig,
    EvaluationConfig,
    ExportConfig,
    LearnerConfig,
    ModelConfig,
    PseudoConfig,
    ReCoConfig,
    RunConfig,
    ScenesConfig,
    ScorerConfig,
    Section,
    TrainerConfig,
)


class Config(Section):
    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    scenes: ScenesConfig = ScenesConfig()
    model: ModelConfig = ModelConfig()
    trainer: TrainerConfig = TrainerConfig()
    learner: LearnerConfig = LearnerConfig()
    augment: AugmentConfig = AugmentConfig()
    reco: ReCoConfig = ReCoConfig()
    pseudo: PseudoConfig = PseudoConfig()
    acquisition: AcquisitionConfig = AcquisitionConfig()
    scorer: ScorerConfig = ScorerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()

    @model_validator(mode="after")
    def _comparisons_have_masks(self) -> Config:
        for name in ("full_supervision", "random_regions"):
            if getattr(self.run, name) and self.data.oracle == "people":
                raise ValueError(f'run.{name} needs a mask for every image, which data.oracle = "people" has not')
        return self

    @model_validator(mode="after")
    def _learner_can_work(self) -> Config:
        learner, batch = self.learner, self.trainer.batch_unlabelled
        if learner.mixes and batch % 2:
            raise ValueError(
                f"the learner {learner.name} mixes pairs of unlabelled images; trainer.batch_unlabelled must be even, "
                f"not {batch}" + (", or learner.mix none" if learner.mix != "none" else "")
            )
        if learner.variant == "2w-p1" and learner.teacher == "mean":
            raise ValueError(
                "learner.variant 2w-p1 sends the gradient through both branches, and a mean teacher takes none; "
                "set learner.teacher=simple"
            )
        for key, field in ReCoConfig.model_fields.items():
            value = getattr(self.reco, key)
            unread = value != field.default and not (key == "weight" and value == 0)
            if unread and learner.name not in RECO_LEARNERS:
                raise ValueError(
                    f"the learner {learner.name} has no regional contrast, which reco.{key} {value:g} is for; leave it "
                    f"out, or set learner.name to {' or '.join(RECO_LEARNERS)}"
                )
        if learner.name == "deal" and not self.model.difficulty_stride:
            raise ValueError("the learner deal trains a difficulty branch; set model.difficulty_stride=6")
        if learner.name != "deal" and self.model.difficulty_stride:
            raise ValueError(
                f"the learner {learner.name} does not train a difficulty branch; set learner.name=deal, or leave out "
                "model.difficulty_stride"
            )
        if learner.balance == "published" and self.data.adapter not in ("camvid", "cityscapes"):
            raise ValueError(
                f"learner.balance published has class lists for camvid and cityscapes, not for {self.data.adapter}; "
                "set learner.balance=labelled"
            )
        return self

    @model_validator(mode="after")
    def _batches_have_statistics(self) -> Config:
        """All networks here have batch norms, and one image has no statistics to normalise by."""
        trainer, joint = self.trainer, self.learner.name in RECO_LEARNERS
        sizes = {"batch_labelled_only": trainer.batch_labelled_only}
        if not joint:  # they look at the two apart
            sizes |= {"batch_labelled": trainer.batch_labelled, "batch_unlabelled": trainer.batch_unlabelled}
        for name, images in sizes.items():
            if images < 2:
                raise ValueError(
                    f"trainer.{name} is {images}, and the network's batch norms need two images at least; set "
                    f"trainer.{name}=2"
                )
        return self

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Config:
        trainer, warm_up = self.trainer, self.trainer.warmup_steps
        lengths = {
            "trainer.epochs x trainer.iterations_per_epoch": trainer.epochs * trainer.iterations_per_epoch,
            "trainer.epochs x trainer.joint_iterations_per_epoch": trainer.epochs * trainer.joint_iterations_per_epoch,
            "trainer.last_epochs x trainer.joint_iterations_per_epoch": (
                trainer.last_epochs * trainer.joint_iterations_per_epoch
            ),
        }
        shortest = min(lengths, key=lambda name: lengths[name])
        if warm_up >= lengths[shortest]:
            raise ValueError(
                f"a warm-up of {warm_up:,} steps is no shorter than a training of {lengths[shortest]:,} ({shortest}); "
                f"set trainer.warmup_steps={lengths[shortest] // 10}"
            )
        return self

    @model_validator(mode="after")
    def _windows_fit(self) -> Config:
        window, data = self.evaluation, self.data
        if bool(window.window_height) != bool(window.window_width):
            raise ValueError("evaluation.window_height and window_width must both be given, or both be 0")
        if window.window_height > data.height or window.window_width > data.width:
            raise ValueError(
                f"evaluation windows of {window.window_height} x {window.window_width} pixels are larger than the "
                f"network's input, data.height x data.width = {data.height} x {data.width}"
            )
        return self

    @model_validator(mode="after")
    def _regions_fit(self) -> Config:
        region, data = self.acquisition, self.data
        if region.region_height > data.height or region.region_width > data.width:
            raise ValueError(
                f"acquisition regions of {region.region_height} x {region.region_width} pixels are larger than the "
                f"network's input, data.height x data.width = {data.height} x {data.width}"
            )
        if region.metric == "bald" and not self.model.drops_out:
            raise ValueError(
                f"acquisition.metric bald compares predictions under dropout, and {self.model.name} with model.dropout "
                f"{self.model.dropout:g} has none; set model.name to a deeplab and model.dropout above 0"
            )
        if region.metric.startswith("difficulty") and not self.model.difficulty_stride:
            raise ValueError(
                f"acquisition.metric {region.metric} needs a network with a difficulty branch; set learner.name=deal "
                "and model.difficulty_stride=6"
            )
        if region.metric == "label_doubt" and self.pseudo.threshold >= 1:
            raise ValueError(
                "acquisition.metric label_doubt looks at pixels that are sure enough to be pseudo-labels, and "
                f"pseudo.threshold {self.pseudo.threshold:g} leaves none; set pseudo.threshold below 1"
            )
        if region.pooling != "mean" and region.metric in NETWORK_METRICS:
            raise ValueError(
                f"acquisition.pooling {region.pooling} is of the scores of a network's logits, and acquisition.metric "
                f"{region.metric} is a mean; set acquisition.pooling=mean or another metric"
            )
        if region.metric == "flip_entropy" and data.width % region.region_width:
            raise ValueError(
                f"acquisition.metric flip_entropy compares regions with those of mirrored images, for which "
                f"acquisition.region_width {region.region_width} must divide data.width {data.width}"
            )
        return self


# Settings of the machine or of the length of the run: they may differ when a run is continued.
FREE_ON_RESUME = frozenset(
    {
        "run.cycles",
        "run.full_supervision",
        "run.random_regions",
        "run.tracking",
        "data.root",
        "scorer.engine",
        "scorer.batch_size",
        "scorer.threads",
        "trainer.workers",
        "trainer.checkpoint_every",
        "trainer.keep_checkpoints",
    }
)
