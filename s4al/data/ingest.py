"""From a data set folder to a pool: every file read once, hashed, checked and decoded before anything is trained.

Refusing a bad mask after hours of training helps nobody, so `ingest` reads all of them, and names all bad ones at once.
A bad image of the training pool is set aside with its reason; anywhere else it is an error.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s4al.config import Config
from s4al.data.cache import CacheWriter
from s4al.data.dataset import SPLITS, Dataset, Progress, Record, source_file
from s4al.data.faults import Fault, check_quarantine, raise_fatal, write_faults
from s4al.data.images import RESIZE_RECIPE, load_image, resize_image, stored_size
from s4al.data.masks import IGNORE, load_mask, read_mask, resize_mask
from s4al.data.pool import POOL_FILE, Pool, Row, write_pool
from s4al.errors import ImageError, MaskError

_MAX_WORKERS = 16  # each may hold one picture of data.max_megapixels


def ingest(dataset: Dataset, config: Config, out: Path, progress: Progress, faults: Path) -> Pool:
    """Read, check, hash and decode every image and mask of `dataset` into `out`.

    Writes `out`/pool.parquet and `out`/cache/{train,val,test}, the caches at `config.data.height` x `width`, with masks
    for val and test. The same files give the same bytes.

    Parameters
    ----------
    progress : called with (split, done, total) after every image, from this thread.
    faults : CSV file (split, id, file, kind, reason) of all bad files, set aside or not; only there when there are any.

    Raises
    ------
    MaskError : any mask that cannot be used, training masks included.
    ImageError : a bad image in val or test. Where masks are bad too, the first bad file decides between the two.
    DataError : too many bad images in the training pool, or none left.
    """
    rows: list[Row] = []
    found: list[Fault] = []
    for split in SPLITS:
        records = [record for record in dataset.records if record.split == split]
        rows += _ingest_split(dataset, records, config, out / "cache" / split, progress, found)
    write_faults(found, faults)
    raise_fatal(found, faults)
    num_train = sum(row.split == "train" for row in rows)
    check_quarantine(found, num_train, max(1, math.floor(config.data.max_bad_fraction * num_train)), faults)
    pool = Pool(tuple(rows))
    write_pool(pool, out / POOL_FILE)
    return pool


def oracle_mask(pool: Pool, dataset: Dataset, index: int) -> NDArray[np.uint8]:
    """The mask of training image `index` at its original size, (H0, W0) uint8, 255 = ignore.

    Raises MaskError, or DataError where the file has changed since the run began.
    """
    row = pool.train.rows[index]
    return read_row_mask(row, dataset)


def read_row_mask(row: Row, dataset: Dataset) -> NDArray[np.uint8]:
    """The mask of a pool row, see `oracle_mask`."""
    if not row.mask:
        raise MaskError(f"{row.id} has no mask.", remedy='Add it and start a new run, or set data.oracle="people".')
    path = source_file(dataset.masks_root, row.mask, dataset.links, MaskError)
    return read_mask(path, dataset.mask_code, dataset.num_classes, (row.height, row.width), row.mask_sha256)


# --- ingest ---


@dataclass(frozen=True)
class _Read:
    """What one worker hands back, at the network's size; `image` and `mask` are None where they were refused."""

    row: Row
    image: NDArray[np.uint8] | None = None
    mask: NDArray[np.uint8] | None = None
    faults: tuple[Fault, ...] = ()


def _ingest_split(
    dataset: Dataset, records: list[Record], config: Config, folder: Path, progress: Progress, faults: list[Fault]
) -> list[Row]:
    rows: list[Row] = []
    with (
        CacheWriter(folder, config.data.height, config.data.width, RESIZE_RECIPE) as cache,
        closing(_in_order(lambda record: _read_record(dataset, record, config), records)) as reads,
    ):
        for read in reads:
            rows.append(read.row)
            faults += read.faults
            if read.image is not None and not read.faults:
                cache.append(read.row.id, read.image, read.mask)
            progress(records[0].split, len(rows), len(records))
    return rows


def _in_order(work: Callable[[Record], _Read], records: list[Record]) -> Generator[_Read]:
    """Results in the order of the records; only a few decoded images are in memory at any time."""
    workers = min(os.cpu_count() or 1, _MAX_WORKERS)
    pending: deque[Future[_Read]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for record in records:
                pending.append(pool.submit(work, record))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read_record(dataset: Dataset, record: Record, config: Config) -> _Read:
    root, size = dataset.root, (config.data.height, config.data.width)
    row = Row(record.id, record.split, _relative(record.image, root), _relative(record.mask, dataset.masks_root))
    faults: list[Fault] = []
    mask_size = _mask_size(row, dataset, config) if row.mask else None
    resized_HWC = resized_HW = None
    try:
        image = load_image(
            source_file(root, row.image, dataset.links, ImageError),
            row.image,
            max_megapixels=config.data.max_megapixels,
            value_range=config.data.value_range,
            mask_size=mask_size,
        )
    except ImageError as error:
        faults.append(Fault(row.split, row.id, row.image, "image", error.what))
        row = replace(row, reason=error.what)
        image_size = mask_size  # so that a mask of the val or test split is looked at all the same
    else:
        image_size = (image.pixels.shape[0], image.pixels.shape[1])
        row = replace(row, bytes=image.num_bytes, sha256=image.sha256, height=image_size[0], width=image_size[1])
        resized_HWC = resize_image(image.pixels, *size)
    if row.mask and not (row.reason and record.split == "train"):
        try:
            path = source_file(dataset.masks_root, row.mask, dataset.links, MaskError)
            mask = load_mask(path, row.mask, dataset.mask_code, dataset.num_classes, image_size or (0, 0))
        except MaskError as error:
            faults.append(Fault(row.split, row.id, row.mask, "mask", error.what))
        else:
            labelled = int(np.count_nonzero(mask.pixels != IGNORE))
            row = replace(row, mask_bytes=mask.num_bytes, mask_sha256=mask.sha256, labelled_pixels=labelled)
            resized_HW = resize_mask(mask.pixels, *size) if record.split != "train" else None
    return _Read(row, resized_HWC, resized_HW, tuple(faults))


def _mask_size(row: Row, dataset: Dataset, config: Config) -> tuple[int, int] | None:
    """(height, width) of the mask by its header; None where that cannot be told, which its reader will say."""
    try:
        path = source_file(dataset.masks_root, row.mask, dataset.links, ImageError)
        return stored_size(path, row.mask, max_megapixels=config.data.max_megapixels)
    except ImageError:
        return None


def _relative(path: Path | None, root: Path) -> str:
    return path.relative_to(root).as_posix() if path else ""
