from __future__ import annotations

import numpy as np
import pytest
import torch

from s4al.trainer.learners.unlabelled.mixing import box_mask, class_mask, mask_of_classes, next_image, partner, paste

IGNORE = 255


def test_half_of_the_values_of_each_image_are_chosen_whole():
    label = torch.tensor(
        [[[0, 1, 2, 3], [0, 1, 2, 4]], [[7, 7, 7, 7], [7, 7, 7, 7]], [[1, 1, IGNORE, 2], [1, 1, 2, 2]]]
    )
    chosen_sets = set()
    for seed in range(60):
        mask = class_mask(label, 8, np.random.default_rng(seed))
        chosen = [set(label[i][mask[i]].tolist()) for i in range(3)]
        assert [len(each) for each in chosen] == [2, 0, 1]  # of 5, 1 and 3 values
        for i in range(3):
            assert torch.equal(mask[i], torch.isin(label[i], torch.tensor(sorted(chosen[i]))))
        chosen_sets |= {frozenset(chosen[0]), frozenset(chosen[2])}
    assert len(chosen_sets) == 10 + 3  # every pair of five values, every one of three, ignore among them


def test_pasted_pixels_come_from_the_image_before():
    source = torch.arange(3).view(3, 1, 1).expand(3, 2, 2)
    assert next_image(source)[:, 0, 0].tolist() == [2, 0, 1]
    mask = torch.zeros(3, 2, 2, dtype=torch.bool)
    mask[1, 0, 1] = True
    mixed = paste(mask, next_image(source), source)
    assert mixed[1].tolist() == [[1, 0], [1, 1]] and torch.equal(mixed[0], source[0])
    image = source.unsqueeze(1).expand(3, 5, 2, 2)
    assert torch.equal(paste(mask, next_image(image), image), mixed.unsqueeze(1).expand(3, 5, 2, 2))


def test_pairs_exchange():
    assert partner(torch.arange(6)).tolist() == [1, 0, 3, 2, 5, 4]


def test_mask_of_given_classes():
    label = torch.tensor([[[0, 1], [2, IGNORE]], [[0, 1], [2, 3]]])
    mask = mask_of_classes(label, np.array([[0, 7], [1, 3]]))
    assert mask.tolist() == [[[True, False], [False, False]], [[False, True], [False, True]]]


def test_one_box_is_a_rectangle_of_its_area():
    masks = box_mask((200, 40, 60), np.random.default_rng(0), area=(0.5, 0.5)).numpy()
    areas = masks.mean(axis=(1, 2))
    assert areas == pytest.approx(0.5, abs=0.02)
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert masks.any(axis=0).mean() > 0.99  # corners seldom, but nearly every pixel now and then
    heights = masks.any(axis=2).sum(axis=1)
    assert heights.min() < 24 and heights.max() > 36  # from half of the height to all of it


def test_three_boxes_toggle_where_they_overlap():
    masks = box_mask((300, 60, 60), np.random.default_rng(1), boxes=3, area=(0.25, 0.5)).numpy()
    areas = masks.mean(axis=(1, 2))
    assert areas.max() <= 0.52 and 0.25 < areas.mean() < 0.375
