"""Who labels: the images labelled at the start, and the oracle that answers queries from masks at hand.

The oracle stands in for people in research runs (paper section 4.2): it gives the full ground truth of a queried cell.
Void pixels in it stay ignore, and the whole cell is charged to the budget.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.data import Dataset, Pool, Row
from s4al.data.ingest import read_row_mask
from s4al.data.start_set import cached_class_pixels, initial_labelled, missing_classes
from s4al.run.state import NOT_LABELLED, LabelledRegion, Run


def label_initial_images(run: Run, pool: Pool, dataset: Dataset) -> NDArray[np.int64]:
    """Commit the labels of cycle 0: whole images. With people as the oracle, all whose mask holds a label.

    Returns the labelled pixels of each class, (C,). Raises MaskError, DataError (a mask changed since the run began),
    ConfigError (data.labelled_list).
    """
    config = run.config.data
    fraction = 1.0 if config.oracle == "people" else config.labelled_fraction
    chosen = [pool.train.rows[i] for i in initial_labelled(pool, fraction, run.config.run.seed, config.labelled_list)]
    regions = [LabelledRegion(row.id, -1, 0, 0, row.height, row.width, cycle=0, source="initial") for row in chosen]
    pixels_C = np.zeros(dataset.num_classes, np.int64)

    def masks() -> Iterator[tuple[str, NDArray[np.uint8]]]:
        for row in chosen:
            mask_HW = read_row_mask(row, dataset)
            pixels_C[:] += np.bincount(mask_HW.ravel(), minlength=256)[: dataset.num_classes]
            yield row.id, mask_HW

    run.commit_labels(0, regions, masks())
    return pixels_C


def describe_start(run: Run, pool: Pool, pixels_C: NDArray[np.int64]) -> list[str]:
    """What a person should know before hours of training: the labels at the start, and the classes without any.

    Parameters
    ----------
    pixels_C : labelled pixels of each class.
    """
    names, labelled = run.class_names, len(run.labelled_regions(0))
    lines = [
        f"Start: {labelled:,} of {len(pool.train):,} training images are labelled; {len(pool.test):,} images test, "
        f"{len(pool.val):,} validate."
    ]
    absent = missing_classes(pixels_C, names)
    if absent:
        lines.append(f"No labelled pixel at the start of: {', '.join(absent)}.")
    tested = missing_classes(cached_class_pixels(run.cache / "test", len(names)), names)
    if tested:
        lines.append(f"No pixel in the test images, so no IoU, of: {', '.join(tested)}.")
    return lines


def ask_oracle(run: Run, cycle: int, pool: Pool, dataset: Dataset) -> None:
    """Commit the labels of `cycle`: true labels of the regions that the cycle before selected.

    Raises MaskError, DataError.
    """
    selections = files.read_table(run.read_stage(cycle - 1, "select") / "selections.parquet").to_pylist()
    by_image: dict[str, list[LabelledRegion]] = defaultdict(list)
    for item in selections:
        box = {name: item[name] for name in ("image", "region", "y0", "x0", "y1", "x1")}
        by_image[item["image"]].append(LabelledRegion(**box, cycle=cycle, source="oracle"))
    rows = {row.id: row for row in pool.train.rows}
    answers = ((image, _answer(rows[image], regions, dataset)) for image, regions in by_image.items())
    run.commit_labels(cycle, [region for regions in by_image.values() for region in regions], answers)


def _answer(row: Row, regions: list[LabelledRegion], dataset: Dataset) -> NDArray[np.uint8]:
    """uint8 (H, W) at original size: the truth inside the regions, `NOT_LABELLED` elsewhere."""
    truth = read_row_mask(row, dataset)
    answer = np.full_like(truth, NOT_LABELLED)
    for region in regions:
        box = np.s_[region.y0 : region.y1, region.x0 : region.x1]
        answer[box] = truth[box]
    return answer
