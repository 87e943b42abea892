"""What an engine on a device is: it puts its network on the device's stream, and the host does not wait."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s4al.scorer.engines.device import Device
from s4al.scorer.engines.model_card import ModelCard

TIMED_CALLS = 10
_WARM_UPS = 2  # engines allocate at their first calls, which a capture must not contain


class DeviceEngine(ABC):
    """A network on a device; an `Engine` that the pipeline can run without the host.

    Attributes
    ----------
    batch_size : may be lowered, or raised up to `largest_batch`, before anything is bound.
    logits_dtype : float16 or float32.
    capturable : whether what `bind` returns may be recorded in a CUDA graph.
    passed_over : why engines that would have been preferred are not used.
    """

    name: str
    provider: str
    batch_size: int
    largest_batch: int
    threads: int
    card: ModelCard
    device: Device
    logits_dtype: np.dtype[Any]
    capturable: bool
    passed_over: tuple[str, ...] = ()
    _one_batch: OneBatch | None = None

    @abstractmethod
    def bind(self, image_NHWC: Any, logits_NChw: Any) -> Callable[[], None]:
        """For these device arrays of `batch_size` images: what puts the network on the device's compute stream.

        The arrays are of `Device.zeros`. What is returned keeps them alive, and allocates nothing after `_WARM_UPS`
        calls. Raises DeviceOutOfMemory.
        """

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """As `Engine.run`, for checks: one batch at a time."""
        if self._one_batch is None:
            self._one_batch = OneBatch(self)
        return self._one_batch.run(image_NHWC)


class BoundNetwork(NamedTuple):
    """The network with device memory of its own for one batch."""

    image_NHWC: Any
    logits_NChw: Any
    enqueue: Callable[[], None]


def bind_network(engine: DeviceEngine) -> BoundNetwork:
    """Allocate for `engine.batch_size` images, and bind. Raises DeviceOutOfMemory."""
    device, card, size = engine.device, engine.card, engine.batch_size
    image_NHWC = device.zeros((size, card.height, card.width, 3), np.uint8)
    logits_NChw = device.zeros((size, len(card.class_names), *card.logits_size), engine.logits_dtype)
    return BoundNetwork(image_NHWC, logits_NChw, engine.bind(image_NHWC, logits_NChw))


class Passage:
    """The way of a batch over the three streams: in, computed, out."""

    def __init__(self, device: Device, launch: Callable[[], None]) -> None:
        self._device, self._launch = device, launch
        self._images_in, self._computed, self.results_out = device.event(), device.event(), device.event()

    def submit(self, uploads: Iterable[tuple[Any, Any]], downloads: Iterable[tuple[Any, Any]]) -> None:
        """Put all of it on the streams; pairs are (target, source). `results_out` tells when it is done."""
        device = self._device
        for target, source in uploads:
            device.upload(target, source)
        device.record(self._images_in, device.copy_in)
        device.wait(device.compute, self._images_in)
        self._launch()
        device.record(self._computed, device.compute)
        device.wait(device.copy_out, self._computed)
        for target, source in downloads:
            device.download(target, source)
        device.record(self.results_out, device.copy_out)


class OneBatch:
    """One batch at a time through an engine: what `DeviceEngine.run` needs. Raises DeviceOutOfMemory."""

    def __init__(self, engine: DeviceEngine) -> None:
        self._device, self._network = engine.device, bind_network(engine)
        self._passage = Passage(engine.device, ready(engine, self._network.enqueue))

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        image, logits, _ = self._network
        assert image_NHWC.shape == image.shape, (image_NHWC.shape, image.shape)
        logits_NChw = np.empty(logits.shape, logits.dtype)
        self._passage.submit([(image, np.ascontiguousarray(image_NHWC))], [(logits_NChw, logits)])
        self._device.synchronize_all()
        return logits_NChw


def ready(engine: DeviceEngine, work: Callable[[], None]) -> Callable[[], None]:
    """Warmed up, and captured where the engine allows it."""
    device = engine.device
    device.synchronize_all()  # memory was zeroed on another stream
    for _ in range(_WARM_UPS):
        work()
    device.synchronize_all()
    return device.capture(work) if engine.capturable else work


def seconds_per_call(device: Device, work: Callable[[], None]) -> float:
    """Of one call among many in a row, the first of which is not counted."""
    work()
    device.synchronize_all()
    started = time.perf_counter()
    for _ in range(TIMED_CALLS):
        work()
    device.synchronize_all()
    return (time.perf_counter() - started) / TIMED_CALLS
