"""The Numba twin against the specification."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s4al.kernels import RegionScores, region_scores
from s4al.kernels.arguments import POOLINGS
from s4al.kernels.region_scores_numba import score_chunks
from tests.kernels.cases import CASES, Case, assert_agree, make
from tests.kernels.contract import Contract, Score, assert_same_bits


class TestNumba(Contract):
    @pytest.fixture
    def score(self) -> Score:
        return region_scores


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    low=st.tuples(st.integers(1, 6), st.integers(1, 9)),
    more=st.tuples(st.integers(0, 30), st.integers(0, 60)),
    region=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    images=st.integers(1, 2),
    classes=st.integers(1, 6),
    align_corners=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float16]),
    labelled=st.sampled_from(["", "zero", "exclude"]),
    pooling=st.sampled_from(POOLINGS),
    spread=st.sampled_from([0.0, 0.1, 3.0, 20.0]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_agrees_with_the_reference_on_any_geometry(
    low, more, region, images, classes, align_corners, dtype, labelled, pooling, spread, threads, seed
) -> None:
    size = (low[0] + more[0], low[1] + more[1])
    case = Case((images, classes, *low), size, region, align_corners, dtype, spread, labelled)
    logits, arguments = make(case, seed)
    arguments["pooling"] = pooling
    assert_agree(region_scores(logits, **arguments, threads=threads), logits, arguments)


@pytest.mark.parametrize("name", ["camvid stride 4, exact cells", "region larger than the image", "one pixel"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_same_bits_with_any_number_of_threads(name: str, pooling: str) -> None:
    logits, arguments = make(CASES[name])
    arguments["pooling"] = pooling
    one = region_scores(logits, **arguments, threads=1)
    for threads in (2, 3, 16, None):
        assert_same_bits(region_scores(logits, **arguments, threads=threads), one)


def test_calls_from_several_threads_at_once() -> None:
    logits, arguments = make(CASES["camvid stride 4, exact cells"])
    expected = region_scores(logits, **arguments)
    with ThreadPoolExecutor(8) as callers:
        for got in callers.map(lambda _: region_scores(logits, **arguments, threads=4), range(64)):
            assert_same_bits(got, expected)


def _score_entropy(queue) -> None:
    logits, arguments = make(CASES["camvid stride 4, exact cells"])
    queue.put(region_scores(logits, **arguments, threads=2).entropy_NR.tobytes())
    queue.put([thread.name for thread in threading.enumerate()])


def test_a_forked_child_can_score() -> None:
    logits, arguments = make(CASES["camvid stride 4, exact cells"])
    expected = region_scores(logits, **arguments, threads=2).entropy_NR.tobytes()  # the pool has threads now
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_score_entropy, args=(queue,), daemon=True)
    child.start()
    assert queue.get(timeout=60) == expected
    assert any(name.startswith("region-scores") for name in queue.get(timeout=60)), "the child needs threads of its own"
    child.join(timeout=60)
    assert child.exitcode == 0


def test_out_is_filled_and_returned() -> None:
    logits, arguments = make(CASES["stride 16, ragged"])
    out = RegionScores.empty(2, 4 * 5, 112, 144)
    for array in out:
        array.fill(77)
    assert region_scores(logits, **arguments, out=out) is out
    assert_same_bits(out, region_scores(logits, **arguments))


def test_input_is_not_written_and_may_be_read_only() -> None:
    logits, arguments = make(CASES["stride 16, ragged"])
    region_scores(logits, **arguments)  # compiles, where nobody did
    before, compiled = logits.copy(), len(score_chunks.signatures)
    for array in (logits, arguments["labelled_NHW"]):
        array.flags.writeable = False
    region_scores(logits, **arguments)
    np.testing.assert_array_equal(logits, before)
    assert len(score_chunks.signatures) == compiled, "a read-only array must not cost another compilation"


def test_read_only_out_is_refused() -> None:
    out = RegionScores.empty(1, 4, 8, 8)
    out.label_NHW.flags.writeable = False
    with pytest.raises(ValueError, match="label_NHW is read-only"):
        region_scores(np.zeros((1, 3, 2, 2), np.float32), **GOOD, out=out)


GOOD = {"height": 8, "width": 8, "region_height": 4, "region_width": 4}


@pytest.mark.parametrize(
    ("logits", "changes", "message"),
    [
        (np.zeros((2, 3, 4), np.float32), {}, "shape"),
        (np.zeros((1, 0, 2, 2), np.float32), {}, "shape"),
        (np.zeros((1, 3, 2, 2), np.float64), {}, "float64"),
        (np.zeros((1, 2, 2, 3), np.float32).transpose(0, 3, 1, 2), {}, "contiguous"),
        (np.zeros((1, 256, 2, 2), np.float32), {}, "255 classes"),
        (np.zeros((1, 3, 9, 2), np.float32), {}, "upsampled"),
        (np.zeros((1, 3, 2, 9), np.float32), {}, "upsampled"),
        (np.zeros((1, 3, 2, 2), np.float32), {"region_width": 0}, "region"),
        (np.zeros((1, 3, 2, 2), np.float32), {"labelled_pixels": "ignore"}, "ignore"),
        (np.zeros((1, 3, 2, 2), np.float32), {"pooling": "median"}, "median"),
        (np.zeros((1, 3, 2, 2), np.float32), {"confidence_threshold": 70.0}, "probability"),
        (np.zeros((1, 3, 2, 2), np.float32), {"confidence_threshold": float("nan")}, "probability"),
        (np.zeros((1, 3, 2, 2), np.float32), {"labelled_NHW": np.zeros((1, 8, 7), np.uint8)}, "labelled_NHW"),
        (np.zeros((1, 3, 2, 2), np.float32), {"labelled_NHW": np.zeros((1, 8, 8), bool)}, "labelled_NHW"),
        (np.zeros((1, 3, 2, 2), np.float32), {"out": RegionScores.empty(1, 5, 8, 8)}, "out.entropy_NR"),
        (np.zeros((1, 3, 2, 2), np.float32), {"threads": 0}, "threads"),
    ],
)
def test_wrong_arguments(logits: np.ndarray, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        region_scores(logits, **(GOOD | changes))


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_importing_the_room_is_cheap() -> None:
    done = run_python("import sys, s4al.kernels; sys.exit('numba' in sys.modules or 'torch' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_without_a_place_for_the_cache_the_kernel_warns_and_works() -> None:
    done = run_python(
        "import numba.core.caching as caching; caching.CacheImpl._locator_classes = []\n"
        "from s4al.kernels.region_scores_numba import score_chunks"
    )
    assert done.returncode == 0, done.stderr
    assert "compiled anew in every process" in done.stderr
