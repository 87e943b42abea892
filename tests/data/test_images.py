from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al.data import images
from s4al.data.decode import decode_rgb
from s4al.data.headers import Refused, read_header
from s4al.data.images import read_image, resize_image
from s4al.data.masks import MaskCode, identity_code, read_mask, resize_mask
from s4al.errors import DataError, ImageError, MaskError
from tests.bad_images import (
    CORPUS,
    EXIF_TURNED,
    HEIGHT,
    WIDTH,
    encode,
    make_special_files,
    mutations,
    picture,
    png_chunk,
    raw_png,
)

CODE = identity_code(3)
# images.py says so too, but pytest resets the filters
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")


def write(folder: Path, data: bytes, name: str = "a.png") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def mask_of(folder: Path, pixels: np.ndarray | bytes, code: MaskCode = CODE, num_classes: int = 3) -> np.ndarray:
    """Write a mask and read it back at the size it should have, (2, 3)."""
    data = pixels if isinstance(pixels, bytes) else encode(pixels, "PNG")
    return read_mask(write(folder, data, "0412.png"), code, num_classes, (2, 3))


# --- the corpus ---


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) + len(EXIF_TURNED) >= 80


@pytest.mark.parametrize("name", CORPUS)
def test_verdict(name: str, tmp_path: Path) -> None:
    data, reason = CORPUS[name]
    path = write(tmp_path, data, name)
    if reason is None:
        image = read_image(path, max_megapixels=40)
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        return
    with pytest.raises(ImageError) as caught:
        read_image(path, max_megapixels=40)
    assert str(caught.value).startswith(f"{name}: ")
    assert reason in str(caught.value)


def test_files_that_are_no_files_are_refused_without_waiting(tmp_path: Path) -> None:
    for name, reason in make_special_files(tmp_path).items():
        with pytest.raises(ImageError, match=reason):
            read_image(tmp_path / name, max_megapixels=40)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path, CORPUS["rgb.png"][0])
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        read_image(path, max_megapixels=40)


