from __future__ import annotations

import tomllib

import pytest

from s4al import config
from s4al.config import LEARNERS, Config
from s4al.errors import ConfigError
from s4al.presets import PRESETS


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_a_dump_reads_back_equal(preset, tmp_path):
    resolved = config.resolve(preset)
    file = tmp_path / "run.toml"
    file.write_text(config.dump(resolved))
    assert config.load(file) == resolved
    assert set(tomllib.loads(config.dump(resolved))) == set(Config.model_fields)


def test_precedence_is_preset_then_file_then_command_line(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[trainer]\nlr = 0.5\nmomentum = 0.5\n")
    resolved = config.resolve("camvid-small", file, ["trainer.momentum=0.25"])
    assert (resolved.trainer.lr, resolved.trainer.momentum, resolved.data.height) == (0.5, 0.25, 180)


def test_an_unknown_key_names_file_line_and_nearest_key(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[run]\nseed = 1\n\n[trainer]\nmomentum = 0.9\nlearning_rate = 0.1\n")
    with pytest.raises(ConfigError) as caught:
        config.resolve(None, file)
    assert caught.value.exit_code == 2
    assert f"{file}:6" in caught.value.what
    assert "trainer.learning_rate" in caught.value.what
    assert "trainer.lr" in caught.value.what


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainer.lr=fast", ["trainer.lr", "fast"]),
        ("trainer.lr=-1", ["trainer.lr", "greater than 0"]),
        ("traner.lr=1", ["unknown section traner", "trainer"]),
        ("trainer.lr", ["section.key=value"]),
        ("trainer=1", ["section.key=value"]),
        ("acquisition.region_height=400", ["larger than the network's input", "400"]),
        ("acquisition.pooling=median", ["acquisition.pooling", "top-tenth"]),
        ("pseudo.scales=[]", ["one or more"]),
        ("augment.scale_min=3", ["scale_max"]),
        ("run.seed=-1", ["run.seed"]),
    ],
)
def test_bad_values_are_named(override, words):
    with pytest.raises(ConfigError) as caught:
        config.resolve("camvid", None, [override])
    for word in words:
        assert word in str(caught.value)


def test_pooling_is_refused_for_metrics_that_are_means():
    with pytest.raises(ConfigError, match=r"acquisition\.pooling max .* acquisition\.metric bald is a mean"):
        config.resolve("camvid", None, ["acquisition.metric=bald", "acquisition.pooling=max"])


def test_unknown_preset_suggests_the_nearest():
    with pytest.raises(ConfigError, match="camvid-small"):
        config.resolve("camvid-smal")


@pytest.mark.parametrize("text", ["[run\n", "seed = \n", "\xff"])
def test_broken_toml_is_a_config_error(tmp_path, text):
    file = tmp_path / "bad.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        config.resolve(None, file)


def test_bare_words_and_toml_values_are_both_accepted():
    resolved = config.resolve(None, None, ["data.adapter=voc", 'model.weights="none"', "pseudo.scales=[1.0, 2.0, 0.5]"])
    assert (resolved.data.adapter, resolved.model.weights, resolved.pseudo.scales) == ("voc", "none", (1.0, 2.0, 0.5))


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.classes=background,red", ("background", "red")),
        ("data.classes=background", ("background",)),
        ('data.classes="a","b c"', ("a", "b c")),
        ('data.classes="a, b"', ("a", "b")),
        ('data.classes=["a"]', ("a",)),
        ("data.classes=[background,car,road]", ("background", "car", "road")),
        ("pseudo.scales=1,2,0.5", (1.0, 2.0, 0.5)),
        ("pseudo.scales=2", (2.0,)),
        ("data.value_range=0,4095", (0.0, 4095.0)),
        ("data.mask_values=0:background,255:red", {"0": "background", "255": "red"}),
        ("data.mask_values=#804000:road,#000000:ignore", {"#804000": "road", "#000000": "ignore"}),
        ('data.mask_values={0 = "a", "128,64,0" = "b"}', {"0": "a", "128,64,0": "b"}),
    ],
)
def test_lists_and_tables_as_a_shell_makes_them_easy(override, value, tmp_path):
    name = override.partition("=")[0].split(".")
    resolved = config.resolve(None, None, [override])
    assert getattr(getattr(resolved, name[0]), name[1]) == value
    (tmp_path / "run.toml").write_text(config.dump(resolved))
    assert config.load(tmp_path / "run.toml") == resolved


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.mask_values=3", "valid dictionary"),
        ("data.mask_values=road", "'road' is not of the form value:name"),
        ("pseudo.scales=1,x", "unable to parse"),
        ("data.value_range=1,2,3", "at most 2 items"),
        ("trainer.batch_labelled_only=1", "batch norms need two images at least; set trainer.batch_labelled_only=2"),
    ],
)
def test_what_is_no_list_table_or_batch(override, message):
    with pytest.raises(ConfigError, match=message):
        config.resolve(None, None, [override])


