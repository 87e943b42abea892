"""One CUDA GPU: what it is, and the little of it that engines need (memory, streams, graphs), by way of CuPy.

CuPy is imported when a GPU is first asked for; machines without one never load it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from s4al.errors import EngineError

# Enqueues work on the stream with this handle; neither allocates nor waits, so a CUDA graph can hold it.
Enqueue = Callable[[int], None]


@dataclass(frozen=True)
class Gpu:
    """What decides whether a plan made on one GPU runs on another.

    `driver` is the newest CUDA the driver serves, as CUDA numbers it: 13010 is 13.1.
    """

    index: int
    name: str
    compute_capability: tuple[int, int]
    driver: int


def find_gpu(device: str = "auto") -> Gpu:
    """The GPU that `device` names: cuda and auto mean the first. Raises EngineError that says what is missing."""
    try:
        import cupy
    except (ImportError, OSError) as error:
        raise EngineError(f"CuPy cannot be imported ({error}).", remedy="Install cupy-cuda13x.") from error
    cuda, number = cupy.cuda.runtime, device.partition(":")[2] or "0"
    if not number.isdecimal():
        raise EngineError(f"There is no CUDA device {number!r}.", remedy="Devices are cuda, cuda:0, cuda:1, ...")
    index = int(number)
    try:
        driver = cuda.driverGetVersion()
        if driver == 0:
            raise EngineError("There is no CUDA driver.", remedy="Install NVIDIA's driver, or work on the CPU.")
        count = cuda.getDeviceCount()
        if index >= count:
            raise EngineError(f"There is no CUDA device {index}; CuPy sees {count}.", remedy="Name another --device.")
        facts = cuda.getDeviceProperties(index)
    except cuda.CUDARuntimeError as error:
        raise EngineError(f"There is no CUDA device that CuPy can use ({error}).", remedy="See nvidia-smi.") from error
    return Gpu(index, facts["name"].decode(), (facts["major"], facts["minor"]), driver)


class Stream(Protocol):
    """A CUDA stream; `ptr` is its handle."""

    @property
    def ptr(self) -> int: ...

    def synchronize(self) -> None: ...


class Device(Protocol):
    """What an engine needs of a GPU. Arrays are the device's own kind, C-contiguous."""

    def active(self) -> AbstractContextManager[Any]:
        """Makes this the calling thread's current GPU."""
        ...

    def stream(self) -> Stream: ...

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any: ...

    def address(self, array: Any) -> int: ...

    def upload(self, source: NDArray[Any], target: Any, stream: Stream) -> None: ...

    def download(self, source: Any, stream: Stream) -> NDArray[Any]:
        """A new array, filled once all that the stream holds is done."""
        ...

    def capture(self, enqueue: Enqueue, stream: Stream) -> Callable[[], None]:
        """A CUDA graph of what `enqueue` does; the returned function launches it on the stream."""
        ...


class CupyDevice:
    """The real one."""

    def __init__(self, gpu: Gpu) -> None:
        import cupy

        self._cupy, self._index = cupy, gpu.index

    def active(self) -> AbstractContextManager[Any]:
        return self._cupy.cuda.Device(self._index)

    def stream(self) -> Any:
        with self.active():
            return self._cupy.cuda.Stream(non_blocking=True)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        with self.active():
            return self._cupy.empty(shape, dtype)

    def address(self, array: Any) -> int:
        return array.data.ptr

    def upload(self, source: NDArray[Any], target: Any, stream: Any) -> None:
        target.set(np.ascontiguousarray(source), stream=stream)

    def download(self, source: Any, stream: Any) -> NDArray[Any]:
        return source.get(stream=stream)

    def capture(self, enqueue: Enqueue, stream: Any) -> Callable[[], None]:
        with self.active(), stream:
            stream.begin_capture()
            try:
                enqueue(stream.ptr)
            finally:
                graph = stream.end_capture()
        return lambda: graph.launch(stream=stream)