def test_refusals_leave_no_open_file(tmp_path: Path) -> None:
    special = make_special_files(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in special:
        with pytest.raises(ImageError):
            read_image(tmp_path / name, max_megapixels=40)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_accepted_lossless_pixels_are_exact(tmp_path: Path) -> None:
    rgb = read_image(write(tmp_path, CORPUS["rgb.png"][0]), max_megapixels=40)
    np.testing.assert_array_equal(rgb, picture())
    named_jpg = read_image(write(tmp_path, CORPUS["png-named.jpg"][0], "b.jpg"), max_megapixels=40)
    np.testing.assert_array_equal(named_jpg, picture())


def test_grey_and_palette_become_rgb(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    read = read_image(write(tmp_path, encode(grey, "PNG")), max_megapixels=1)
    np.testing.assert_array_equal(read, np.repeat(grey[..., None], 3, axis=2))
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    read = read_image(write(tmp_path, encode(palette, "PNG")), max_megapixels=1)
    np.testing.assert_array_equal(read[0], [[10, 20, 30], [200, 100, 50]])


def test_interlaced_png_is_counted_right(tmp_path: Path) -> None:
    whole = CORPUS["interlaced.png"][0]
    assert read_image(write(tmp_path, whole), max_megapixels=1).shape == (3, 5, 3)
    short = raw_png(5, 3, 8, 0, bytes(21))  # one byte less than its seven passes need
    header = png_chunk(b"IHDR", whole[16:29])
    with pytest.raises(ImageError, match="21 of 22 bytes"):
        read_image(write(tmp_path, short[:8] + header + short[33:]), max_megapixels=1)


# --- EXIF ---


UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[::-1].transpose(1, 0, 2),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a[:, ::-1].transpose(1, 0, 2),
}


def turned_png(pixels: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encode(pixels, "PNG", exif=exif.tobytes())


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_turned_pictures_without_a_mask_are_shown_upright(orientation: int, tmp_path: Path) -> None:
    name = f"exif-{orientation}.jpg"
    image = read_image(write(tmp_path, EXIF_TURNED[name][0], name), max_megapixels=1).astype(int)
    upright = UPRIGHT[orientation](picture())
    assert image.shape == upright.shape
    assert np.abs(image - upright).mean() < 5  # JPEG
    exact = read_image(write(tmp_path, turned_png(picture(), orientation)), max_megapixels=1)
    np.testing.assert_array_equal(exact, upright)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_the_size_of_the_mask_says_whether_a_picture_is_turned(orientation: int, format: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    path = write(tmp_path, encode(picture(), format, exif=exif, **options))
    shown = UPRIGHT[orientation](picture())
    for mask_size, expected in {(WIDTH, HEIGHT): shown, (HEIGHT, WIDTH): picture(), (7, 7): shown, None: shown}.items():
        image = read_image(path, max_megapixels=1, mask_size=mask_size)
        np.testing.assert_array_equal(image, expected, err_msg=str(mask_size))


@pytest.mark.parametrize(
    ("orientation", "pixels"), [(2, picture()), (3, picture()), (4, picture()), (6, picture()[:, :HEIGHT])]
)
def test_where_a_mask_fits_both_ways_the_picture_is_refused(
    orientation: int, pixels: np.ndarray, tmp_path: Path
) -> None:
    path = write(tmp_path, turned_png(pixels, orientation))
    size = pixels.shape[:2]
    with pytest.raises(ImageError) as caught:
        read_image(path, max_megapixels=1, mask_size=(size[0], size[1]))
    assert caught.value.what == (
        f"a.png: its EXIF orientation is {orientation}, and its mask of {size[1]} x {size[0]} fits it both as it is "
        "stored and as it is shown. Save the image the way its mask lies, without that orientation"
    )
    other = read_image(path, max_megapixels=1, mask_size=(size[0] + 1, size[1]))
    np.testing.assert_array_equal(other, UPRIGHT[orientation](pixels))


def test_upright_pictures_do_not_look_at_their_mask(tmp_path: Path) -> None:
    path = write(tmp_path, turned_png(picture(), 1))
    np.testing.assert_array_equal(read_image(path, max_megapixels=1, mask_size=(HEIGHT, WIDTH)), picture())


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = encode(picture(), "PNG")
    late = data[:-12] + png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + data[-12:]
    assert read_image(write(tmp_path, late), max_megapixels=1).shape == (WIDTH, HEIGHT, 3)


# --- limits and identity ---


def test_megapixel_limit_is_exact_and_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, raw_png(100, 100, 8, 0, bytes(101 * 100)))
    assert read_image(path, max_megapixels=0.01).shape == (100, 100, 3)
    monkeypatch.setattr(images, "decode_rgb", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"it is 100 x 100 \(limit 0.009999 megapixels, data.max_megapixels\)"):
        read_image(path, max_megapixels=0.009999)


def test_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(ImageError, match="1,099,511,627,776 bytes"):
        read_image(path, max_megapixels=40)


def test_bombs_unpack_into_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = write(tmp_path, CORPUS["text-bomb.png"][0])
    pixels_bomb = raw_png(2, 2, 8, 0, bytes(2**26))  # 64 MB of pixels for a picture that needs six bytes
    tracemalloc.start()
    with pytest.raises(ImageError):
        read_image(path, max_megapixels=40)
    assert read_image(write(tmp_path, pixels_bomb, "b.png"), max_megapixels=40).shape == (2, 2, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_file_that_grows_while_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, CORPUS["rgb.png"][0])
    fstat = os.fstat

    def grow(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        with path.open("ab") as stream:
            stream.write(b"more")
        return status

    monkeypatch.setattr(images.os, "fstat", grow)
    with pytest.raises(ImageError, match="size changed while it was being read"):
        read_image(path, max_megapixels=40)


def test_a_damaged_scan_is_refused_or_cannot_be_told_from_a_picture() -> None:
    """libjpeg-turbo's warnings are errors: much of what goes wrong in a scan is noticed at its end."""
    sound = CORPUS["rgb.jpg"][0]
    header = read_header(sound)
    scan = sound.rindex(b"\xff\xda") + 14
    refused = 0
    for bit in range(8 * scan, 8 * (len(sound) - 2), 11):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << (bit % 8)
        try:
            assert decode_rgb(bytes(damaged), header)[0].shape == (HEIGHT, WIDTH, 3)
        except Refused as refusal:
            assert "object at 0x" not in str(refusal)
            refused += 1
    assert refused > 20


def test_expected_sha256(tmp_path: Path) -> None:
    data = CORPUS["exif-1.jpg"][0]
    path = write(tmp_path, data, "rot.jpg")
    right = hashlib.sha256(data).hexdigest()
    assert read_image(path, max_megapixels=40, expected_sha256=right).shape == (HEIGHT, WIDTH, 3)
    sound = hashlib.sha256(CORPUS["rgb.jpg"][0]).hexdigest()
    with pytest.raises(DataError, match=r"rot.jpg changed since this run began \(sha256 differs\)") as caught:
        read_image(path, max_megapixels=40, expected_sha256=sound)
    assert not isinstance(caught.value, ImageError)  # never set aside quietly: the run's input is not what it was


def test_changed_file_is_said_to_have_changed_even_when_it_is_also_bad(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="changed since this run began"):
        read_image(write(tmp_path, b"GIF89a"), max_megapixels=40, expected_sha256="0" * 64)


def test_decoding_prints_nothing(tmp_path: Path) -> None:
    paths = [write(tmp_path, CORPUS[name][0], name) for name in ("corrupt-exif.jpg", "1-x-20000.png", "exif-0.jpg")]
    code = "import sys, pathlib\nfrom s4al.data.images import read_image\n" + "".join(
        f"read_image(pathlib.Path(sys.argv[{i + 1}]), max_megapixels=40)\n" for i in range(len(paths))
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_mutated_files_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    """A short fuzzing run; 150,000 inputs of this kind went through without another exception."""
    path, verdicts = tmp_path / "a", {"read": 0, "refused": 0}
    for data in mutations(600, seed=0):
        path.write_bytes(data)
        for read in (
            lambda: read_image(path, max_megapixels=1),
            lambda: read_mask(path, CODE, 3, (HEIGHT, WIDTH)),
        ):
            try:
                read()
                verdicts["read"] += 1
            except (ImageError, MaskError):
                verdicts["refused"] += 1
    assert verdicts["read"] > 10 and verdicts["refused"] > 800


def test_decoder_is_thread_safe(tmp_path: Path) -> None:
    path = write(tmp_path, CORPUS["rgb.png"][0])
    results: list[bool] = []

    def work() -> None:
        results.extend(bool((read_image(path, max_megapixels=1) == picture()).all()) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 80


# --- every byte of a PNG counts ---


def test_no_flipped_bit_of_a_mask_passes_silently(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, (20, 30), np.uint8)
    data = bytearray(encode(labels, "PNG"))
    path = tmp_path / "m.png"
    wrong = 0
    for position in range(len(data)):
        data[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(data)
        with contextlib.suppress(MaskError):
            wrong += not np.array_equal(read_mask(path, CODE, 3, (20, 30)), labels)
        path.write_bytes(data := bytearray(encode(labels, "PNG")))
    assert wrong == 0


# --- masks ---


def test_mask_forms_with_class_ids(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 2], [255, 2, 0]], np.uint8)
    np.testing.assert_array_equal(mask_of(tmp_path, ids), ids)
    np.testing.assert_array_equal(mask_of(tmp_path, ids.astype(np.uint16)), ids)
    palette = Image.fromarray(ids)
    palette.putpalette([200, 100, 50] * 256)  # the colours say nothing: indices are the ids
    np.testing.assert_array_equal(mask_of(tmp_path, encode(palette, "PNG")), ids)
    np.testing.assert_array_equal(mask_of(tmp_path, encode(palette, "PNG", transparency=0)), ids)
    bits = np.array([[True, False, True], [False, False, True]])
    np.testing.assert_array_equal(mask_of(tmp_path, encode(Image.fromarray(bits), "PNG")), bits.astype(np.uint8))


def test_low_bit_grey_masks_keep_their_samples(tmp_path: Path) -> None:
    """Pillow would give 0, 85, 170, 255 (2 bits) and 0, 17, 34 (4 bits)."""
    code = identity_code(4)
    two = raw_png(3, 2, 2, 0, b"\0\x18" + b"\0\xe4")  # rows 0 1 2 and 3 2 1
    np.testing.assert_array_equal(mask_of(tmp_path, two, code, 4), [[0, 1, 2], [3, 2, 1]])
    four = raw_png(3, 2, 4, 0, b"\0\x01\x20" + b"\0\x32\x10")
    np.testing.assert_array_equal(mask_of(tmp_path, four, code, 4), [[0, 1, 2], [3, 2, 1]])
    packed = encode(Image.fromarray(np.array([[0, 1, 2], [3, 2, 1]], np.uint8)).quantize(4), "PNG")
    assert packed[24] < 8  # Pillow packs small palettes into few bits
    assert mask_of(tmp_path, packed, code, 4).max() < 4


def test_mask_code_maps_raw_ids(tmp_path: Path) -> None:
    lut = np.full(2**16, -1, np.int16)
    lut[[7, 300, 9]] = [0, 1, 255]
    ids = np.array([[7, 300, 9], [9, 7, 300]], np.uint16)
    np.testing.assert_array_equal(mask_of(tmp_path, ids, MaskCode(lut), 2), [[0, 1, 255], [255, 0, 1]])


def test_out_of_range_id_is_named_with_count_and_position(tmp_path: Path) -> None:
    with pytest.raises(MaskError) as caught:
        mask_of(tmp_path, np.array([[0, 1, 7], [7, 2, 9]], np.uint8))
    assert str(caught.value) == (
        "mask 0412.png: holds class 7 at 2 pixels, first at (0, 2); "
        "this run has classes 0-2 and 255 = unlabelled. No labels were taken."
    )
    assert caught.value.kept == "No labels were taken."


@pytest.mark.parametrize("value", [3, 254, 256, 257, 300, 511, 65535])
def test_no_id_wraps(value: int, tmp_path: Path) -> None:
    ids = np.zeros((2, 3), np.uint16)
    ids[1, 2] = value
    with pytest.raises(MaskError, match=rf"holds class {value} at 1 pixels, first at \(1, 2\)"):
        mask_of(tmp_path, ids)


def test_lut_entry_beyond_the_classes_is_not_a_label(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="holds class 2"):
        mask_of(tmp_path, np.full((2, 3), 2, np.uint8), identity_code(3), 2)


@pytest.mark.parametrize(("classes", "top"), [(1, 0), (255, 254)])
def test_one_class_and_255_classes(classes: int, top: int, tmp_path: Path) -> None:
    ids = np.array([[0, top, 255], [0, 0, top]], np.uint8)
    np.testing.assert_array_equal(mask_of(tmp_path, ids, identity_code(classes), classes), ids)


def test_mask_of_only_void(tmp_path: Path) -> None:
    assert (mask_of(tmp_path, np.full((2, 3), 255, np.uint8)) == 255).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode(np.zeros((2, 3), np.uint8), "JPEG"), "does not keep class ids exactly"),
        (encode(np.zeros((2, 3), np.float32), "TIFF"), "a TIFF"),
        (encode(Image.new("L", (3, 2)), "PNG", save_all=True, append_images=[Image.new("L", (3, 2), 1)]), "animated"),
        (encode(np.zeros((2, 3), np.uint8), "PNG")[:-20], "ends early"),
        (raw_png(3, 2, 8, 0, bytes(7)), "ends early: 7 of 8 bytes of pixels"),
        (b"", "the file is empty"),
    ],
)
def test_what_is_no_mask(data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=reason) as caught:
        mask_of(tmp_path, data)
    assert caught.value.what.startswith("mask 0412.png: ") and caught.value.kept == "No labels were taken."


@pytest.mark.parametrize("shape", [(3, 2), (2, 4), (1, 3), (4, 6), (20000, 20000)])
def test_masks_are_never_resized(shape: tuple[int, int], tmp_path: Path) -> None:
    data = raw_png(shape[1], shape[0], 8, 0, bytes(100))
    found = f"it is {shape[1]} x {shape[0]}, its image is 3 x 2"
    with pytest.raises(MaskError, match=rf"{found}\. Masks are never resized\."):
        mask_of(tmp_path, data)


def test_mask_that_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    with pytest.raises(MaskError, match="not a regular file"):
        read_mask(tmp_path / "fifo.png", CODE, 3, (2, 3))
    with pytest.raises(MaskError, match="cannot be read"):
        read_mask(tmp_path / "missing.png", CODE, 3, (2, 3))


def test_mask_changed_since_the_run_began(tmp_path: Path) -> None:
    path = write(tmp_path, encode(np.zeros((2, 3), np.uint8), "PNG"))
    with pytest.raises(DataError, match="changed since this run began"):
        read_mask(path, CODE, 3, (2, 3), expected_sha256="0" * 64)


# --- resizing ---


def test_resize_leaves_the_right_size_alone() -> None:
    image, mask = picture(), picture()[..., 0]
    assert resize_image(image, HEIGHT, WIDTH) is image
    assert resize_mask(mask, HEIGHT, WIDTH) is mask


def test_resize_image_is_antialiased() -> None:
    stripes = np.zeros((8, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    shrunk = resize_image(stripes, 4, 16)
    assert shrunk.shape == (4, 16, 3)
    assert np.abs(shrunk[:, 1:-1].astype(int) - 100).max() <= 2  # point sampling would give 0 or 200


def test_resize_mask_takes_pixel_centres() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(resize_mask(mask, 1, 2), [[5, 7]])  # row 1.5 -> 1, columns 1 and 3
    np.testing.assert_array_equal(resize_mask(mask, 6, 4), np.repeat(mask, 2, axis=0))
    np.testing.assert_array_equal(resize_mask(mask[:1], 1, 6), [[0, 1, 1, 2, 3, 3]])  # 1/3 1 5/3 7/3 3 11/3


@pytest.mark.parametrize("size", [(7, 5), (3, 11), (20, 40), (13, 13)])
def test_resize_mask_agrees_with_pillow(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (12, 17), np.uint8)
    expected = Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST)
    np.testing.assert_array_equal(resize_mask(mask, *size), np.asarray(expected))