def test_a_batch_of_one_is_refused_where_a_learner_looks_at_it_alone():
    one = ["trainer.batch_labelled=1", "trainer.batch_unlabelled=2"]
    config.resolve(None, None, one)  # S4AL+ puts them together
    with pytest.raises(ConfigError, match=r"trainer\.batch_labelled is 1.*set trainer\.batch_labelled=2"):
        config.resolve(None, None, ["learner.name=mean-teacher", *one])


def test_inferred_settings_replace_the_presets_and_give_way_to_what_was_typed(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[data]\nwidth = 320\n")
    inferred = {"data.height": 64, "data.width": 96, "trainer.lr": 0.5}
    resolved = config.resolve("camvid-small", file, ["trainer.lr=0.1"], inferred)
    assert (resolved.data.height, resolved.data.width, resolved.trainer.lr) == (64, 320, 0.1)
    assert config.given_keys(file, ["trainer.lr=0.1"]) == {"data.width", "trainer.lr"}


def test_only_machine_settings_and_length_may_change_on_resume():
    stored = config.resolve("camvid")
    free = config.set_values(stored, ["run.cycles=5", "scorer.batch_size=9", "data.root='elsewhere'"])
    assert config.changes(stored, free) == {}
    assert config.fingerprint(stored) == config.fingerprint(free)
    other = config.set_values(stored, ["trainer.lr=0.02"])
    assert config.changes(stored, other) == {"trainer.lr": (0.01, 0.02)}
    assert config.fingerprint(stored) != config.fingerprint(other)


def test_the_papers_numbers():
    camvid, city = config.resolve("camvid"), config.resolve("cityscapes")
    assert (camvid.trainer.epochs, camvid.trainer.last_epochs) == (100, 150)
    assert (camvid.trainer.iterations_per_epoch, camvid.trainer.joint_iterations_per_epoch) == (50, 100)
    assert (city.trainer.epochs, city.trainer.last_epochs) == (100, 200)
    assert (city.trainer.iterations_per_epoch, city.trainer.joint_iterations_per_epoch) == (100, 300)
    for preset in (camvid, city):
        trainer = preset.trainer
        assert (trainer.batch_labelled_only, trainer.batch_labelled, trainer.batch_unlabelled) == (4, 2, 4)
        assert (trainer.lr, trainer.weight_decay, trainer.momentum, trainer.poly_power) == (1e-2, 1e-4, 0.9, 0.9)
        assert (preset.pseudo.threshold, preset.acquisition.regions_per_image) == (0.7, 4)
        reco = preset.reco
        assert (reco.num_queries, reco.num_negatives, reco.temperature, reco.strong_threshold) == (128, 256, 0.5, 0.95)
    assert (camvid.run.cycles, city.run.cycles) == (2, 5)


@pytest.mark.parametrize(("key", "shortest"), [("iterations_per_epoch", "200"), ("joint_iterations_per_epoch", "100")])
def test_a_warm_up_that_never_ends_is_refused(key, shortest):
    lengths = ["trainer.epochs=10", "trainer.iterations_per_epoch=20", "trainer.joint_iterations_per_epoch=40"]
    lengths += ["trainer.joint_iterations_per_epoch=10"] if key.startswith("joint") else []
    message = (
        rf"warm-up of {shortest} steps is no shorter than a training of {shortest} \(.*{key}\); set trainer.warmup"
    )
    with pytest.raises(ConfigError, match=message):
        config.resolve(overrides=[*lengths, f"trainer.warmup_steps={shortest}"])
    config.resolve(overrides=[*lengths, f"trainer.warmup_steps={int(shortest) - 1}"])


def test_a_warm_up_as_long_as_the_last_training_is_refused():
    lengths = ["trainer.epochs=10", "trainer.last_epochs=2", "trainer.joint_iterations_per_epoch=10"]
    with pytest.raises(ConfigError, match=r"a training of 20 \(trainer\.last_epochs x"):
        config.resolve(overrides=[*lengths, "trainer.warmup_steps=20"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.name=unet", "model.backbone=efficientnet_lite0"], "smp:unet/tu-tf_efficientnet_lite0"),
        (["model.backbone=resnet50-deep"], "resnet50-deep has no ImageNet weights; set model.weights"),
    ],
)
def test_backbones_that_cannot_be_had_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        config.resolve(overrides=overrides)


def test_the_learning_rates_and_weight_decays_of_phtps():
    """Backbone 1e-4 and 2.5e-5, the rest 4e-4 and 1e-4."""
    trainer = config.resolve("cityscapes-phtps").trainer
    assert (trainer.lr, trainer.lr * trainer.head_lr_multiplier) == (1e-4, 4e-4)
    assert (trainer.weight_decay * trainer.backbone_weight_decay_multiplier, trainer.weight_decay) == (2.5e-5, 1e-4)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_has_its_own_defaults_and_reads_back_equal(name, tmp_path):
    branch = ["model.difficulty_stride=6"] if name == "deal" else []
    resolved = config.resolve("camvid", overrides=[f"learner.name={name}", *branch])
    assert {key: getattr(resolved.learner, key) for key in LEARNERS[name]} == LEARNERS[name]
    file = tmp_path / "run.toml"
    file.write_text(config.dump(resolved))
    assert config.load(file) == resolved


def test_a_setting_of_another_learner_is_refused_and_says_whose_it_is():
    with pytest.raises(ConfigError, match="the learner cps has no setting temperature; it is one of uda"):
        config.resolve(overrides=["learner.name=cps", "learner.temperature=0.3"])


def test_another_learner_than_the_presets_starts_from_its_own_defaults():
    other = config.resolve("cityscapes-s4al", overrides=["learner.name=cps"])
    assert other.learner == config.resolve(overrides=["learner.name=cps"]).learner
    kept = config.resolve("cityscapes-s4al", overrides=["learner.name=s4al", "learner.decay=0.9"])
    assert (kept.learner.replay_size, kept.learner.decay) == (500, 0.9)
    supervised = config.set_values(other, ["learner.name=supervised"])
    assert supervised.learner == config.resolve(overrides=["learner.name=supervised"]).learner


def test_another_learner_drops_the_contrast_of_the_one_before(tmp_path):
    defaults = config.resolve().reco
    other = config.resolve("demo", overrides=["reco.num_queries=8", "learner.name=cutmix"])
    assert other.reco == defaults
    for same in ("s4al-plus", "supervised"):
        assert config.resolve("demo", overrides=[f"learner.name={same}"]).reco.num_queries == 64
    assert config.set_values(config.resolve("demo"), ["learner.name=s4al"]).reco == defaults
    file = tmp_path / "mine.toml"
    file.write_text(config.dump(config.resolve("demo")))
    assert config.resolve(None, file, ["learner.name=uda"]).reco == defaults
    file.write_text('[reco]\nnum_queries = 8\n[learner]\nname = "cutmix"\n')  # both meant, in whatever order
    with pytest.raises(ConfigError, match=r"reco\.num_queries 8"):
        config.resolve("demo", file)


def test_what_is_true_of_a_learner_may_be_said():
    assert config.resolve(overrides=["learner.name=cps", "reco.weight=0", "reco.num_queries=128"]).reco.weight == 0
    simple = config.resolve(overrides=["learner.name=cutmix", "learner.teacher=simple", "learner.decay=0.99"])
    assert simple.learner.teacher == "simple"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["learner.name=cutmix", "trainer.batch_unlabelled=3"], "must be even, not 3"),
        (["learner.name=cps", "trainer.batch_unlabelled=1"], "must be even, not 1, or learner.mix none"),
        (["learner.name=phtps", "learner.variant=2w-p1"], "learner.teacher=simple"),
        (["learner.name=cutmix", "learner.teacher=simple", "learner.decay=0.9"], "learner.teacher=mean, or leave out"),
        (["learner.name=uda", "learner.decay=0.9"], "the learner uda has no setting decay"),
        (["learner.name=s4al", "reco.num_queries=8"], "reco.num_queries 8 is for; .* s4al-plus or supervised"),
        (["learner.name=cps", "reco.weight=0.5"], "the learner cps has no regional contrast, which reco.weight 0.5"),
        (["learner.name=s4al", "learner.balance=published"], "not for auto; set learner.balance=labelled"),
        (["learner.name=deal"], "set model.difficulty_stride=6"),
        (["model.difficulty_stride=6"], "set learner.name=deal, or leave out model.difficulty_stride"),
        (["acquisition.metric=difficulty_entropy"], "set learner.name=deal and model.difficulty_stride=6"),
        (["acquisition.metric=label_doubt", "pseudo.threshold=1.0"], "set pseudo.threshold below 1"),
        (["acquisition.metric=bald", "model.dropout=0"], "set model.name to a deeplab and model.dropout above 0"),
        (["acquisition.metric=bald", "model.name=swiftnet", "model.backbone=resnet18"], "swiftnet .* has none"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_what_to_change(overrides, message):
    with pytest.raises(ConfigError, match=message):
        config.resolve(overrides=overrides)
