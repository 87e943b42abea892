"""The profile's parts: the published loop computes the same scores, and the figures add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from s4al.errors import EngineError
from s4al.kernels import region_scores
from s4al.scorer.engines import TorchEngine
from s4al.scorer.profile import profile_run
from s4al.scorer.published import published_batch
from s4al.scorer.stopwatch import Stopwatch
from s4al.state import Run
from s4al.watch import Watch
from tests.small_models import exported_run, random_images, small_card, small_scoring_network


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return exported_run(tmp_path_factory.mktemp("profile") / "run")


def load(run: Run) -> torch.nn.Module:
    return small_scoring_network(len(run.class_names))


def test_the_published_loop_chooses_the_same_regions_with_the_same_scores() -> None:
    card = small_card(cell=8)  # the published grid is ours only where the cell divides the image
    images = random_images(4)
    chosen = published_batch(small_scoring_network(), images, card, 5, threads=1)
    logits = TorchEngine(small_scoring_network, card, batch_size=4, threads=1).run(images)
    scores = region_scores(logits, height=48, width=64, region_height=8, region_width=8)
    for image in range(4):
        regions, values = zip(*chosen[5 * image : 5 * image + 5], strict=True)
        assert list(regions) == np.argsort(-scores.entropy_NR[image], kind="stable")[:5].tolist()
        np.testing.assert_allclose(values, scores.entropy_NR[image, list(regions)], atol=1e-5)


def test_the_figures_add_up(run: Run) -> None:
    result = profile_run(run, 0, images=7, load_network=lambda: load(run), watch=Watch())
    assert (result["images"], result["height"], result["width"]) == (7, 48, 64)
    assert [engine["engine"] for engine in result["engines"]] == ["ort", "torch"]
    for engine in result["engines"]:
        assert [stage["name"] for stage in engine["stages"]] == [
            "read",
            "network",
            "kernel",
            "write",
            "select",
            "other",
        ]
        assert sum(stage["share"] for stage in engine["stages"]) == pytest.approx(1.0)
        per_image = sum(stage["ms_per_image"] for stage in engine["stages"])
        assert 1000 / per_image == pytest.approx(engine["images_per_s"])
        assert engine["share_of_bare"] == pytest.approx(engine["images_per_s"] / engine["bare_images_per_s"])
    assert result["baseline"]["images_per_s"] == pytest.approx(1000 / result["baseline"]["ms_per_image"])


def test_engines_that_were_named_must_work(run: Run) -> None:
    result = profile_run(run, 0, engines=["ort"], images=1, load_network=lambda: load(run), watch=Watch())
    assert [engine["engine"] for engine in result["engines"]] == ["ort"]
    with pytest.raises(EngineError, match="TensorRT"):
        profile_run(run, 0, engines=["ort", "trt"], load_network=lambda: load(run), watch=Watch())


def test_profiling_writes_nothing_into_the_run(run: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(run.root).rglob("*")}
    profile_run(run, 0, engines=["ort"], images=3, load_network=lambda: load(run), watch=Watch())
    assert {path: path.stat().st_mtime_ns for path in Path(run.root).rglob("*")} == before


def test_a_stopwatch_adds_up_by_stage() -> None:
    watch = Stopwatch()
    for _ in range(3):
        with watch.stage("a"):
            pass
    with pytest.raises(ValueError, match="x"), watch.stage("b"):
        raise ValueError("x")
    assert set(watch.seconds) == {"a", "b"}
    assert all(seconds >= 0 for seconds in watch.seconds.values())
