"""Ctrl-C and SIGTERM: the first asks the stage to stop where nothing is lost, the second stops at once.

Python runs a handler when the main thread comes back to Python, and one backward pass, or one batch of an engine, is
a single call that lasts seconds. So a thread listens, too: the system's handler writes every signal into a pipe
(`signal.set_wakeup_fd`), and such calls let other threads run.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from s4al.watch import Interrupted, Watch

GRACE_S = 1.0  # between the second signal and the end of the process, for whoever tidies up on the way out
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LINE = "Stopping after the current step; press Ctrl-C again to stop at once."


@contextlib.contextmanager
def stopping(watch: Watch, last_words: Callable[[int], None]) -> Iterator[None]:
    """While the block runs, the first SIGINT or SIGTERM calls `watch.request_stop` and is acknowledged at once.

    The second raises `Interrupted` wherever the main thread is. Where it does not leave the block within `GRACE_S`,
    because it is in a long call, the process is ended from outside; the third signal does that at once. All of it is
    as safe as a power cut is, because folders are committed by one rename.

    Parameters
    ----------
    last_words : called with the exit code before the process is ended so, by another thread than the one that may
        hold any lock; it has to get on without them.
    """
    with _Listener(watch, last_words) as listener:
        handled = 0

        def handle(signum: int, frame: FrameType | None) -> None:
            nonlocal handled
            handled += 1
            watch.request_stop(signum)
            if max(handled, listener.received) > 1 and not listener.over.is_set():  # several may arrive as one
                raise Interrupted(signum)

        before = {each: signal.signal(each, handle) for each in _SIGNALS}
        try:
            yield
        finally:
            listener.over.set()
            for each, handler in before.items():
                signal.signal(each, handler)


class _Listener:
    """The thread that hears of signals while the main thread does not.

    Attributes
    ----------
    received : how many signals.
    over : set when nothing is to be ended any more.
    """

    def __init__(self, watch: Watch, last_words: Callable[[int], None]) -> None:
        self._watch, self._last_words = watch, last_words
        self.received, self.over = 0, threading.Event()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._thread = threading.Thread(target=self._listen, name="s4al-signals", daemon=True)

    def __enter__(self) -> _Listener:
        self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._before)
        os.close(self._writing)  # the thread reads what is left, and then the end
        self._thread.join()
        os.close(self._reading)

    def _listen(self) -> None:
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        last, deadline = 0, None
        while True:
            ready = poll.poll(None if deadline is None else max(0.0, 1000 * (deadline - time.monotonic())))
            if not ready:
                self._end(last)
                return
            data = os.read(self._reading, 64)
            if not data:
                return
            for last in (byte for byte in data if byte in _SIGNALS):
                self.received += 1
                if self.received == 1:
                    self._acknowledge(last)
                elif self.received == 2:
                    deadline = time.monotonic() + GRACE_S
                else:
                    self._end(last)

    def _acknowledge(self, signum: int) -> None:
        self._watch.request_stop(signum)
        with contextlib.suppress(OSError):  # nobody reads it
            self._watch.note(_LINE)

    def _end(self, signum: int) -> None:
        if not self.over.is_set():
            with contextlib.suppress(OSError):
                self._last_words(128 + signum)
            os._exit(128 + signum)


def _deafen() -> None:
    """A forked child would write the signals that it gets itself into its parent's pipe."""
    signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_deafen)
