from __future__ import annotations

import numpy as np
import pytest

from s4al import files
from s4al.config import set_values
from s4al.data.cache import CacheWriter
from s4al.data.masks import resize_mask
from s4al.run.labelling import ask_oracle
from s4al.run.state import NOT_LABELLED, Run
from s4al.trainer.targets import build_targets, open_targets
from tests.tiny import labelled_run


@pytest.fixture(scope="module")
def second_cycle(tmp_path_factory):
    """A run at cycle 1: every pool image has pseudo-label 3 everywhere, and the first one got two cells labelled."""
    import pyarrow as pa

    run, pool, dataset = labelled_run(tmp_path_factory.mktemp("targets") / "run")
    whole = {region.image for region in run.labelled_regions(0)}
    unlabelled = [image for image in pool.train.ids if image not in whole]
    with CacheWriter(run.stage(0, "pseudo"), 48, 64, "test") as cache:
        for image in unlabelled:
            cache.append(image, np.zeros((48, 64, 3), np.uint8), np.full((48, 64), 3, np.uint8))
    boxes = run.grid.original_boxes(48, 64)
    chosen = [
        {"image": unlabelled[0], "region": r, **dict(zip(("y0", "x0", "y1", "x1"), boxes[r].tolist(), strict=True))}
        for r in (0, 9)
    ]
    for stage in ("train", "export", "score"):  # what the select stage names as its input
        with files.commit_folder(run.stage(0, stage)):
            pass
    with run.commit(0, "select") as folder:
        files.write_table(folder / "selections.parquet", pa.Table.from_pylist(chosen))
    ask_oracle(run, 1, pool, dataset)
    build_targets(run, 1, pool)
    return run, pool, dataset, unlabelled, open_targets(run, 1, pool)


def truth_of(second_cycle, image):
    from s4al.data.ingest import read_row_mask

    _, pool, dataset, *_ = second_cycle
    row = next(row for row in pool.train.rows if row.id == image)
    return resize_mask(read_row_mask(row, dataset), 48, 64)


def as_target(truth):
    """Somebody looked everywhere: 255 in the mask is void, 254 in the targets."""
    return np.where(truth == 255, 254, truth)


def test_true_labels_win_in_queried_cells_and_void_is_void(second_cycle):
    _, pool, _, unlabelled, targets = second_cycle
    label = targets.labels[pool.train.ids.index(unlabelled[0])]
    truth = truth_of(second_cycle, unlabelled[0])
    inside = np.zeros((48, 64), bool)
    inside[0:10, 0:10] = True
    inside[10:20, 20:30] = True  # cell 9 of a grid of 5 x 7 cells
    assert (label[inside] == as_target(truth)[inside]).all()
    assert (label[~inside] == 3).all()


def test_void_and_unknown_are_told_apart(second_cycle):
    run, pool, *_ = second_cycle
    other = Run(run.root, set_values(run.config, ["learner.name=s4al"]))
    build_targets(other, 1, pool)
    targets = open_targets(other, 1, pool)
    seen = targets.labels[targets.labelled]
    assert (seen != 255).all() and (seen == 254).any()
    build_targets(run, 1, pool)


def test_whole_images_are_the_labelled_stream(second_cycle):
    _, pool, _, unlabelled, targets = second_cycle
    assert [pool.train.ids[row] for row in targets.rest] == unlabelled
    assert [pool.train.ids[row] for row in targets.asked] == unlabelled[:1]
    for row in targets.labelled:
        assert (targets.labels[row] == as_target(truth_of(second_cycle, pool.train.ids[row]))).all()
    assert all((targets.labels[row] == 3).all() for row in targets.rest[1:])


def test_other_learners_see_no_stored_pseudo_labels(second_cycle):
    run, pool, _, unlabelled, _ = second_cycle
    other = Run(run.root, set_values(run.config, ["learner.name=s4al"]))
    build_targets(other, 1, pool)
    targets = open_targets(other, 1, pool)
    label = targets.labels[targets.asked[0]]
    assert (label[0:10, 0:10] == as_target(truth_of(second_cycle, unlabelled[0]))[0:10, 0:10]).all()
    assert (label[20:] == 255).all()
    assert all((targets.labels[row] == 255).all() for row in targets.rest[1:])
    build_targets(run, 1, pool)


def test_the_ledger_counts_whole_images_and_cells(second_cycle):
    run, pool, *_ = second_cycle
    first, second = run.ledger(0, pool), run.ledger(1, pool)
    assert first.images == 3  # 25 % of 12
    assert (first.labelled_pixels, first.total_pixels) == (3 * 48 * 64, 12 * 48 * 64)
    assert first.labelled_fraction == 0.25
    assert (second.regions, second.labelled_pixels) == (2, 3 * 48 * 64 + 2 * 100)


def test_label_files_hold_only_what_was_asked(second_cycle):
    run, _, _, unlabelled, _ = second_cycle
    mask = run.label_mask(1, unlabelled[0])
    outside = np.ones((48, 64), bool)
    outside[0:10, 0:10] = outside[10:20, 20:30] = False
    assert (mask[outside] == NOT_LABELLED).all()
    assert (mask[~outside] != NOT_LABELLED).any()
