"""A CUDA device without CUDA: what is put on a stream runs later, in any order that streams and events allow.

Only `synchronize` makes it work, one step at a time on a stream chosen at random. A pipeline that forgets to wait for
an event, or hands out a buffer too early, reads or overwrites the wrong numbers under some seed.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from s4al.kernels import region_scores
from s4al.scorer.engines.device import DeviceOutOfMemory, KernelOutput
from s4al.scorer.engines.model_card import ModelCard


@dataclass(eq=False)
class Event:
    recorded: int = 0  # how often it was put on a stream
    reached: int = 0  # how often the stream has come to it


@dataclass(eq=False)
class Stream:
    name: str
    todo: deque[Callable[[], bool]] = field(default_factory=deque)  # False: cannot go on yet


class LazyDevice:
    name, index = "lazy device", 0

    def __init__(self, seed: int, memory_bytes: int = 2**40) -> None:
        self.copy_in, self.compute, self.copy_out = Stream("copy_in"), Stream("compute"), Stream("copy_out")
        self.log: list[str] = []
        self._random = random.Random(seed)
        self._capturing: list[Callable[[], bool]] | None = None
        self._free_bytes = self._memory_bytes = memory_bytes

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        return np.zeros(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        self.log.append("zeros")
        array = np.zeros(shape, dtype)
        self._free_bytes -= array.nbytes
        if self._free_bytes < 0:
            raise DeviceOutOfMemory(f"{array.nbytes:,} bytes")
        return array

    def pointer(self, array: NDArray[Any]) -> int:
        return array.ctypes.data

    def stream_pointer(self, stream: Stream) -> int:
        return id(stream)

    def put(self, stream: Stream, what: str, work: Callable[[], object]) -> None:
        def step() -> bool:
            self.log.append(what)
            work()
            return True

        self._append(stream, step)

    def upload(self, target: NDArray[Any], source: NDArray[Any]) -> None:
        self.put(self.copy_in, "upload", lambda: np.copyto(target, source))

    def download(self, target: NDArray[Any], source: NDArray[Any]) -> None:
        self.put(self.copy_out, "download", lambda: np.copyto(target, source))

    def event(self) -> Event:
        return Event()

    def record(self, event: Event, stream: Stream) -> None:
        event.recorded += 1

        def step() -> bool:
            event.reached += 1
            return True

        self._append(stream, step)

    def wait(self, stream: Stream, event: Event) -> None:
        wanted = event.recorded
        self._append(stream, lambda: event.reached >= wanted)

    def synchronize(self, event: Event) -> None:
        self._run_until(lambda wanted=event.recorded: event.reached >= wanted)

    def synchronize_all(self) -> None:
        self._run_until(lambda: not any(stream.todo for stream in self._streams()))

    def free_unused(self) -> None:
        self._free_bytes = self._memory_bytes

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self._capturing = steps = []
        work()
        self._capturing = None
        self.log.append("captured")
        return lambda: self.compute.todo.extend(steps)

    def bind_kernel(
        self, logits_NChw: NDArray[Any], labelled_NHW: NDArray[np.uint8], card: ModelCard, **settings: Any
    ) -> tuple[KernelOutput, Callable[[], None]]:
        output, kernel = kernel_on_arrays(self.zeros, logits_NChw, labelled_NHW, card, **settings)
        return output, lambda: self.put(self.compute, "kernel", kernel)

    def seconds_to_copy(self, num_bytes: int) -> float:
        return num_bytes / 1e9

    def seconds_to_multiply(self, side: int) -> float:
        return side**3 / 1e12

    def _append(self, stream: Stream, step: Callable[[], bool]) -> None:
        if self._capturing is not None:
            assert stream is self.compute, "only the compute stream is captured"
            self._capturing.append(step)
        else:
            stream.todo.append(step)

    def _streams(self) -> tuple[Stream, Stream, Stream]:
        return self.copy_in, self.compute, self.copy_out

    def _run_until(self, done: Callable[[], bool]) -> None:
        while not done():
            blocked = []
            for stream in self._random.sample(self._streams(), 3):
                if stream.todo and stream.todo[0]():
                    stream.todo.popleft()
                    break
                blocked.append(stream)
            else:
                raise AssertionError(f"deadlock: {[(each.name, len(each.todo)) for each in blocked]}")


def kernel_on_arrays(
    zeros: Callable[[tuple[int, ...], DTypeLike], NDArray[Any]],
    logits_NChw: NDArray[Any],
    labelled_NHW: NDArray[np.uint8],
    card: ModelCard,
    *,
    labelled_pixels: str,
    pooling: str,
    confidence_threshold: float,
) -> tuple[KernelOutput, Callable[[], None]]:
    """`Device.bind_kernel` on the CPU; the kernel runs when it is called."""
    grid, num_classes = card.grid, len(card.class_names)
    size = len(logits_NChw)
    output = KernelOutput(
        zeros((4, size, grid.num_regions), np.float32),
        zeros((size, card.height, card.width), np.uint8),
        zeros((size, grid.num_regions, num_classes), np.uint32),
    )

    def scored(threshold: float) -> Any:
        return region_scores(
            logits_NChw,
            **card.geometry,
            labelled_NHW=labelled_NHW,
            labelled_pixels=labelled_pixels,
            pooling=pooling,
            confidence_threshold=threshold,
            threads=1,
        )

    def kernel() -> None:
        scores = scored(confidence_threshold)
        output.scores_4NR[:] = scores[:4]
        output.label_NHW[:] = scores.label_NHW
        every_label_NHW = scored(0.0).label_NHW
        for region, (y0, x0, y1, x1) in enumerate(grid.network_boxes()):
            cell = every_label_NHW[:, y0:y1, x0:x1].reshape(size, -1)
            output.histogram_NRC[:, region] = [np.bincount(each, minlength=256)[:num_classes] for each in cell]

    return output, kernel
