"""One thread that fills buffers with the images of the next batches while others are being scored."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

# Fills out_NHWC with images first .. first + len(out) - 1.
Read = Callable[[int, NDArray[np.uint8]], None]


@dataclass(frozen=True)
class Span:
    """Images first .. first + count - 1, scored in one batch."""

    first: int
    count: int


def spans(start: int, stop: int, batch_size: int) -> list[Span]:
    return [Span(first, min(batch_size, stop - first)) for first in range(start, stop, batch_size)]


class ReadAhead:
    """Hands out filled buffers in the order of the spans, and takes them back.

    Reading waits while every buffer is in use, so what is in memory does not depend on how many images there are. To be
    used in a `with` block, whose end stops the thread at once.

    Parameters
    ----------
    read : called in the thread; what it raises comes out of `next`.
    batches : spans of at most as many images as a buffer holds.
    buffers : uint8 (N, H, W, 3); what a span leaves of its buffer is filled with zeros.
    """

    def __init__(self, read: Read, batches: Iterable[Span], buffers: Sequence[NDArray[np.uint8]]) -> None:
        self._read, self._batches, self._buffers = read, batches, buffers
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[tuple[Span, int] | BaseException | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        for index in range(len(buffers)):
            self._free.put(index)
        self._thread = threading.Thread(target=self._work, name="s4al-read", daemon=True)

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._free.put(0)  # wakes a thread that waits for a buffer
        self._thread.join()

    def next(self) -> tuple[Span, int] | None:
        """The next span and the index of the buffer that holds it; None, and only once, behind the last."""
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def release(self, buffer: int) -> None:
        """The buffer may be filled again."""
        self._free.put(buffer)

    def _work(self) -> None:
        try:
            for span in self._batches:
                index = self._free.get()
                if self._stopped.is_set():
                    return
                buffer_NHWC = self._buffers[index]
                self._read(span.first, buffer_NHWC[: span.count])
                buffer_NHWC[span.count :] = 0
                self._ready.put((span, index))
        except BaseException as error:  # noqa: BLE001 handed over and raised where it can be dealt with
            self._ready.put(error)
        else:
            self._ready.put(None)
