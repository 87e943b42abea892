"""Images of a folder, decoded ahead of the network by worker processes.

A decoder that dies takes a worker with it, not the run: the image is tried once more, with nothing else under way, and
set aside when it kills that worker, too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import numpy as np
from numpy.typing import NDArray

_MAX_WORKERS = 16  # each may hold one picture of max_megapixels
_AHEAD_PER_WORKER = 4  # images; decoding waits when as many are done and not fetched


@dataclass(frozen=True)
class Decoded:
    """An image at the network's size, or the reason why there is none.

    Attributes
    ----------
    pixels_HWC : uint8; None where `reason` says why.
    size : height and width of the original.
    preview_HWC : uint8, of a size for people to look at, where one was asked for.
    """

    pixels_HWC: NDArray[np.uint8] | None
    size: tuple[int, int] = (0, 0)
    reason: str = ""
    preview_HWC: NDArray[np.uint8] | None = None


# Must be importable by name, and picklable with its settings (functools.partial is).
Decode = Callable[[str], Decoded]


class DecodePool:
    """Decodes `names` in order, a bounded number ahead of what has been fetched. For one thread; a context manager.

    Parameters
    ----------
    decode : called in other processes; returns what cannot be used as a `Decoded` with a reason.
    """

    def __init__(self, decode: Decode, names: list[str]) -> None:
        self._decode, self._names = decode, names
        self._workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2, _MAX_WORKERS)
        self._pool = self._start()
        self._pending: dict[int, Future[Decoded]] = {}
        self._suspects: set[int] = set()  # were under way when a worker died
        self._next = 0

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def fetch(self, index: int) -> Decoded:
        """The image of `names[index]`; indices ascend from call to call."""
        while True:
            if index in self._suspects:
                return self._alone(index)
            try:
                if not self._suspects:
                    self._submit_up_to(index + self._workers * _AHEAD_PER_WORKER)
                return self._pending.pop(index).result()
            except BrokenProcessPool:
                self._suspects |= {index, *self._pending}
                self._next = max(self._next, index + 1)
                self._restart()

    def _submit_up_to(self, stop: int) -> None:
        for index in range(self._next, min(stop, len(self._names))):
            self._pending[index] = self._pool.submit(self._decode, self._names[index])
            self._next = index + 1

    def _alone(self, index: int) -> Decoded:
        self._suspects.discard(index)
        try:
            return self._pool.submit(self._decode, self._names[index]).result()
        except BrokenProcessPool:
            self._restart()
            return Decoded(None, reason=f"{self._names[index]}: the process that decoded it died, twice")

    def _restart(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._pending.clear()
        self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        # Not forked: this process has threads of engines, whose locks a child would inherit in any state.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, mp_context=context, initializer=_set_up_worker)


def _set_up_worker() -> None:
    """Ctrl-C is the parent's business, and a parent that was killed takes its workers along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
