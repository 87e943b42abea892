"""Every figure of a run that was written by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from s4al import config, files
from s4al.report.advice import advise, back_test
from s4al.report.answer import headline
from s4al.report.collect import collect, nearest_preset
from s4al.report.compare import find_comparisons
from s4al.report.model import Box, Point
from s4al.report.tested import largest_confusions
from s4al.run.state import Run
from s4al.sealed import seal_json
from tests.report.make_run import CLASSES, CONFUSION, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("figures") / "run")


def test_the_pool_is_counted(run: Run) -> None:
    data = collect(run.root).data
    assert (data.train, data.val, data.test, data.set_aside) == (4, 0, 2, 1)
    assert data.total_pixels == 4 * 1024
    assert data.digest and len(data.digest) == 64


def test_what_labels_cost_adds_up(run: Run) -> None:
    first, second = collect(run.root).cycles
    assert (first.labelled_pixels, first.labelled_fraction) == (1024, 0.25)
    assert (first.images, first.regions, first.seconds) == (1, 0, 0.0)
    assert (second.labelled_pixels, second.labelled_fraction) == (1024 + 512, 0.375)
    assert (second.images, second.regions, second.seconds) == (1, 2, 90.0)
    assert first.labels and first.labels.pixels_by_class == [1024, 0, 0]
    assert second.labels and second.labels.pixels_by_class == [0, 480, 32]
    assert second.labels.all_read and second.labels.masks_read == 1


def test_tests_and_confusions(run: Run) -> None:
    figures = collect(run.root)
    assert [cycle.miou for cycle in figures.tested] == [0.4, 0.5]
    assert figures.cycles[1].per_class_iou == [0.7, 0.2, None]
    assert figures.confusion == CONFUSION[1]
    found = [(each.truth, each.predicted, each.pixels) for each in figures.confusions]
    assert found == [("car", "road", 6), ("sky", "road", 4), ("road", "car", 2)]
    assert figures.confusions[0].share_of_truth == 0.2
    assert figures.confusions[0].example and figures.confusions[0].example["image"] == "t0"
    assert figures.confusions[1].example is None


def test_at_most_ten_confusions_and_none_without_pixels() -> None:
    counts = np.arange(36).reshape(6, 6)
    found = largest_confusions(counts, list("abcdef"), None)
    assert [each.pixels for each in found] == [34, 33, 32, 31, 30, 29, 27, 26, 25, 24]
    assert largest_confusions(np.eye(6, dtype=np.int64), list("abcdef"), None) == []


def test_pseudo_labels_are_counted_by_class(run: Run) -> None:
    pseudo = collect(run.root).cycles[0].pseudo
    assert pseudo is not None
    assert (pseudo.images, pseudo.images_read, pseudo.images_judged) == (3, 3, 0)
    assert pseudo.coverage == 0.5  # all of b, half of c, nothing of d
    assert pseudo.share == [2 / 3, 1 / 3, 0.0]
    assert (pseudo.correct, pseudo.correct_by_class) == (None, [None, None, None])


def test_what_was_asked_and_answered(run: Run) -> None:
    figures = collect(run.root)
    selection = figures.cycles[0].selection
    assert selection is not None
    assert (selection.regions, selection.pixels, selection.strategy) == (2, 512, "per-image")
    assert selection.mean_score == pytest.approx(0.85)
    (card,) = [card for card in figures.asked if card.cycle == 0]
    assert (card.image, card.row, card.scored_as, card.height, card.width) == ("b", 1, 0, 32, 32)
    assert card.answered and card.classes == ["car", "road", "sky"]
    assert card.scores == [0.9, 0.1, 0.2, 0.8]
    reason = "highest entropy of its image"
    first = Box(0, 0, 16, 16, 0, pytest.approx(0.9), reason, predicted="road", answer="car", answer_share=240 / 256)
    assert card.boxes[0] == first
    newest = [card for card in figures.asked if card.cycle == 1]
    assert [(card.image, card.answered) for card in newest] == [("c", False), ("d", False)]


def test_the_hardest_are_neither_labelled_nor_asked(run: Run) -> None:
    hardest = collect(run.root).hardest
    assert [(card.image, [box.region for box in card.boxes]) for card in hardest] == [
        ("c", [2, 1, 3]),  # 0 is asked
        ("b", [1, 2]),  # 0 and 3 have an entropy of 0
        ("d", [1, 2, 3]),
    ]
    assert hardest[0].highest == pytest.approx(0.6)


def test_times_are_those_of_the_clock(run: Run) -> None:
    assert collect(run.root).cycles[1].times == {
        "train": {"seconds": 60.0, "peak_mib": 512},
        "score": {"seconds": 2.0, "images_per_s": 1.5, "engine": "ort"},
    }


def test_annotators_are_shown_where_there_is_such_a_column(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = run.stage(1, "labels") / "regions.parquet"
    table = files.read_table(path)
    place = table.schema.get_field_index("annotator")
    files.write_table(path, table.set_column(place, "annotator", pa.array(["ann", "ben"])))
    labels = collect(run.root).cycles[1].labels
    assert labels is not None
    assert labels.annotators == {"ann": {"regions": 1, "seconds": 45.0}, "ben": {"regions": 1, "seconds": 45.0}}


def test_few_masks_are_read_and_scaled_to_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s4al.report.labels._MASKS", 1)
    run = make_run(tmp_path / "run", cycles=1)
    regions = files.read_table(run.stage(0, "labels") / "regions.parquet")
    twice = pa.concat_tables([regions, regions.set_column(0, "image", pa.array(["b"]))])
    files.write_table(run.stage(0, "labels") / "regions.parquet", twice)
    (run.stage(0, "labels") / "masks" / "b.png").write_bytes((run.stage(0, "labels") / "masks" / "a.png").read_bytes())
    labels = collect(run.root).cycles[0].labels
    assert labels is not None
    assert (labels.masks_read, labels.all_read, labels.pixels_by_class) == (1, False, [2048, 0, 0])


# ---------------------------------------------------------------------------------------------------- advice


def test_two_points_make_a_line_with_an_honest_interval() -> None:
    advice = advise([Point(0, 100, 0.40), Point(1, 200, 0.44)], regions=7, pixels=200)
    assert advice is not None
    assert (advice.regions, advice.pixels, advice.fitted_to) == (7, 200, [0, 1])
    assert advice.gain == pytest.approx(0.04)  # the pixels double again
    # One point of guessed spread, t with 4 degrees of freedom, and 2.5 steps of the line's centre to the end.
    half = 1.533 * 0.01 * math.sqrt(1 + 1 / 2 + 1.5**2 / 0.5)
    assert (advice.low, advice.high) == pytest.approx((0.04 - half, 0.04 + half))


def test_the_first_cycle_is_left_out_once_three_others_are_there() -> None:
    curve = [Point(0, 100, 0.1), Point(1, 200, 0.50), Point(2, 400, 0.52), Point(3, 800, 0.54)]
    advice = advise(curve, regions=1, pixels=800)
    assert advice is not None
    assert advice.fitted_to == [1, 2, 3]
    assert advice.gain == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("points", "pixels"),
    [
        ([], 10),
        ([Point(0, 100, 0.4)], 10),
        ([Point(0, 100, 0.4), Point(1, 100, 0.5)], 10),
        ([Point(0, 0, 0.4), Point(1, 100, 0.5)], 10),
        ([Point(0, 100, 0.4), Point(1, 200, 0.5)], 0),
    ],
    ids=["nothing", "one point", "no further cost", "no pixels", "nothing to buy"],
)
def test_no_advice_without_a_curve(points: list[Point], pixels: int) -> None:
    assert advise(points, 1, pixels) is None


def test_the_back_test_is_what_the_advice_would_have_been() -> None:
    curve = [Point(0, 100, 0.40), Point(1, 200, 0.44), Point(2, 400, 0.46), Point(3, 800, 0.49)]
    said = back_test(curve, [0, 5, 10, 20])
    assert [(advice.cycle, advice.regions, advice.pixels) for advice in said] == [(1, 5, 200), (2, 10, 400)]
    alone = advise(curve[:2], 5, 200)
    assert alone is not None and said[0].gain == alone.gain
    assert [advice.came for advice in said] == pytest.approx([0.02, 0.03])


@pytest.mark.parametrize("seed", range(3))
def test_intervals_hold_about_as_often_as_they_say(seed: int) -> None:
    """On curves as the assumption has them, with a point of noise, over many runs."""
    rng = np.random.default_rng(seed)
    pixels = [100, 150, 200, 250, 300]
    held = []
    for _ in range(400):
        noise = rng.normal(0, 0.01, 5)
        curve = [Point(i, p, 0.3 + 0.05 * math.log(p) + noise[i]) for i, p in enumerate(pixels)]
        held += [advice.low <= (advice.came or 0) <= advice.high for advice in back_test(curve, [0, 1, 2, 3, 4])]
    assert 0.75 < np.mean(held) < 0.9


def test_the_advice_is_of_the_newest_selection(run: Run) -> None:
    advice = collect(run.root).advice
    assert advice is not None
    assert (advice.cycle, advice.regions, advice.pixels) == (1, 2, 512)
    expected = 0.1 / math.log(384 / 256) * math.log(512 / 384)
    assert advice.gain == pytest.approx(expected)


def test_the_answer_in_words(run: Run) -> None:
    lines = headline(collect(run.root))
    assert lines["mIoU"] == "50.0 % on 2 test images, cycle 1"
    assert lines["Cost"] == "1,536 pixels (37.5 % of all), 2 regions, 1 whole image, 1 min 30 s of people"
    assert lines["Next"].startswith("the next 2 regions will buy about +7.1 points of mIoU (80 % interval ")
    assert "Full supervision" not in lines and "Random regions" not in lines


# ----------------------------------------------------------------------------------------------- comparisons


def test_runs_inside_the_run_are_what_it_is_compared_with(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    make_run(run.root / "random", miou=(0.4, 0.45))
    make_run(run.root / "full", cycles=1, miou=(0.8,))
    figures = collect(run.root)
    assert figures.random and [point.miou for point in figures.random.points] == [0.4, 0.45]
    lines = headline(figures)
    assert lines["Full supervision"] == "80.0 % with every pixel labelled, of which this is 62.5 %"
    assert lines["Random regions"] == "45.0 % at the same cost, so asking bought +5.0 points more"


def test_runs_beside_it_are_taken_where_they_have_the_same_images(tmp_path: Path) -> None:
    make_run(tmp_path / "asked")
    make_run(tmp_path / "drawn", "acquisition.strategy=random", miou=(0.4, 0.44))
    make_run(tmp_path / "all", "data.labelled_fraction=1.0", "run.cycles=1", cycles=1, miou=(0.7,))
    make_run(tmp_path / "other", "data.labelled_fraction=1.0", images=("a", "b", "c", "e"), cycles=1, miou=(0.9,))
    for cycle in (0, 1):
        _say_strategy(tmp_path / "drawn", cycle, "random")
    runs = [collect(tmp_path / name) for name in ("asked", "other", "drawn", "all")]
    assert [run.kind for run in runs] == ["active", "every label", "random", "every label"]
    find_comparisons(runs)
    assert runs[0].random and runs[0].random.where == "drawn"
    assert runs[0].full and (runs[0].full.where, runs[0].full.newest.miou) == ("all", 0.7)
    assert runs[1].full is None


def test_a_random_run_of_another_cost_is_no_match(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    make_run(run.root / "random", cycles=1)
    assert headline(collect(run.root))["Random regions"] == "no cycle of run/random has cost as much yet"


def test_seeds_of_one_configuration_are_one_group(tmp_path: Path) -> None:
    names = {"one": (), "two": ("run.seed=7",), "lr": ("trainer.lr=0.5",), "machine": ("scorer.threads=3",)}
    group = {name: collect(make_run(tmp_path / name, *settings).root).group for name, settings in names.items()}
    assert group["one"] == group["two"] == group["machine"] != group["lr"]


def test_what_select_was_told_makes_the_kind_not_the_setting(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    _say_strategy(run.root, 0, "random")
    assert collect(run.root).kind == "random"


def _say_strategy(root: Path, cycle: int, strategy: str) -> None:
    path = Run.open(root).stage(cycle, "select") / files.MANIFEST
    path.write_bytes(seal_json({**files.read_manifest(path.parent), "strategy": strategy}))


def test_the_nearest_preset_and_what_differs() -> None:
    assert nearest_preset(config.resolve("camvid-small")) == ("camvid-small", {})
    changed = config.resolve("camvid-small", overrides=["trainer.lr=0.5", "scorer.threads=3"])
    assert nearest_preset(changed) == ("camvid-small", {"trainer.lr": [5e-4, 0.5]})


def test_class_names_are_those_of_the_run(run: Run) -> None:
    assert collect(run.root).class_names == list(CLASSES)
