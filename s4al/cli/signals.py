"""Ctrl-C and SIGTERM: the first asks the stage to stop where nothing is lost, the second stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from s4al.watch import Interrupted, Watch

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LINE = b"\nStopping after the current step; press Ctrl-C again to stop at once.\n"


@contextlib.contextmanager
def stopping(watch: Watch, *, quiet: bool = False) -> Iterator[None]:
    """While the block runs, the first SIGINT or SIGTERM calls `watch.request_stop`.

    The second raises `Interrupted` wherever the program is, and a third kills the process: both are as safe as a power
    cut is, because folders are committed by one rename.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        if watch.stop_requested:
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            raise Interrupted(signum)
        watch.request_stop(signum)
        if not quiet:
            with contextlib.suppress(OSError):  # not print: the signal may have come in the middle of one
                os.write(2, _LINE)

    before = {each: signal.signal(each, handle) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
