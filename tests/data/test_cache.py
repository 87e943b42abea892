from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from s4al.data.cache import CacheWriter, ImageCache
from s4al.errors import RunStateError
from s4al.sealed import open_json, seal_json

SHAPE = (5, 7, 3)
ROWS = np.random.default_rng(0).integers(0, 256, (9, *SHAPE), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with CacheWriter(tmp_path / "cache", 5, 7, "none") as cache:
        for i, row in enumerate(ROWS):
            cache.append(f"é/{i}", row, row[..., 0])
    return tmp_path / "cache"


def test_round_trip(folder: Path) -> None:
    with ImageCache.open(folder) as cache:
        assert (len(cache), cache.height, cache.width, cache.row_shape) == (9, 5, 7, SHAPE)
        assert cache.ids == [f"é/{i}" for i in range(9)]
        out = np.empty((4, *SHAPE), np.uint8)
        cache.read_into(5, out)
        np.testing.assert_array_equal(out, ROWS[5:9])
        np.testing.assert_array_equal(cache.read(8), ROWS[8])
        cache.read_rows([3, 0, 3, 8], out)
        np.testing.assert_array_equal(out, ROWS[[3, 0, 3, 8]])
        cache.read_into(2, out[:0])  # nothing, nowhere
    with ImageCache.open(folder, "masks") as masks:
        assert masks.row_shape == (5, 7)
        np.testing.assert_array_equal(masks.read(4), ROWS[4, ..., 0])


def test_files_are_plain_npy(folder: Path) -> None:
    np.testing.assert_array_equal(np.load(folder / "images.npy"), ROWS)
    np.testing.assert_array_equal(np.load(folder / "masks.npy"), ROWS[..., 0])


def test_empty_split(tmp_path: Path) -> None:
    with CacheWriter(tmp_path, 5, 7, "none"):
        pass
    assert len(ImageCache.open(tmp_path)) == len(ImageCache.open(tmp_path, "masks")) == 0
    assert np.load(tmp_path / "images.npy").shape == (0, *SHAPE)


def test_image_only_cache_has_no_masks(tmp_path: Path) -> None:
    with CacheWriter(tmp_path, 5, 7, "none") as cache:
        cache.append("a", ROWS[0])
    with pytest.raises(RunStateError, match=r"masks\.npy"):
        ImageCache.open(tmp_path, "masks")


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (9, 1), (8, 2), (0, 10)])
def test_rows_outside_are_an_index_error(folder: Path, start: int, count: int) -> None:
    with ImageCache.open(folder) as cache, pytest.raises(IndexError):
        cache.read_into(start, np.empty((count, *SHAPE), np.uint8))


def test_writer_refuses_other_shapes(tmp_path: Path) -> None:
    cache = CacheWriter(tmp_path, 5, 7, "none")
    with pytest.raises(AssertionError):
        cache.append("a", np.zeros((5, 8, 3), np.uint8))
    with pytest.raises(AssertionError):
        cache.append("a", np.zeros(SHAPE, np.float32))


def test_a_mask_missing_for_one_row_is_noticed(tmp_path: Path) -> None:
    cache = CacheWriter(tmp_path, 5, 7, "none")
    cache.append("a", ROWS[0], ROWS[0, ..., 0])
    cache.append("b", ROWS[1])
    with pytest.raises(AssertionError, match="masks: 1 rows"):
        cache.close()


