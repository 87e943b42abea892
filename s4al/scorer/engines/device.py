"""A CUDA device as the pipeline uses it: streams, events, pinned and device memory, captured graphs.

The pipeline is written against `Device`, so that a test can run it on a device that delays and reorders whatever it is
told. `CudaDevice` is the real one, a thin layer over CuPy, which owns the memory; engines wrap it or take its address.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from numpy.typing import DTypeLike, NDArray

from s4al.scorer.engines.gpu import Gpu
from s4al.scorer.engines.model_card import ModelCard


class DeviceOutOfMemory(Exception):
    """The device has not the memory that a batch of this size needs."""


class KernelOutput(NamedTuple):
    """Device arrays that the fused kernel fills for a batch."""

    scores_4NR: Any  # float32: entropy, least confidence, margin, labelled share
    label_NHW: Any  # uint8
    histogram_NRC: Any  # uint32, pixels of each class, whatever their confidence


class Device(Protocol):
    """Arrays of a device are C-contiguous and opaque, but for `shape` and `dtype`. Streams and events are opaque.

    Attributes
    ----------
    name : of the product ("NVIDIA H100 80GB HBM3").
    index : among the devices of this machine.
    compute : the stream of engine and kernel; the others carry copies to and from the device.
    """

    name: str
    index: int
    copy_in: Any
    compute: Any
    copy_out: Any

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Zeroed host memory that the device copies from and to while the host goes on."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Device memory. Raises DeviceOutOfMemory."""
        ...

    def pointer(self, array: Any) -> int: ...

    def stream_pointer(self, stream: Any) -> int: ...

    def upload(self, target: Any, source: NDArray[Any]) -> None:
        """Copy on the `copy_in` stream."""
        ...

    def download(self, target: NDArray[Any], source: Any) -> None:
        """Copy on the `copy_out` stream."""
        ...

    def event(self) -> Any: ...

    def record(self, event: Any, stream: Any) -> None: ...

    def wait(self, stream: Any, event: Any) -> None:
        """What is put on the stream from now on waits for the event; the host goes on."""
        ...

    def synchronize(self, event: Any) -> None:
        """The host waits for the event."""
        ...

    def synchronize_all(self) -> None: ...

    def free_unused(self) -> None:
        """Give memory that nothing refers to any more back to the device."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` puts on the compute stream; the result, which keeps `work`, puts it there in one call."""
        ...

    def bind_kernel(
        self,
        logits_NChw: Any,
        labelled_NHW: Any,
        card: ModelCard,
        *,
        labelled_pixels: str,
        pooling: str,
        confidence_threshold: float,
    ) -> tuple[KernelOutput, Callable[[], None]]:
        """The fused kernel for these arrays: what it fills, and what launches it on the compute stream.

        Raises DeviceOutOfMemory.
        """
        ...

    def seconds_to_copy(self, num_bytes: int) -> float:
        """Within the device's memory; the fastest of a few."""
        ...

    def seconds_to_multiply(self, side: int) -> float:
        """Two square float16 matrices; the fastest of a few."""
        ...


class CudaDevice:
    """A CUDA device through CuPy; becomes the current one of the thread that makes it, which is the one to use it."""

    def __init__(self, gpu: Gpu) -> None:
        import cupy
        import cupyx

        self._cupy, self._cupyx, self._runtime = cupy, cupyx, cupy.cuda.runtime
        self.name, self.index = gpu.name, gpu.index
        cupy.cuda.Device(gpu.index).use()
        # The default stream cannot be captured, and other streams would wait for it.
        self.copy_in, self.compute, self.copy_out = (cupy.cuda.Stream(non_blocking=True) for _ in range(3))

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        return self._cupyx.zeros_pinned(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        try:
            return self._cupy.zeros(shape, dtype)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise DeviceOutOfMemory(str(error)) from error

    def pointer(self, array: Any) -> int:
        return array.data.ptr

    def stream_pointer(self, stream: Any) -> int:
        return stream.ptr

    def upload(self, target: Any, source: NDArray[Any]) -> None:
        assert target.nbytes == source.nbytes and source.flags.c_contiguous
        kind = self._runtime.memcpyHostToDevice
        self._runtime.memcpyAsync(target.data.ptr, source.ctypes.data, source.nbytes, kind, self.copy_in.ptr)

    def download(self, target: NDArray[Any], source: Any) -> None:
        assert target.nbytes == source.nbytes and target.flags.c_contiguous
        kind = self._runtime.memcpyDeviceToHost
        self._runtime.memcpyAsync(target.ctypes.data, source.data.ptr, source.nbytes, kind, self.copy_out.ptr)

    def event(self) -> Any:
        return self._cupy.cuda.Event(disable_timing=True)

    def record(self, event: Any, stream: Any) -> None:
        event.record(stream)

    def wait(self, stream: Any, event: Any) -> None:
        stream.wait_event(event)

    def synchronize(self, event: Any) -> None:
        event.synchronize()

    def synchronize_all(self) -> None:
        self._runtime.deviceSynchronize()

    def free_unused(self) -> None:
        self._cupy.get_default_memory_pool().free_all_blocks()
        torch = sys.modules.get("torch")  # it keeps what it has freed, too, but only where it is in use
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        stream = self.compute
        stream.begin_capture()
        try:
            work()
        finally:
            graph = stream.end_capture()

        def launch(keep: object = work) -> None:
            """The graph knows addresses only: `work` keeps alive what lies there."""
            graph.launch(stream)

        return launch

    def bind_kernel(
        self,
        logits_NChw: Any,
        labelled_NHW: Any,
        card: ModelCard,
        *,
        labelled_pixels: str,
        pooling: str,
        confidence_threshold: float,
    ) -> tuple[KernelOutput, Callable[[], None]]:
        from s4al.kernels.region_scores_cuda import RegionScoresKernel

        try:
            kernel = RegionScoresKernel(
                logits_NChw.shape,
                logits_NChw.dtype,
                **card.geometry,
                labelled_pixels=labelled_pixels,
                pooling=pooling,
                confidence_threshold=confidence_threshold,
                histogram=True,
            )
            filled = kernel.empty_scores()
        except self._cupy.cuda.memory.OutOfMemoryError as error:  # top-tenth keeps three numbers a pixel
            raise DeviceOutOfMemory(str(error)) from error
        output = KernelOutput(filled.scores_4NR, filled.label_NHW, filled.histogram_NRC)
        return output, lambda: kernel.launch(logits_NChw, labelled_NHW, filled, self.compute)

    def seconds_to_copy(self, num_bytes: int) -> float:
        source, target = (self._cupy.empty(num_bytes, "uint8") for _ in range(2))
        return self._fastest(lambda: self._cupy.copyto(target, source))

    def seconds_to_multiply(self, side: int) -> float:
        left, out = (self._cupy.ones((side, side), "float16") for _ in range(2))
        return self._fastest(lambda: self._cupy.matmul(left, left, out=out))

    def _fastest(self, work: Callable[[], object]) -> float:
        from cupyx.profiler import benchmark

        return float(benchmark(work, n_repeat=10, n_warmup=3).gpu_times.min())
