"""Flip self-consistency: every image is scored twice, and a region's score is its own plus that of its mirror image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from s4al import files
from s4al.config import resolve
from s4al.data.cache import ImageCache
from s4al.data.scenes import scenes
from s4al.errors import ConfigError, RunStateError
from s4al.export.onnx_export import export_onnx
from s4al.kernels import region_scores
from s4al.run.state import Run
from s4al.scorer import EngineRequest, score_cycle, select_cycle
from s4al.scorer.engines.cpu_engines import OrtEngine
from s4al.watch import Watch
from tests.small_models import commit_export, small_card, small_scoring_network
from tests.tiny import labelled_run

# 48 x 64 pixels in cells of 10 x 16: five rows, the last one ragged, of four cells.
FLIP = ("acquisition.metric=flip_entropy", "acquisition.region_width=16")


@pytest.fixture(scope="module")
def engine() -> OrtEngine:
    names = tuple(scenes.CLASSES)
    card = dataclasses.replace(small_card(names), region_width=16)
    return OrtEngine(export_onnx(small_scoring_network(len(names)), card), card, batch_size=2, threads=1)


@pytest.fixture
def make(tmp_path: Path, engine: OrtEngine) -> Callable[..., Run]:
    def make(name: str, *overrides: str) -> Run:
        run, _, _ = labelled_run(tmp_path / name, *overrides)
        commit_export(run, 0, model=export_onnx(small_scoring_network(len(run.class_names)), engine.card))
        return run

    return make


def test_the_score_is_the_entropy_of_both_views(make: Callable[..., Run], engine: OrtEngine) -> None:
    run = make("run", *FLIP)
    result = score_cycle(run, 0, EngineRequest("ort"), watch=Watch())
    assert result.images == 9
    rows = [row for path in sorted(result.out.glob("shard-*.parquet")) for row in files.read_table(path).to_pylist()]
    assert len(rows) == 9 * 20
    with ImageCache.open(run.cache / "train") as cache:
        for image in {row["image"] for row in rows}:
            pixels = cache.read(cache.ids.index(image))
            views = np.stack([pixels, pixels[:, ::-1]])
            logits = np.ascontiguousarray(engine.run(views))
            entropy = region_scores(logits, height=48, width=64, region_height=10, region_width=16).entropy_NR
            expected = entropy[0] + entropy[1].reshape(5, 4)[:, ::-1].ravel()
            found = [row["flip_entropy"] for row in rows if row["image"] == image]
            assert found == pytest.approx(expected.tolist(), abs=1e-4)
            assert [row["entropy"] for row in rows if row["image"] == image] == pytest.approx(
                entropy[0].tolist(), abs=1e-4
            )


def test_pseudo_labels_are_of_the_image_as_it_is_and_selection_goes_by_the_sum(make: Callable[..., Run]) -> None:
    run, plain = make("run", *FLIP), make("plain", FLIP[1])
    score_cycle(run, 0, EngineRequest("ort"), watch=Watch())
    score_cycle(plain, 0, EngineRequest("ort"), watch=Watch())
    assert (run.stage(0, "pseudo") / "masks.npy").read_bytes() == (plain.stage(0, "pseudo") / "masks.npy").read_bytes()
    result = select_cycle(run, 0, watch=Watch())
    rows = files.read_table(result.out).to_pylist()
    assert len(rows) == 18 and "flip_entropy" in rows[0]["reason"]


def test_scores_of_single_views_cannot_be_selected_by_it(make: Callable[..., Run]) -> None:
    plain = make("plain", FLIP[1])
    score_cycle(plain, 0, EngineRequest("ort"), watch=Watch())
    with pytest.raises(RunStateError, match="holds no flip_entropy") as caught:
        select_cycle(plain, 0, metric="flip_entropy", watch=Watch())
    assert "acquisition.metric=flip_entropy" in caught.value.remedy


def test_regions_without_a_mirror_image_are_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"region_width 50 must divide data.width 480"):
        resolve("camvid", overrides=["acquisition.metric=flip_entropy", "acquisition.region_width=50"])
