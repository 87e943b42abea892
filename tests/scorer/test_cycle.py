"""Scoring a run's pool: what is committed, and that a stop at any point changes none of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s4al import files
from s4al.config import Strategy
from s4al.data.cache import ImageCache
from s4al.data.pool import Pool, Row, load_pool, write_pool
from s4al.errors import EngineError, NumericsError, RunStateError
from s4al.kernels import region_scores
from s4al.run.state import LabelledRegion, Run
from s4al.scorer import EngineRequest, score_cycle, select_cycle
from s4al.watch import Interrupted, Watch
from tests.notes import Notes
from tests.small_models import SmallNetworks, commit_export, exported_run, small_model
from tests.tiny import digests


class Recorder(Notes):
    """Asks to stop after some number of batches."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self._left = stop_after

    def progress(self, task: str, done: int, total: int, **fields: float) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self.request_stop()


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run ready to be scored: 12 training images, 3 labelled; shards of 4, batches of 2."""
    return exported_run(tmp_path_factory.mktemp("master") / "run").root


@pytest.fixture
def run(master: Path, tmp_path: Path) -> Run:
    return copy_of(master, tmp_path / "run")


@pytest.fixture(scope="module")
def expected(master: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed scoring leaves."""
    run = copy_of(master, tmp_path_factory.mktemp("expected") / "run")
    score_cycle(run, 0, watch=Watch())
    return digests(run.cycle(0))


def copy_of(master: Path, root: Path) -> Run:
    shutil.copytree(master, root)
    return Run.open(root)


def score_table(run: Run, cycle: int = 0) -> dict[str, np.ndarray]:
    tables = [files.read_table(path) for path in sorted(run.stage(cycle, "score").glob("shard-*.parquet"))]
    return {name: np.concatenate([table[name].to_numpy() for table in tables]) for name in tables[0].column_names}


def test_every_image_that_is_not_labelled_is_scored_in_every_region(run: Run) -> None:
    result = score_cycle(run, 0, watch=Watch())
    labelled = {region.image for region in run.labelled_regions(0)}
    pool = load_pool(run.pool_file).train.ids
    unlabelled = [image for image in pool if image not in labelled]
    regions = run.grid.num_regions
    table = files.read_table(run.stage(0, "score") / "shard-00000.parquet")
    columns = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert columns == {
        "image": "string",
        "region": "int32",
        "y0": "int32",
        "x0": "int32",
        "y1": "int32",
        "x1": "int32",
        "entropy": "float",
        "least_confidence": "float",
        "margin": "float",
        "labelled": "float",
        "predicted": "int16",
    }
    scores = score_table(run)
    assert scores["image"].tolist() == [image for image in unlabelled for _ in range(regions)]
    assert scores["region"].tolist() == list(range(regions)) * len(unlabelled)
    assert not scores["labelled"].any()
    boxes = np.stack([scores[name] for name in ("y0", "x0", "y1", "x1")], axis=1)
    np.testing.assert_array_equal(boxes[:regions], run.grid.original_boxes(48, 64))
    assert len(list(run.stage(0, "score").glob("shard-*.parquet"))) == 3
    assert (result.images, result.quarantined, result.engine, result.out) == (9, 0, "ort", run.stage(0, "score"))
    assert result.images_per_s is not None
    assert run.clock()["000/score"]["engine"] == "ort"
    assert not (run.cycle(0) / ".work-score").exists()


def test_scores_and_pseudo_labels_are_those_of_the_kernel(run: Run) -> None:
    from s4al.scorer.cycle import open_run_engine

    score_cycle(run, 0, watch=Watch())
    engine = open_run_engine(run, 0, EngineRequest(), watch=Watch())
    pseudo = ImageCache.open(run.stage(0, "pseudo"), "masks")
    scores = score_table(run)
    regions = run.grid.num_regions
    with ImageCache.open(run.cache / "train") as cache:
        for row, image in enumerate(pseudo.ids):
            pair = np.stack([cache.read(cache.ids.index(image))] * engine.batch_size)
            threshold = run.config.pseudo.threshold
            one = region_scores(
                engine.run(pair), height=48, width=64, region_height=10, region_width=10, confidence_threshold=threshold
            )
            np.testing.assert_array_equal(pseudo.read(row), one.label_NHW[0])
            at = slice(row * regions, (row + 1) * regions)
            np.testing.assert_allclose(scores["entropy"][at], one.entropy_NR[0], atol=1e-6)
            np.testing.assert_allclose(scores["margin"][at], one.margin_NR[0], atol=1e-6)


