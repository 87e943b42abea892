"""region_scores.cu on the CPU, through emulator.cpp: every argument and every size is the launcher's."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from s4al.kernels import RegionScores
from s4al.kernels.launch_plan import NUM_SUMS, SOURCE, kernel_arguments, plan_launch

GUARD_BYTES = 8192
ERASED = 0xFF  # NaN as a float of either size


class Emulator:
    """Scores like `region_scores_gpu`, with the kernel's text as it is or as a test has changed it.

    Compiles once per text and options, into `folder`. Raises AssertionError for what no correct kernel does: threads
    that wait for each other for ever, stores outside of the arrays.
    """

    def __init__(self, folder: Path, source: str | None = None) -> None:
        self.folder = folder
        self.source = SOURCE.read_text(encoding="utf-8") if source is None else source
        self._libraries: dict[tuple[str, ...], ctypes.CDLL] = {}

    def library(self, options: tuple[str, ...]) -> ctypes.CDLL:
        if options not in self._libraries:
            self._libraries[options] = self._compile(options)
        return self._libraries[options]

    def _compile(self, options: tuple[str, ...]) -> ctypes.CDLL:
        compiler = shutil.which("g++")
        if compiler is None:
            pytest.skip("the emulator needs g++")
        name = hashlib.sha256(repr((self.source, options)).encode()).hexdigest()[:16]
        kernel, library = self.folder / f"{name}.cu", self.folder / f"{name}.so"
        kernel.write_text(self.source, encoding="utf-8")
        command = [compiler, "-O1", "-march=native", "-fno-strict-aliasing", "-shared", "-fPIC", "-w", *options]
        command += ["-DENTRY=region_scores", f'-DKERNEL="{kernel}"', str(Path(__file__).with_name("emulator.cpp"))]
        subprocess.run([*command, "-o", str(library)], check=True, timeout=120)
        loaded = ctypes.CDLL(str(library))
        loaded.launch.restype = loaded.signature.restype = ctypes.c_char_p
        return loaded

    def region_scores(
        self,
        logits_NCHW: np.ndarray,
        *,
        height: int,
        width: int,
        region_height: int,
        region_width: int,
        align_corners: bool = False,
        labelled_NHW: np.ndarray | None = None,
        labelled_pixels: str = "zero",
        confidence_threshold: float = 0.0,
        histogram_NRC: np.ndarray | None = None,
    ) -> RegionScores:
        num_images, num_classes, low_height, low_width = logits_NCHW.shape
        plan = plan_launch(
            num_images=num_images,
            num_classes=num_classes,
            low_height=low_height,
            low_width=low_width,
            height=height,
            width=width,
            region_height=region_height,
            region_width=region_width,
            dtype=logits_NCHW.dtype,
            align_corners=align_corners,
            labelled_pixels=labelled_pixels,
            confidence_threshold=confidence_threshold,
        )
        inputs = {
            "logits": _Guarded.like(logits_NCHW),
            "labelled": None if labelled_NHW is None else _Guarded.like(labelled_NHW),
            "row_taps": _Guarded.like(plan.row_taps),
            "column_taps": _Guarded.like(plan.column_taps),
            "run_rows": _Guarded.like(plan.run_rows),
            "first_run": _Guarded.like(plan.first_run),
        }
        outputs = {
            "scores": _Guarded((NUM_SUMS, num_images, plan.num_regions), np.float32),
            "label": _Guarded((num_images, height, width), np.uint8),
            "confidence": _Guarded((num_images, height, width), np.uint8),
            "histogram": None if histogram_NRC is None else _Guarded(histogram_NRC.shape, np.uint32),
        }
        buffers = inputs | outputs
        arguments = kernel_arguments(
            plan, **{name: 0 if buffer is None else buffer.array.ctypes.data for name, buffer in buffers.items()}
        )
        values = [np.array(value) for value in arguments.values()]  # kept alive, each with an address
        error = self.library(plan.options).launch(
            (ctypes.c_uint * 3)(*plan.grid),
            ctypes.c_size_t(plan.shared_bytes),
            (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values)),
        )
        assert error is None, error.decode()
        for name, buffer in buffers.items():
            assert buffer is None or buffer.is_intact(), f"a store outside of {name}"
        if histogram_NRC is not None:
            histogram_NRC[:] = buffers["histogram"].array
        return RegionScores(*outputs["scores"].array, outputs["label"].array, outputs["confidence"].array)


class _Guarded:
    """An array between two stretches of erased memory."""

    def __init__(self, shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._bytes = np.full(GUARD_BYTES + size + GUARD_BYTES, ERASED, np.uint8)
        self._size = size
        self.array = self._bytes[GUARD_BYTES : GUARD_BYTES + size].view(dtype).reshape(shape)

    @classmethod
    def like(cls, array: np.ndarray) -> _Guarded:
        guarded = cls(array.shape, array.dtype)
        guarded.array[:] = array
        return guarded

    def is_intact(self) -> bool:
        guards = np.concatenate([self._bytes[:GUARD_BYTES], self._bytes[GUARD_BYTES + self._size :]])
        return bool((guards == ERASED).all())
