"""Worker processes that decode: order, bounds, and images that kill their decoder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from s4al.scorer.decode_workers import Decoded, DecodePool

NAMES = [f"image {index}" for index in range(30)]


def pixels(name: str) -> np.ndarray:
    return np.full((2, 3, 3), int(name.split()[1]), np.uint8)


def decode(name: str, *, killers: tuple[str, ...] = (), once: Path | None = None, seen: Path | None = None) -> Decoded:
    """Dies on `killers`; with `once` only where that file is not there yet."""
    if seen:
        (seen / name).touch()
    if name in killers and (once is None or not once.exists()):
        if once:
            once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Decoded(pixels(name), size=(len(name), 7))


def fetch_all(pool: DecodePool) -> list[Decoded]:
    with pool:
        return [pool.fetch(index) for index in range(len(NAMES))]


def test_every_image_comes_in_its_place() -> None:
    for index, decoded in enumerate(fetch_all(DecodePool(decode, NAMES))):
        np.testing.assert_array_equal(decoded.pixels_HWC, pixels(NAMES[index]))
        assert decoded.size == (len(NAMES[index]), 7)


@pytest.mark.parametrize("killers", [("image 0",), ("image 11", "image 12", "image 29")])
def test_images_that_kill_their_decoder_are_set_aside_and_no_others(killers: tuple[str, ...]) -> None:
    results = fetch_all(DecodePool(partial(decode, killers=killers), NAMES))
    refused = {name: result.reason for name, result in zip(NAMES, results, strict=True) if result.pixels_HWC is None}
    assert refused == {name: f"{name}: the process that decoded it died, twice" for name in killers}
    for name, result in zip(NAMES, results, strict=True):
        if name not in killers:
            np.testing.assert_array_equal(result.pixels_HWC, pixels(name))


def test_an_image_whose_decoder_died_once_is_tried_again(tmp_path: Path) -> None:
    decoder = partial(decode, killers=("image 7",), once=tmp_path / "once")
    assert all(result.pixels_HWC is not None for result in fetch_all(DecodePool(decoder, NAMES)))


def test_decoding_waits_for_whoever_fetches(tmp_path: Path) -> None:
    names = [f"image {index}" for index in range(200)]
    with DecodePool(partial(decode, seen=tmp_path), names) as pool:
        pool.fetch(0)
        deadline, before = time.monotonic() + 20, -1
        while (now := len(list(tmp_path.iterdir()))) != before and time.monotonic() < deadline:
            before = now
            time.sleep(0.5)
    assert 1 <= before <= 1 + 4 * len(os.sched_getaffinity(0))


def test_workers_leave_with_a_parent_that_is_killed() -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from s4al.scorer.decode_workers import DecodePool
        from tests.scorer.test_decode_workers import NAMES, decode
        if __name__ == "__main__":
            pool = DecodePool(decode, NAMES)
            pool.fetch(0)
            print("ready", flush=True)
            time.sleep(60)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    assert parent.stdout.readline() == "ready\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive
