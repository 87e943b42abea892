"""Which test images are kept for people to look at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from s4al.data.cache import ImageCache
from s4al.data.masks import read_own_mask
from s4al.run.state import Run
from s4al.trainer.confusion import ConfusionMatrix
from s4al.trainer.examples import ExampleChoice, largest_confusions
from tests.tiny import tiny_cycles


def _matrix(counts) -> ConfusionMatrix:
    matrix = ConfusionMatrix(len(counts))
    matrix.counts_CC += np.array(counts)
    return matrix


def _choose(images):
    total, choice = _matrix(np.zeros((2, 2), int)), ExampleChoice(2)
    for row, counts in enumerate(images):
        one = _matrix(counts)
        total.merge(one)
        choice.add(row, one)
    return choice.examples(total)


def test_three_best_three_worst_and_three_in_between():
    """Image i has i wrong pixels of a hundred of class 0."""
    examples = _choose([[[100 - wrong, wrong], [0, 10]] for wrong in (40, 10, 30, 0, 20, 50, 80, 60, 70, 90, 5)])
    kinds = {why: [each.row for each in examples if each.why == why] for why in ("best", "median", "worst")}
    assert kinds == {"best": [3, 10, 1], "median": [2, 0, 5], "worst": [8, 6, 9]}
    assert [each.miou for each in examples[:9]] == sorted((each.miou for each in examples[:9]), reverse=True)


def test_few_images_are_shown_once_each():
    examples = _choose([[[10, 0], [0, 10]], [[5, 5], [0, 10]]])
    assert [(each.row, each.why) for each in examples if each.why != "confusion"] == [(0, "best"), (1, "best")]


def test_a_confusion_is_shown_where_there_is_most_of_it():
    examples = _choose([[[9, 1], [2, 8]], [[6, 4], [0, 10]], [[6, 4], [1, 9]]])
    found = [(each.truth, each.predicted, each.row) for each in examples if each.why == "confusion"]
    assert found == [(0, 1, 1), (1, 0, 0)]  # the first of two equal ones


def test_images_without_a_labelled_pixel_are_never_shown():
    examples = _choose([[[0, 0], [0, 0]], [[9, 1], [0, 0]]])
    assert {each.row for each in examples} == {1}
    assert _choose([[[0, 0], [0, 0]]]) == []


def test_the_largest_confusions_are_off_the_diagonal_and_at_most_ten():
    counts = np.arange(16).reshape(4, 4)
    assert largest_confusions(_matrix(counts))[:3] == [(3, 2), (3, 1), (3, 0)]
    assert len(largest_confusions(_matrix(counts))) == 10
    assert largest_confusions(_matrix([[5, 0], [0, 5]])) == []


@pytest.mark.slow
def test_a_training_keeps_their_predictions(tmp_path: Path):
    tiny_cycles(tmp_path / "run", "run.cycles=1")
    run = Run.open(tmp_path / "run")
    folder = run.read_stage(0, "train")
    found = json.loads((folder / "evaluation.json").read_bytes())
    examples = found["examples"]
    assert [each["why"] for each in examples][:3] == ["best"] * 3  # of three test images all are among the best
    with ImageCache.open(run.cache / "test", "masks") as masks:
        for each in examples[:3]:
            predicted = read_own_mask(folder / each["file"])
            again = ConfusionMatrix(len(run.class_names))
            again.add(masks.read(each["row"]), predicted)
            assert each["miou"] == again.miou()
            assert masks.ids[each["row"]] == each["image"]
