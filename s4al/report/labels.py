"""The pool, what was labelled of it, and what that cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from s4al.report.model import Data, Labels
from s4al.report.sources import Sample, read_batches, table_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from s4al.run.state import Run

_MASKS = 300  # a cycle, that are read to count the labelled pixels of each class
_ANNOTATORS = 100
_DIGEST = b"s4al.rows_sha256"  # as data/pool.py writes it
BOX = ("y0", "x0", "y1", "x1")


def read_data(pool_file: Path) -> Data:
    """Count the pool. Raises RunStateError."""
    import pyarrow.parquet as pq

    data = Data()
    counts = dict.fromkeys(("train", "val", "test"), 0)
    for batch in read_batches(pool_file, ("split", "reason", "height", "width")):
        usable_N, split_N = usable_rows(batch)
        for split in counts:
            counts[split] += int((usable_N & (split_N == split)).sum())
        data.set_aside += int((~usable_N).sum())
        pixels_N = batch["height"].to_numpy().astype(np.int64) * batch["width"].to_numpy()
        data.total_pixels += int(pixels_N[usable_N & (split_N == "train")].sum())
    data.train, data.val, data.test = counts["train"], counts["val"], counts["test"]
    digest = (pq.read_schema(pool_file).metadata or {}).get(_DIGEST)
    data.digest = digest.decode("ascii", "replace") if digest else None
    return data


def find_train_rows(pool_file: Path, images: set[str]) -> dict[str, tuple[int, int, int]]:
    """(row of the training cache, height, width) of the named training images, as far as they are there.

    Raises RunStateError.
    """
    found: dict[str, tuple[int, int, int]] = {}
    first = 0
    for batch in read_batches(pool_file, ("id", "split", "reason", "height", "width")):
        usable_N, split_N = usable_rows(batch)
        kept = np.flatnonzero(usable_N & (split_N == "train"))
        wanted = is_in(batch["id"], images)[kept]
        for position in np.flatnonzero(wanted):
            index = int(kept[position])
            size = batch["height"][index].as_py(), batch["width"][index].as_py()
            found[batch["id"][index].as_py()] = (first + int(position), *size)
        first += len(kept)
    return found


def read_labels(run: Run, cycle: int, num_classes: int, *, count_classes: bool = True) -> Labels:
    """The cost of a cycle's labels, and what they are, for which masks have to be read. Raises RunStateError."""
    path = run.stage(cycle, "labels") / "regions.parquet"
    optional = [name for name in ("seconds", "annotator") if name in table_columns(path)]
    labels = Labels()
    sample, pixels_of = Sample(_MASKS), {}
    for batch in read_batches(path, ("image", "region", *BOX, *optional)):
        pixels_N = box_pixels(batch)
        labels.pixels += int(pixels_N.sum())
        whole = int((batch["region"].to_numpy() < 0).sum())
        labels.images += whole
        labels.regions += batch.num_rows - whole
        if "seconds" in optional:
            labels.seconds += float(np.nan_to_num(batch["seconds"].to_numpy(zero_copy_only=False)).sum())
        if "annotator" in optional:
            _count_annotators(labels, batch)
        for image, pixels in _sum_by_image(batch, pixels_N):
            if sample.offer(image):
                pixels_of[image] = pixels_of.get(image, 0) + pixels
    if count_classes:
        _count_classes(labels, run, cycle, {name: pixels_of[name] for name in sample.names}, num_classes)
    labels.all_read = sample.seen_all
    return labels


def box_pixels(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """The pixels of every row's box."""
    y0, x0, y1, x1 = (batch[name].to_numpy().astype(np.int64) for name in BOX)
    return (y1 - y0) * (x1 - x0)


def _count_classes(labels: Labels, run: Run, cycle: int, pixels_of: dict[str, int], num_classes: int) -> None:
    counts_C = np.zeros(num_classes, np.int64)
    for image in pixels_of:
        counts_C += np.bincount(run.shown_mask(cycle, image).ravel(), minlength=256)[:num_classes]
    labels.masks_read = len(pixels_of)
    read = sum(pixels_of.values())
    scale = labels.pixels / read if read else 0.0
    labels.pixels_by_class = [round(count * scale) for count in counts_C.tolist()]


def _count_annotators(labels: Labels, batch: pa.RecordBatch) -> None:
    seconds = batch["seconds"].to_pylist() if "seconds" in batch.schema.names else [0.0] * batch.num_rows
    for name, second in zip(batch["annotator"].to_pylist(), seconds, strict=True):
        if not name:
            continue
        known = name in labels.annotators or len(labels.annotators) < _ANNOTATORS
        entry = labels.annotators.setdefault(name if known else "others", {"regions": 0, "seconds": 0.0})
        entry["regions"] += 1
        entry["seconds"] += second or 0.0


def _sum_by_image(batch: pa.RecordBatch, pixels_N: NDArray[np.int64]) -> list[tuple[str, int]]:
    names, code_N = encoded(batch, "image")
    sums = np.bincount(code_N, pixels_N, minlength=len(names)).astype(np.int64)
    present = np.bincount(code_N, minlength=len(names)) > 0
    return [(names[code], int(sums[code])) for code in np.flatnonzero(present)]


def encoded(batch: pa.RecordBatch, column: str) -> tuple[list[str], NDArray[np.int32]]:
    """A column of text as its different values and, for every row, which of them it is."""
    import pyarrow as pa

    values = batch[column]
    if not isinstance(values, pa.DictionaryArray):
        values = values.dictionary_encode()
    return values.dictionary.to_pylist(), values.indices.to_numpy()


def usable_rows(batch: pa.RecordBatch) -> tuple[NDArray[np.bool_], NDArray[np.object_]]:
    """Of a part of the pool: which images were not set aside, and the split of each."""
    return (
        batch["reason"].to_numpy(zero_copy_only=False) == "",
        batch["split"].to_numpy(zero_copy_only=False),
    )


def is_in(column: pa.Array, values: set[str]) -> NDArray[np.bool_]:
    """Which values of a column are among some."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.call_function("is_in", [column], pc.SetLookupOptions(pa.array(sorted(values), pa.string())))
    return found.to_numpy(zero_copy_only=False).astype(bool)