def test_manifests_say_how_it_was_made(run: Run) -> None:
    score_cycle(run, 0, watch=Watch())
    for stage in ("pseudo", "score"):
        about = files.verify_folder(run.stage(0, stage))
        assert about["inputs"] == {"export": files.manifest_digest(run.stage(0, "export"))}
        assert (about["engine"], about["provider"], about["batch_size"]) == ("ort", "CPUExecutionProvider", 2)
        assert about["images"] == 9


def test_scoring_again_does_nothing(run: Run, expected: dict[str, bytes]) -> None:
    first = score_cycle(run, 0, watch=Watch())
    again = score_cycle(run, 0, watch=Watch())
    assert again == replace(first, seconds=0.0, images_per_s=None)
    assert digests(run.cycle(0)) == expected


@pytest.mark.parametrize("batches", range(1, 6))
def test_a_stop_after_any_batch_resumes_to_the_same_bytes(batches: int, run: Run, expected: dict[str, bytes]) -> None:
    with pytest.raises(Interrupted):
        score_cycle(run, 0, watch=Recorder(stop_after=batches))
    assert not run.is_committed(0, "score")
    done = {1: 0, 2: 1, 3: 1, 4: 2, 5: 3}[batches]  # shards of two, two and one batch
    assert len(list((run.cycle(0) / ".work-score").glob("shard-*"))) == done
    watch = Recorder()
    score_cycle(run, 0, watch=watch)
    resumed = [line for line in watch.lines if "resumed" in line]
    assert resumed == ([f"Cycle 0: scoring resumed, {done} of 3 shards were done."] if done else [])
    assert digests(run.cycle(0)) == expected


def interrupted(run: Run) -> Path:
    """All three shards scored, nothing committed."""
    with pytest.raises(Interrupted):
        score_cycle(run, 0, watch=Recorder(stop_after=5))
    return run.cycle(0) / ".work-score"


@pytest.mark.parametrize("damage", ["truncated", "one bit", "file gone", "manifest gone", "folder gone"])
def test_a_damaged_shard_is_scored_again(damage: str, run: Run, expected: dict[str, bytes]) -> None:
    piece = interrupted(run) / "shard-00001"
    masks = piece / "masks.npy"
    match damage:
        case "truncated":
            masks.write_bytes(masks.read_bytes()[:-5])
        case "one bit":
            data = bytearray(masks.read_bytes())
            data[-100] ^= 1
            masks.write_bytes(data)
        case "file gone":
            (piece / "scores.parquet").unlink()
        case "manifest gone":
            (piece / files.MANIFEST).unlink()
        case "folder gone":
            shutil.rmtree(piece)
    score_cycle(run, 0, watch=Watch())
    assert digests(run.cycle(0)) == expected


class PowerCut(BaseException):
    pass


