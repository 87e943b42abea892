"""region_scores on a CUDA device: region_scores.cu, compiled and launched through CuPy.

Importing this needs neither CuPy nor a device; making a kernel or device arrays does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from s4al.kernels.arguments import RegionScores, check_arguments, check_array, num_regions
from s4al.kernels.launch_plan import NUM_SCORES, NUM_SUMS, SOURCE, kernel_arguments, plan_launch

if TYPE_CHECKING:
    import cupy


class DeviceScores(NamedTuple):
    """What a launch fills, on the device. One per slot of a pipeline, allocated once.

    The scores are in the order of `RegionScores`: entropy, least confidence, margin, labelled share.
    """

    scores_4NR: cupy.ndarray  # float32
    label_NHW: cupy.ndarray  # uint8
    confidence_NHW: cupy.ndarray  # uint8
    histogram_NRC: cupy.ndarray | None  # uint32, pixels by most probable class, whatever the threshold; None: not asked

    @classmethod
    def empty(
        cls, num_images: int, num_regions: int, height: int, width: int, num_classes: int | None = None
    ) -> DeviceScores:
        """Uninitialised arrays on the current device; with a histogram where `num_classes` is given."""
        import cupy

        return cls(
            scores_4NR=cupy.empty((NUM_SUMS, num_images, num_regions), np.float32),
            label_NHW=cupy.empty((num_images, height, width), np.uint8),
            confidence_NHW=cupy.empty((num_images, height, width), np.uint8),
            histogram_NRC=None
            if num_classes is None
            else cupy.empty((num_images, num_regions, num_classes), np.uint32),
        )


class RegionScoresKernel:
    """The kernel for one geometry, compiled for the current device. A launch allocates nothing and waits for nothing.

    Parameters
    ----------
    logits_shape : (N, C, h, w).
    dtype : of the logits, float16 or float32.
    histogram : whether launches also count the pixels of every region by class.
    The others are those of `s4al.kernels.region_scores`.

    Raises
    ------
    ValueError : settings that make no sense together, before anything touches the device.
    cupy.cuda.runtime.CUDARuntimeError : there is no device.
    """

    def __init__(
        self,
        logits_shape: tuple[int, ...],
        dtype: np.typing.DTypeLike,
        *,
        height: int,
        width: int,
        region_height: int,
        region_width: int,
        align_corners: bool = False,
        labelled_pixels: str = "zero",
        pooling: str = "mean",
        confidence_threshold: float = 0.0,
        histogram: bool = False,
    ) -> None:
        plan = plan_launch(
            logits_shape,
            dtype,
            height=height,
            width=width,
            region_height=region_height,
            region_width=region_width,
            align_corners=align_corners,
            labelled_pixels=labelled_pixels,
            pooling=pooling,
            confidence_threshold=confidence_threshold,
        )
        import cupy

        self.plan = plan
        self.num_classes = logits_shape[1]
        self.histogram = histogram
        self._logits = (tuple(logits_shape), np.dtype(dtype))
        self._pixels = (logits_shape[0], height, width)
        module = cupy.RawModule(code=SOURCE.read_text(encoding="utf-8"), options=plan.options, backend="nvrtc")
        self._function = module.get_function("region_scores")
        # The kernel reads these at every launch, so they live as long as it does. CuPy knows no structs.
        tables = {
            "row_taps": plan.row_taps.view(np.int32),
            "column_taps": plan.column_taps.view(np.int32),
            "run_rows": plan.run_rows,
            "first_run": plan.first_run,
        }
        self._kept = cupy.empty(plan.kept_shape, np.float32) if plan.kept_shape else None
        self._tables = {name: cupy.asarray(table) for name, table in tables.items()}
        cupy.cuda.get_current_stream().synchronize()  # the tables are there, whichever stream launches first

    def empty_scores(self) -> DeviceScores:
        """Arrays for `launch` to fill."""
        classes = self.num_classes if self.histogram else None
        num_images, height, width = self._pixels
        return DeviceScores.empty(num_images, self.plan.num_regions, height, width, classes)

    def launch(
        self,
        logits_NCHW: cupy.ndarray,
        labelled_NHW: cupy.ndarray | None,
        out: DeviceScores,
        stream: cupy.cuda.Stream,
    ) -> None:
        """Put one launch on the stream, which may be capturing a graph. The arrays stay the caller's to keep alive.

        Raises
        ------
        ValueError : an array whose shape, dtype or memory order is not the one the kernel was made for.
        """
        self._check(logits_NCHW, labelled_NHW, out)
        arguments = kernel_arguments(
            self.plan,
            logits=_address(logits_NCHW),
            labelled=_address(labelled_NHW),
            **{name: _address(table) for name, table in self._tables.items()},
            scores=_address(out.scores_4NR),
            label=_address(out.label_NHW),
            confidence=_address(out.confidence_NHW),
            histogram=_address(out.histogram_NRC),
            pixels=_address(self._kept),
        )
        with stream:
            self._function(
                self.plan.grid, (self.plan.threads,), tuple(arguments.values()), shared_mem=self.plan.shared_bytes
            )

    def _check(self, logits_NCHW: Any, labelled_NHW: Any, out: DeviceScores) -> None:
        shape, dtype = self._logits
        scores = (shape[0], self.plan.num_regions)
        check_array("logits_NCHW", logits_NCHW, shape, dtype)
        if labelled_NHW is not None:
            check_array("labelled_NHW", labelled_NHW, self._pixels, np.uint8)
        check_array("out.scores_4NR", out.scores_4NR, (NUM_SUMS, *scores), np.float32)
        check_array("out.label_NHW", out.label_NHW, self._pixels, np.uint8)
        check_array("out.confidence_NHW", out.confidence_NHW, self._pixels, np.uint8)
        if self.histogram != (out.histogram_NRC is not None):
            raise ValueError(f"the kernel was made with histogram={self.histogram}, out.histogram_NRC says otherwise")
        if out.histogram_NRC is not None:
            check_array("out.histogram_NRC", out.histogram_NRC, (*scores, self.num_classes), np.uint32)


def _address(array: Any) -> int:
    return 0 if array is None else array.data.ptr


def region_scores_gpu(
    logits_NCHW: np.ndarray,
    *,
    height: int,
    width: int,
    region_height: int,
    region_width: int,
    align_corners: bool = False,
    labelled_NHW: np.ndarray | None = None,
    labelled_pixels: str = "zero",
    pooling: str = "mean",
    confidence_threshold: float = 0.0,
    out: RegionScores | None = None,
    histogram_NRC: np.ndarray | None = None,
) -> RegionScores:
    """As `s4al.kernels.region_scores`, from NumPy to NumPy: for tests and comparisons, it copies and waits.

    `histogram_NRC`, uint32, is filled where given: the pixels of every region by most probable class.
    """
    check_arguments(
        logits_NCHW,
        height=height,
        width=width,
        region_height=region_height,
        region_width=region_width,
        labelled_NHW=labelled_NHW,
        labelled_pixels=labelled_pixels,
        pooling=pooling,
        confidence_threshold=confidence_threshold,
        out=out,
    )
    num_images, num_classes = logits_NCHW.shape[:2]
    regions = num_regions(height, width, region_height, region_width)
    if histogram_NRC is not None:
        check_array("histogram_NRC", histogram_NRC, (num_images, regions, num_classes), np.uint32)
    kernel = RegionScoresKernel(
        logits_NCHW.shape,
        logits_NCHW.dtype,
        height=height,
        width=width,
        region_height=region_height,
        region_width=region_width,
        align_corners=align_corners,
        labelled_pixels=labelled_pixels,
        pooling=pooling,
        confidence_threshold=confidence_threshold,
        histogram=histogram_NRC is not None,
    )
    import cupy

    filled = kernel.empty_scores()
    labelled = None if labelled_NHW is None else cupy.asarray(labelled_NHW)
    kernel.launch(cupy.asarray(logits_NCHW), labelled, filled, cupy.cuda.get_current_stream())
    if out is None:
        out = RegionScores.empty(num_images, regions, height, width)
    for array, device_array in zip(out, (*filled.scores_4NR, filled.label_NHW, filled.confidence_NHW), strict=True):
        array[:] = device_array.get()
    if histogram_NRC is not None and filled.histogram_NRC is not None:
        histogram_NRC[:] = filled.histogram_NRC.get()
    return out


class KernelWork(NamedTuple):
    """What one launch must do at the least, for a roofline."""

    bytes: int  # to and from the device's memory, everything once
    operations: int  # float32 instructions and selections, a fused multiply-add counts two; without the exponentials
    exponentials: int  # on the special function units, of which there are few


# Counted in region_scores.cu. Per pixel and class: interpolate along y (an FMA, whose difference is shared), compare,
# select, two maxima and a minimum, Z, S (an FMA). Per class and run: two interpolations along x and the difference.
# Per pixel: a division, a logarithm, products, rounding and sums.
_OPERATIONS_PER_PIXEL_CLASS = 10
_OPERATIONS_PER_RUN_CLASS = 7
_OPERATIONS_PER_PIXEL = 45


def kernel_work(
    logits_shape: tuple[int, ...],
    dtype: np.typing.DTypeLike,
    *,
    height: int,
    width: int,
    region_height: int,
    region_width: int,
    labelled: bool = False,
    pooling: str = "mean",
    histogram: bool = False,
) -> KernelWork:
    """Bytes, operations and exponentials of one launch: the least that any schedule needs.

    Rows that share a low-resolution row would also share the interpolation along x, which runs of four rows do only
    nearly; neighbouring regions read the pixels between them twice, out of the cache. For "top-tenth", a comparison and
    an addition for each score: who knew the bound would need no more, and would keep no pixels.
    """
    num_images, num_classes, low_height, _ = logits_shape
    pixels = num_images * height * width
    regions = num_images * num_regions(height, width, region_height, region_width)
    logits = math.prod(logits_shape)
    outputs = 2 * pixels + 4 * NUM_SUMS * regions + (4 * num_classes * regions if histogram else 0)
    runs = num_images * low_height * width
    further = 2 * NUM_SCORES if pooling == "top-tenth" else 0
    return KernelWork(
        bytes=logits * np.dtype(dtype).itemsize + outputs + (pixels if labelled else 0),
        operations=(
            (_OPERATIONS_PER_PIXEL_CLASS * num_classes + _OPERATIONS_PER_PIXEL + further) * pixels
            + _OPERATIONS_PER_RUN_CLASS * num_classes * runs
        ),
        exponentials=(num_classes + 2) * pixels,
    )
