"""The launcher's half that needs no GPU: arguments, sizes, and what the compiler makes of the kernel."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from s4al.kernels.arguments import POOLINGS
from s4al.kernels.launch_plan import MOST_SHARED_BYTES, SOURCE, kernel_arguments, plan_launch
from s4al.kernels.region_scores_cuda import DeviceScores, RegionScoresKernel, kernel_work, region_scores_gpu

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
GOOD: dict[str, Any] = {
    "logits_shape": (2, 3, 2, 2),
    "dtype": np.float32,
    "height": 8,
    "width": 8,
    "region_height": 4,
    "region_width": 4,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits_shape": (0, 3, 2, 2)}, "empty axes"),
        ({"logits_shape": (65536, 3, 2, 2)}, "65535 images"),
        ({"logits_shape": (2, 256, 2, 2)}, "255 classes"),
        ({"dtype": np.float64}, "float64"),
        ({"logits_shape": (2, 3, 9, 2)}, "upsampled"),
        ({"region_width": 0}, "region"),
        ({"labelled_pixels": "ignore"}, "ignore"),
        ({"pooling": "median"}, "median"),
        (
            {"height": 4096, "width": 4112, "region_height": 5000, "region_width": 5000, "pooling": "top-tenth"},
            "16777216 pixels",
        ),
        ({"confidence_threshold": 1.5}, "probability"),
        ({"height": 70000, "region_height": 1}, "rows of regions"),
        ({"logits_shape": (2, 255, 4096, 4096), "height": 4096, "width": 4096}, "2\\^31"),
    ],
)
def test_wrong_settings_are_refused_before_a_device_is_needed(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RegionScoresKernel(**(GOOD | changes))


def parameters_of_the_kernel() -> list[tuple[str, str]]:
    """(type, name) of every parameter of region_scores, as its text has them."""
    source = re.sub(r"//[^\n]*", "", SOURCE.read_text(encoding="utf-8"))
    match = re.search(r"region_scores\(\s*(const Logit.*?)\)", source, re.DOTALL)
    assert match
    split = (parameter.rsplit(maxsplit=1) for parameter in match[1].split(","))
    return [(kind.strip(), name) for kind, name in split]


def test_arguments_are_the_parameters_of_the_kernel_in_order() -> None:
    pointers = list(inspect.signature(kernel_arguments).parameters)[1:]
    arguments = kernel_arguments(plan_launch(**GOOD), **{name: i for i, name in enumerate(pointers)})
    parameters = parameters_of_the_kernel()
    assert list(arguments) == [name for _, name in parameters]
    for (kind, name), value in zip(parameters, arguments.values(), strict=True):
        expected = np.uint64 if "*" in kind else {"int": np.int32, "float": np.float32}[kind]
        assert type(value) is expected, name
    assert [int(arguments[name]) for name in pointers] == list(range(len(pointers)))


@pytest.mark.parametrize("num_classes", [1, 19, 100, 255])
@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 3.7])
@pytest.mark.parametrize("region", [(1, 1), (30, 30), (43, 64), (1024, 2048)])
def test_every_region_fits_in_shared_memory(num_classes: int, stride: float, region: tuple[int, int]) -> None:
    height, width = 200, 330
    plan = plan_launch(
        (1, num_classes, int(height / stride), int(width / stride)),
        np.float16,
        height=height,
        width=width,
        region_height=region[0],
        region_width=region[1],
    )
    assert plan.shared_bytes <= MOST_SHARED_BYTES
    low, starts = plan.row_taps["low"], plan.run_rows
    assert (low[starts[:-1]] == low[starts[1:] - 1]).all(), "a run has one pair of low-resolution rows"
    rows = int(re.search(r"-DROWS=(\d)", " ".join(plan.options))[1])
    assert np.diff(starts).min() >= 1
    assert np.diff(starts).max() <= rows
    assert set(range(0, height, region[0])) <= set(starts[plan.first_run].tolist())
    assert starts[0] == 0
    assert starts[-1] == height


def test_a_large_image_of_one_region_and_255_classes_keeps_most_threads_busy() -> None:
    changes = {"logits_shape": (2, 255, 256, 512), "height": 1024, "width": 2048}
    plan = plan_launch(**(GOOD | changes | {"region_height": 1024, "region_width": 2048}))
    assert plan.grid == (1, 1, 2)
    assert plan.scalars["tile_runs"] * plan.scalars["tile_width"] > plan.threads / 2


class _FakeArray:
    """Shape, dtype and order are all that is looked at before the device is touched."""

    def __init__(self, shape: tuple[int, ...], dtype: type, contiguous: bool = True) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.flags = np.empty((2, 2))[:, :: 1 if contiguous else 2].flags


def scores(**changes: Any) -> Any:
    return DeviceScores(
        _FakeArray((4, 2, 4), np.float32), _FakeArray((2, 8, 8), np.uint8), _FakeArray((2, 8, 8), np.uint8), None
    )._replace(**changes)


@pytest.mark.parametrize(
    ("logits", "labelled", "out", "message"),
    [
        (_FakeArray((2, 3, 2, 3), np.float32), None, scores(), "logits_NCHW"),
        (_FakeArray((2, 3, 2, 2), np.float16), None, scores(), "logits_NCHW"),
        (_FakeArray((2, 3, 2, 2), np.float32, contiguous=False), None, scores(), "not contiguous"),
        (_FakeArray((2, 3, 2, 2), np.float32), _FakeArray((2, 8, 8), bool), scores(), "labelled_NHW"),
        (_FakeArray((2, 3, 2, 2), np.float32), None, scores(label_NHW=_FakeArray((2, 8, 9), np.uint8)), "label_NHW"),
        (_FakeArray((2, 3, 2, 2), np.float32), None, scores(scores_4NR=_FakeArray((3, 2, 4), np.float32)), "scores"),
        (
            _FakeArray((2, 3, 2, 2), np.float32),
            None,
            scores(histogram_NRC=_FakeArray((2, 4, 3), np.uint32)),
            "histogram=False",
        ),
    ],
)
def test_wrong_arrays_are_refused(logits: Any, labelled: Any, out: Any, message: str) -> None:
    kernel = RegionScoresKernel.__new__(RegionScoresKernel)  # without the device that __init__ needs
    kernel.plan, kernel.num_classes, kernel.histogram = plan_launch(**GOOD), 3, False
    kernel._logits, kernel._pixels = ((2, 3, 2, 2), np.dtype(np.float32)), (2, 8, 8)
    with pytest.raises(ValueError, match=message):
        kernel.launch(logits, labelled, out, None)


def test_wrong_arguments_of_the_numpy_call_are_refused() -> None:
    with pytest.raises(ValueError, match="histogram_NRC"):
        region_scores_gpu(
            np.zeros((1, 3, 2, 2), np.float32),
            height=8,
            width=8,
            region_height=4,
            region_width=4,
            histogram_NRC=np.zeros((1, 4, 4), np.uint32),
        )


def test_work_of_one_call_by_hand() -> None:
    work = kernel_work(**(GOOD | {"logits_shape": (1, 3, 2, 2)}), labelled=True, histogram=True)
    assert work.bytes == 3 * 4 * 4 + 64 * 3 + 4 * 16 + 4 * 3 * 4  # logits, pixels in and out, scores, histogram
    assert work.exponentials == 64 * 5
    assert work.operations == 64 * (3 * 10 + 45) + 2 * 8 * 3 * 7
    pooled = kernel_work(**(GOOD | {"logits_shape": (1, 3, 2, 2)}), labelled=True, histogram=True, pooling="top-tenth")
    assert pooled == work._replace(operations=work.operations + 64 * 6)


def test_only_the_top_tenth_keeps_pixels() -> None:
    assert [plan_launch(**GOOD, pooling=pooling).kept_shape for pooling in POOLINGS] == [(), (), (3, 2, 8, 8)]


def test_importing_the_launcher_needs_no_cupy() -> None:
    code = "import sys; sys.modules['cupy'] = None; import s4al.kernels.region_scores_cuda"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def _compile(options: tuple[str, ...], architecture: int) -> str:
    """The log of NVRTC, which needs neither a driver nor headers, and tells what the assembler says."""
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", reason="NVRTC comes with CuPy's CUDA packages")
    try:
        program = nvrtc.createProgram(SOURCE.read_text(encoding="utf-8"), SOURCE.name, (), ())
    except (RuntimeError, OSError) as error:
        pytest.skip(f"NVRTC cannot be loaded: {error}")
    options = (*options, f"--gpu-architecture=sm_{architecture}", "--ptxas-options=-v")
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    assert nvrtc.getCUBIN(program).startswith(b"\x7fELF")
    return nvrtc.getProgramLog(program)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_compiles_for_every_architecture_without_spills(dtype: type, architecture: int, pooling: str) -> None:
    strides = (1, 2, 4) if architecture == 90 else (4,)
    for stride in strides:
        plan = plan_launch(**(GOOD | {"dtype": dtype, "height": 2 * stride, "width": 2 * stride, "pooling": pooling}))
        log = _compile(plan.options, architecture)
        assert "warning" not in log
        registers = re.findall(r"Used (\d+) registers", log)
        spills = re.findall(r"(\d+) bytes spill", log)
        assert registers, f"no registers in {log}"
        assert int(registers[0]) <= (72 if pooling == "top-tenth" else 64), log
        assert set(spills) == {"0"}, log
