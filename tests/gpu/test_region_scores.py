"""The bodies that run on the emulator everywhere, on a real GPU; and what only a GPU has: streams and graphs."""

from __future__ import annotations

import numpy as np
import pytest

from s4al.kernels import RegionScores
from s4al.kernels.region_scores_cuda import RegionScoresKernel, region_scores_gpu
from tests.kernels.cases import CASES, assert_agree, make
from tests.kernels.contract import KernelContract, Score


def _no_gpu() -> str | None:
    try:
        import cupy

        return None if cupy.cuda.runtime.getDeviceCount() else "no CUDA device"
    except Exception as error:  # noqa: BLE001 - no CuPy, no driver, no device: each has exceptions of its own
        return f"no CUDA device: {error}"


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(_no_gpu() is not None, reason=_no_gpu() or "")]


@pytest.fixture
def score() -> Score:
    return region_scores_gpu


class TestOnTheGpu(KernelContract):
    pass


def test_many_regions_of_many_classes(score: Score) -> None:
    """Large enough that blocks wait for each other's place."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (4, 19, 172, 172)).astype(np.float16)
    arguments = {"height": 688, "width": 688, "region_height": 43, "region_width": 43, "align_corners": True}
    assert_agree(score(logits, **arguments), logits, arguments)


def test_a_captured_launch_reads_what_its_buffers_hold_when_it_runs() -> None:
    import cupy

    logits, arguments = make(CASES["camvid stride 4, exact cells"])
    kernel = RegionScoresKernel(logits.shape, logits.dtype, **arguments)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        buffer, out = cupy.zeros(logits.shape, logits.dtype), kernel.empty_scores()
        kernel.launch(buffer, None, out, stream)
        stream.synchronize()
        stream.begin_capture()
        kernel.launch(buffer, None, out, stream)
        graph = stream.end_capture()
        buffer.set(logits)
        graph.launch(stream)
        stream.synchronize()
        got = RegionScores(*out.scores_4NR.get(), out.label_NHW.get(), out.confidence_NHW.get())
    assert_agree(got, logits, arguments)
