"""From a data set folder to a pool: every file read once, hashed, checked and decoded before anything is trained.

Refusing a bad mask after hours of training helps nobody, so `ingest` reads all of them. A bad image of the training
pool is set aside with its reason; anywhere else it is an error.
"""

from __future__ import annotations

import difflib
import math
import os
import unicodedata
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
from s4al.data.dataset import SPLITS, Dataset, Record
from s4al.data.images import RESIZE_RECIPE, load_image, resize_image
from s4al.data.masks import load_mask, read_mask, resize_mask
from s4al.data.pool import POOL_FILE, Pool, Row, first_few, write_pool
from s4al.errors import ConfigError, DataError, ImageError, MaskError
from s4al.files import contained

Progress = Callable[[str, int, int], None]
_MAX_WORKERS = 16  # each may hold one picture of data.max_megapixels
_INITIAL = 0x1ABE1  # keeps the draw of the first labels apart from other uses of the run's seed


def ingest(dataset: Dataset, config: Config, out: Path, progress: Progress) -> Pool:
    """Read, check, hash and decode every image and mask of `dataset` into `out`.

    Writes `out`/pool.parquet and `out`/cache/{train,val,test}, the caches at `config.data.height` x `width`, with masks
    for val and test. The same files give the same bytes.

    Parameters
    ----------
    progress : called with (split, done, total) after every image, from this thread.

    Raises
    ------
    MaskError : any mask that cannot be used, training masks included.
    ImageError : a bad image in val or test.
    DataError : too many bad images in the training pool, or none left.
    """
    rows: list[Row] = []
    for split in SPLITS:
        records = [record for record in dataset.records if record.split == split]
        rows += _ingest_split(dataset, records, config, out / "cache" / split, progress)
    _check_quarantine([row for row in rows if row.split == "train"], config.data.max_bad_fraction)
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
    path = contained(dataset.root, row.mask)
    return read_mask(path, dataset.mask_code, dataset.num_classes, (row.height, row.width), row.mask_sha256)


def initial_labelled(pool: Pool, fraction: float, seed: int, list_file: str = "") -> NDArray[np.int64]:
    """Which training images are labelled at the start: sorted indices into `pool.train`.

    Parameters
    ----------
    fraction : round(fraction * N) images, at least one, drawn among those that have a mask.
    list_file : a text file of ids, one a line, taken instead of a draw; "" for none.

    Raises
    ------
    ConfigError : an id of the list is not a usable training image with a mask (names the nearest one).
    DataError : no training image has a mask.
    """
    rows = pool.train.rows
    masked = {row.id: i for i, row in enumerate(rows) if row.mask}
    if not masked:
        what = "No training image has a mask, so there is nothing to learn from."
        raise DataError(what, remedy="Label a few images first.")
    if list_file:
        return np.array(sorted(_index_of(id, masked, list_file) for id in _read_ids(list_file)), np.int64)
    count = min(max(1, round(fraction * len(rows))), len(masked))
    generator = np.random.Generator(np.random.Philox(key=[seed, _INITIAL]))
    return np.sort(generator.permutation(np.fromiter(masked.values(), np.int64))[:count])


def _read_ids(list_file: str) -> set[str]:
    try:
        lines = Path(list_file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data.labelled_list {list_file!r} cannot be read: {error}.") from error
    ids = {unicodedata.normalize("NFC", line.strip()) for line in lines if line.strip()}
    if not ids:
        raise ConfigError(f"data.labelled_list {list_file!r} names no images.")
    return ids


def _index_of(id: str, masked: dict[str, int], list_file: str) -> int:
    if id not in masked:
        nearest = difflib.get_close_matches(id, masked, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else f" The first one is {next(iter(masked))!r}."
        raise ConfigError(f"{list_file} names {id!r}, which is not a usable training image with a mask.{hint}")
    return masked[id]


# --- ingest ---


@dataclass(frozen=True)
class _Read:
    """What one worker hands back, at the network's size; `image` is None where it was refused."""

    row: Row
    image: NDArray[np.uint8] | None = None
    mask: NDArray[np.uint8] | None = None


def _ingest_split(
    dataset: Dataset, records: list[Record], config: Config, folder: Path, progress: Progress
) -> list[Row]:
    rows: list[Row] = []
    with (
        CacheWriter(folder, config.data.height, config.data.width, RESIZE_RECIPE) as cache,
        closing(_in_order(lambda record: _read_record(dataset, record, config), records)) as reads,
    ):
        for read in reads:
            rows.append(read.row)
            if read.image is not None:
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
    row = Row(record.id, record.split, _relative(record.image, root), _relative(record.mask, root))
    try:
        image = load_image(
            _inside(root, row.image, ImageError),
            row.image,
            max_megapixels=config.data.max_megapixels,
            exif="refuse" if record.mask else "apply",
        )
    except ImageError as error:
        if record.split != "train":
            what = f"{error.what}. The {record.split} split must be sound."
            raise ImageError(what, remedy="Repair the image, or remove it and its mask.") from error
        return _Read(replace(row, reason=error.what))
    height, width = image.pixels.shape[:2]
    row = replace(row, bytes=image.num_bytes, sha256=image.sha256, height=height, width=width)
    resized_HWC = resize_image(image.pixels, *size)
    if not row.mask:
        return _Read(row, resized_HWC)
    path = _inside(root, row.mask, MaskError)
    mask = load_mask(path, row.mask, dataset.mask_code, dataset.num_classes, (height, width))
    row = replace(row, mask_bytes=mask.num_bytes, mask_sha256=mask.sha256)
    return _Read(row, resized_HWC, resize_mask(mask.pixels, *size) if record.split != "train" else None)


def _relative(path: Path | None, root: Path) -> str:
    return path.relative_to(root).as_posix() if path else ""


def _inside(root: Path, relative: str, kind: type[ImageError | MaskError]) -> Path:
    """`root / relative`; a link that leaves the data folder is refused like a file that cannot be read."""
    try:
        return contained(root, relative)
    except DataError as error:
        raise kind(f"{relative}: a link that leaves the data folder {root} (copy the files in)") from error
    except RuntimeError as error:  # pathlib's word for links that go round in circles
        raise kind(f"{relative}: a link that leads nowhere") from error


def _check_quarantine(rows: list[Row], max_bad_fraction: float) -> None:
    bad = [row.reason for row in rows if row.reason]
    allowed = max(1, math.floor(max_bad_fraction * len(rows)))
    if len(bad) > allowed:
        count = f"{len(bad):,} of {len(rows):,} training images cannot be used (up to {allowed:,} would be set aside)"
        raise DataError(f"{count}: {first_few(bad)}.", remedy="Repair or remove them, or raise data.max_bad_fraction.")
    if len(bad) == len(rows):
        raise DataError(f"No training image can be used: {first_few(bad)}.")