def test_damage_is_refused(folder: Path) -> None:
    path = folder / "images.npy"
    data = path.read_bytes()
    for damaged in (
        data[:-1],
        data + b"\0",
        b"",
        data[:127],
        data.replace(b"|u1", b"|i1"),
        data.replace(b"(9,", b"(8,"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(RunStateError, match="damaged"):
            ImageCache.open(folder)
    path.write_bytes(data)
    description = open_json((folder / "cache.json").read_bytes())
    (folder / "cache.json").write_bytes(seal_json({**description, "ids": description["ids"][:-1]}))
    with pytest.raises(RunStateError, match="8 rows"):
        ImageCache.open(folder)
    (folder / "cache.json").write_text(json.dumps({**description, "height": 6, "digest": "0" * 64}))
    with pytest.raises(RunStateError, match=r"cache\.json: its digest is another"):
        ImageCache.open(folder)
    (folder / "cache.json").write_bytes(seal_json({"files": {}}))  # a manifest, say
    with pytest.raises(RunStateError, match=r"cache\.json: it describes files"):
        ImageCache.open(folder)
    (folder / "cache.json").write_text("{")
    with pytest.raises(RunStateError, match=r"cache\.json"):
        ImageCache.open(folder)
    (folder / "cache.json").unlink()
    with pytest.raises(RunStateError, match="cannot be read"):
        ImageCache.open(folder)


@pytest.mark.parametrize("name", ["images", "masks"])
def test_no_flipped_bit_becomes_a_pixel(folder: Path, name: str) -> None:
    """Bits all over a row; the rows beside it are still read."""
    path = folder / f"{name}.npy"
    sound = path.read_bytes()
    row_bytes = (len(sound) - 128) // 9
    for bit in range(8 * (128 + 3 * row_bytes), 8 * (128 + 4 * row_bytes), 7):
        path.write_bytes(_flipped(sound, bit))
        with ImageCache.open(folder, name) as cache:
            for beside in (2, 4):
                cache.read(beside)
            with pytest.raises(RunStateError, match=r"row 3 \(é/3\)"):
                cache.read(3)


def test_no_flipped_bit_in_the_digests_goes_unnoticed(folder: Path) -> None:
    for path in (folder / "images.xxh128", folder / "cache.json"):
        sound = path.read_bytes()
        for bit in range(0, 8 * len(sound), 5):
            path.write_bytes(_flipped(sound, bit))
            with pytest.raises(RunStateError, match="damaged"), ImageCache.open(folder):
                pass
        path.write_bytes(sound)


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def test_a_row_swapped_with_its_neighbour_is_noticed(folder: Path) -> None:
    path = folder / "images.npy"
    data = path.read_bytes()
    size = int(np.prod(SHAPE))
    rows = [data[128 + size * i : 128 + size * (i + 1)] for i in range(9)]
    path.write_bytes(data[:128] + b"".join([rows[1], rows[0], *rows[2:]]))
    with ImageCache.open(folder) as cache:
        assert cache.read(2).tobytes() == rows[2]
        with pytest.raises(RunStateError, match="row 0"):
            cache.read(0)


def test_file_that_shrinks_while_open(folder: Path) -> None:
    with ImageCache.open(folder) as cache:
        with (folder / "images.npy").open("r+b") as stream:
            stream.truncate(200)
        with pytest.raises(RunStateError, match="shorter"):
            cache.read(8)


def test_reads_from_many_threads(folder: Path) -> None:
    wrong: list[int] = []
    with ImageCache.open(folder) as cache:

        def work(seed: int) -> None:
            out = np.empty((1, *SHAPE), np.uint8)
            for index in np.random.default_rng(seed).integers(0, 9, 300):
                cache.read_into(int(index), out)
                if not np.array_equal(out[0], ROWS[index]):
                    wrong.append(int(index))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


_READ_THROUGH = """
import sys
from pathlib import Path
import numpy as np, psutil
from s4al.data.cache import ImageCache
cache = ImageCache.open(Path(sys.argv[1]))
out = np.zeros((8, *cache.row_shape), np.uint8)
cache.read_into(0, out)
before = psutil.Process().memory_info().rss
total, peak = 0, 0
for start in range(0, len(cache) - 7, 8):
    cache.read_into(start, out)
    total += out.nbytes
    peak = max(peak, psutil.Process().memory_info().rss)
print(total, peak - before)
"""


def test_resident_memory_does_not_grow_with_the_cache(tmp_path: Path) -> None:
    """200 MB read through a buffer of 1.6 MB; a memory map would keep all of it."""
    row = np.zeros((256, 256, 3), np.uint8)
    with CacheWriter(tmp_path, 256, 256, "none") as cache:
        for i in range(1024):
            cache.append(str(i), row)
    command = [sys.executable, "-c", _READ_THROUGH, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    total, growth = map(int, done.stdout.split())
    assert total == 1024 * 256 * 256 * 3
    assert growth < 30e6, f"{growth / 1e6:.0f} MB"