@pytest.mark.parametrize("stage", ["pseudo", "score"])
def test_a_cut_before_or_between_the_commits(
    stage: str, run: Run, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = files._rename

    def cut(source: Path, target: Path) -> None:
        if target == run.stage(0, stage):
            raise PowerCut
        rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(files, "_rename", cut)
        with pytest.raises(PowerCut):
            score_cycle(run, 0, watch=Watch())
    assert run.is_committed(0, "pseudo") == (stage == "score")
    files.remove_leftovers(run.root)
    score_cycle(run, 0, watch=Watch())
    assert digests(run.cycle(0)) == expected


def test_a_kill_after_the_commit_leaves_nothing_behind(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = shutil.rmtree

    def cut(path: Path, **options: bool) -> None:
        if path.name == ".work-score":
            raise PowerCut
        remove(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", cut)
        with pytest.raises(PowerCut):
            score_cycle(run, 0, watch=Watch())
    assert run.is_committed(0, "score")
    score_cycle(run, 0, watch=Watch())
    assert not (run.cycle(0) / ".work-score").exists()


def with_batch(run: Run, batch_size: int) -> Run:
    scorer = run.config.scorer.model_copy(update={"batch_size": batch_size})
    return Run(run.root, run.config.model_copy(update={"scorer": scorer}))


def test_one_folder_holds_the_scores_of_one_engine(run: Run) -> None:
    with pytest.raises(Interrupted):
        score_cycle(run, 0, watch=Recorder(stop_after=4))
    watch = Recorder()
    score_cycle(with_batch(run, 3), 0, watch=watch)
    assert "Scoring starts again: 2 shards were scored with ort (CPUExecutionProvider, batch 2)." in watch.lines
    assert files.read_manifest(run.stage(0, "score"))["batch_size"] == 3


def test_pseudo_labels_of_another_engine_are_not_mixed_with_these_scores(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_cycle(run, 0, watch=Watch())
    shutil.rmtree(run.stage(0, "score"))
    with pytest.raises(EngineError, match=r"made with ort \(CPUExecutionProvider, batch 2\), not with .* batch 4"):
        score_cycle(with_batch(run, 4), 0, watch=Watch())


def test_a_damaged_model_is_not_loaded(run: Run) -> None:
    model = run.stage(0, "export") / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    with pytest.raises(RunStateError, match=r"model\.onnx does not match its manifest"):
        score_cycle(run, 0, watch=Watch())


def test_a_model_of_other_classes_is_refused(run: Run) -> None:
    shutil.rmtree(run.stage(0, "train"))
    shutil.rmtree(run.stage(0, "export"))
    commit_export(run, 0, model=small_model(("road", "car", "sky")))
    with pytest.raises(EngineError, match="The model's classes, road, car, sky, is not the run's"):
        score_cycle(run, 0, watch=Watch())


def test_a_network_that_gives_nan_stops_with_the_images_named(run: Run) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(small_model(tuple(run.class_names)))
    bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [len(run.class_names)])
    bias.CopyFrom(numpy_helper.from_array(np.full(len(run.class_names), np.nan, np.float32), bias.name))
    shutil.rmtree(run.stage(0, "train"))
    shutil.rmtree(run.stage(0, "export"))
    commit_export(run, 0, model=model.SerializeToString())
    with pytest.raises(NumericsError) as caught:
        score_cycle(run, 0, watch=Watch())
    assert caught.value.exit_code == 7
    scored = [image for image in load_pool(run.pool_file).train.ids if image in caught.value.what]
    assert len(scored) == 2
    assert not run.is_committed(0, "pseudo")
    assert not [path for path in run.root.rglob("*") if path.name.startswith(files.TEMPORARY)]


def test_everything_labelled_scores_and_selects_nothing(tmp_path: Path) -> None:
    run = exported_run(tmp_path / "run", "data.labelled_fraction=1.0")
    result = score_cycle(run, 0, watch=Watch())
    assert (result.images, result.images_per_s) == (0, None)
    assert files.read_table(run.stage(0, "score") / "shard-00000.parquet").num_rows == 0
    assert len(ImageCache.open(run.stage(0, "pseudo"), "masks")) == 0
    watch = Recorder()
    selected = select_cycle(run, 0, watch=watch)
    assert (selected.regions, selected.images, selected.pixels) == (0, 0, 0)
    assert watch.lines == ["No region is left to ask for: everything that may be asked is labelled."]
    assert files.read_table(selected.out).num_rows == 0


def test_one_image_of_the_pool(tmp_path: Path) -> None:
    run = exported_run(tmp_path / "run", "scenes.train=2", "data.labelled_fraction=0.5")
    assert score_cycle(run, 0, watch=Watch()).images == 1
    assert select_cycle(run, 0, watch=Watch()).regions == 2


def test_images_set_aside_are_listed_and_counted(run: Run) -> None:
    bad = Row("bad [1] ü", "train", "train/images/bad [1] ü.png", "", reason="bad [1] ü.png: ends early")
    pool = load_pool(run.pool_file)
    write_pool(Pool((*pool.rows, bad, replace(bad, id="test/bad", split="test"))), run.pool_file)
    assert score_cycle(run, 0, watch=Watch()).quarantined == 1
    table = files.read_table(run.stage(0, "score") / "quarantine.parquet")
    assert table.to_pylist() == [{"image": bad.id, "path": bad.image, "reason": bad.reason}]


# --- the next cycle ---


def label_selected(run: Run, cycle: int) -> list[dict[str, Any]]:
    """Label what `cycle` selected; the masks themselves do not matter here."""
    chosen = files.read_table(run.stage(cycle, "select") / "selections.parquet").to_pylist()
    regions = [
        LabelledRegion(*(row[name] for name in ("image", "region", "y0", "x0", "y1", "x1")), cycle + 1, "oracle")
        for row in chosen
    ]
    run.commit_labels(cycle + 1, regions, iter(()))
    return chosen


def test_labelled_regions_score_zero_and_are_never_asked_again(run: Run) -> None:
    score_cycle(run, 0, watch=Watch())
    select_cycle(run, 0, watch=Watch())
    asked = {(row["image"], row["region"]) for row in label_selected(run, 0)}
    commit_export(run, 1, seed=1)
    score_cycle(run, 1, watch=Watch())
    scores = score_table(run, 1)
    labelled = np.array([key in asked for key in zip(scores["image"], scores["region"].tolist(), strict=True)])
    assert labelled.sum() == len(asked) == 18
    np.testing.assert_array_equal(scores["labelled"], labelled.astype(np.float32))
    assert not scores["entropy"][labelled].any()
    assert (scores["entropy"][~labelled] > 0).all()
    select_cycle(run, 1, watch=Watch())
    table = files.read_table(run.stage(1, "select") / "selections.parquet")
    assert table.num_rows == 18
    assert not asked & {(row["image"], row["region"]) for row in table.to_pylist()}


# --- the select stage ---


@pytest.fixture(scope="module")
def scored_master(master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = copy_of(master, tmp_path_factory.mktemp("scored") / "run")
    score_cycle(run, 0, watch=Watch())
    return run.root


@pytest.fixture
def scored(scored_master: Path, tmp_path: Path) -> Iterator[Run]:
    yield copy_of(scored_master, tmp_path / "run")


def test_selections_name_regions_in_original_pixels(scored: Run) -> None:
    result = select_cycle(scored, 0, watch=Watch())
    table = files.read_table(result.out)
    assert table.column_names == ["image", "region", "y0", "x0", "y1", "x1", "score", "rank", "reason"]
    boxes = scored.grid.original_boxes(48, 64)
    for row in table.to_pylist():
        assert [row[name] for name in ("y0", "x0", "y1", "x1")] == boxes[row["region"]].tolist()
        assert row["reason"] == "highest entropy of its image"
    assert result.regions == table.num_rows == 18
    assert result.images == 9
    assert result.pixels == sum((row["y1"] - row["y0"]) * (row["x1"] - row["x0"]) for row in table.to_pylist())
    scores = score_table(scored)
    first = scores["image"] == table["image"][0].as_py()
    assert table["score"][0].as_py() == scores["entropy"][first].max()


def test_settings_given_win_over_the_runs_and_are_recorded(scored: Run) -> None:
    result = select_cycle(
        scored, 0, strategy="global", metric="margin", regions_per_image=3, budget_pixels=1000, watch=Watch()
    )
    assert (result.strategy, result.metric) == ("global", "margin")
    assert 900 < result.pixels <= 1000
    about = files.read_manifest(scored.stage(0, "select"))
    assert (about["strategy"], about["metric"], about["regions_per_image"], about["budget_pixels"]) == (
        "global",
        "margin",
        3,
        1000,
    )


def test_selecting_again_gives_the_same_and_other_settings_are_refused(scored: Run) -> None:
    first = select_cycle(scored, 0, watch=Watch())
    assert select_cycle(scored, 0, watch=Watch()) == first
    with pytest.raises(RunStateError, match=r"with strategy 'per-image', not 'random'\.") as caught:
        select_cycle(scored, 0, strategy="random", watch=Watch())
    assert caught.value.exit_code == 5


def test_a_budget_larger_than_the_pool_says_so(scored: Run) -> None:
    watch = Recorder()
    result = select_cycle(scored, 0, strategy="global", budget_pixels=10**9, watch=watch)
    assert result.regions == 9 * scored.grid.num_regions
    assert watch.lines == [f"The budget covers all {result.regions} regions that are left; all of them are asked for."]


def test_regions_that_the_score_does_not_tell_apart_are_counted(tmp_path: Path) -> None:
    run = exported_run(tmp_path / "run", "run.seed=1")
    score_cycle(run, 0, watch=Watch())
    for path in run.stage(0, "score").glob("shard-*.parquet"):
        table = files.read_table(path)
        column = table.column_names.index("margin")
        zero_but_first = np.where(table["region"].to_numpy() == 0, table["margin"].to_numpy(), np.float32(0))
        files.write_table(path, table.set_column(column, "margin", [zero_but_first]))
    files.seal_folder(run.stage(0, "score"), run.stage(0, "score"), {"stage": "score"})
    watch = Recorder()
    assert select_cycle(run, 0, metric="margin", watch=watch).regions == 18
    assert watch.lines == [
        "9 of the 18 regions chosen have a margin of 0, which says nothing about which of them are worth more."
    ]


@pytest.mark.parametrize("strategy", ["balanced", "class-confidence"])
def test_rules_by_class_name_it(scored: Run, strategy: Strategy) -> None:
    result = select_cycle(scored, 0, strategy=strategy, watch=Watch())
    reasons = set(files.read_table(result.out)["reason"].to_pylist())
    assert all(reason.startswith("highest entropy of regions predicted as ") for reason in reasons)
    assert {reason.rpartition(" as ")[2] for reason in reasons} <= set(scored.class_names)


def test_class_quota_says_what_was_chosen_for_its_class_and_by_which_noise(scored: Run) -> None:
    result = select_cycle(scored, 0, strategy="class-quota", budget_pixels=6000, watch=Watch())
    reasons = files.read_table(result.out)["reason"].to_pylist()
    number = reasons.index("highest entropy with noise of the pool")
    assert number > 0 and set(reasons[number:]) == {"highest entropy with noise of the pool"}
    assert all(each.startswith("highest entropy with noise of regions predicted as ") for each in reasons[:number])
    assert files.read_manifest(scored.stage(0, "select"))["noise_beta"] == 1.0


def test_a_budget_without_a_region_for_any_class_says_so(scored: Run) -> None:
    watch = Recorder()
    result = select_cycle(scored, 0, strategy="class-quota", budget_pixels=120, watch=watch)
    assert result.regions == 1
    assert watch.lines == [
        "No class's part of the budget is as large as a region; all regions are the best of the whole pool."
    ]


def test_the_outer_ring_can_be_left_out(master: Path, tmp_path: Path) -> None:
    run = exported_run(tmp_path / "run", "acquisition.exclude_ring=true", "acquisition.regions_per_image=100")
    score_cycle(run, 0, watch=Watch())
    result = select_cycle(run, 0, watch=Watch())
    inner = int((~run.grid.ring()).sum())
    assert result.regions == 9 * inner


def test_selection_is_the_same_bytes_every_time(scored: Run, scored_master: Path, tmp_path: Path) -> None:
    other = copy_of(scored_master, tmp_path / "other")
    for run in (scored, other):
        select_cycle(run, 0, strategy="random", watch=Watch())
    assert digests(scored.stage(0, "select")) == digests(other.stage(0, "select"))


def test_selecting_before_scoring_says_what_to_do(run: Run) -> None:
    with pytest.raises(RunStateError, match="Cycle 0 has no score yet"):
        select_cycle(run, 0, watch=Watch())


def test_an_engine_that_is_named_is_looked_at_even_where_nothing_is_left_to_score(run: Run) -> None:
    score_cycle(run, 0, watch=Watch())
    before = digests(run.root)
    with pytest.raises(EngineError, match="TensorRT") as caught:
        score_cycle(run, 0, EngineRequest("trt"), watch=Watch())
    assert caught.value.exit_code == 6
    watch = Recorder()
    result = score_cycle(run, 0, EngineRequest("torch", networks=SmallNetworks(len(run.class_names))), watch=watch)
    assert (result.engine, result.images_per_s) == ("ort", None)
    assert watch.lines[-1] == "Cycle 0 was scored with ort before, and committed scores are kept."
    assert digests(run.root) == before
