"""What a long-running stage tells the outside, and how the outside asks it to stop.

Stages get a `Watch` and know nothing of terminals or signals; the command line passes one that draws progress bars and
turns SIGINT and SIGTERM into a stop request. The base class is silent, for tests and library use.
"""

from __future__ import annotations

import signal


class Interrupted(BaseException):
    """A stop was requested and the work done so far is committed. Exit code 130 (SIGINT) or 143 (SIGTERM).

    A BaseException, like KeyboardInterrupt: no `except S4alError` on the way may take it for a failure.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum


class Watch:
    """Silent observer; subclasses show something."""

    def __init__(self) -> None:
        self._signum = 0

    def request_stop(self, signum: int = signal.SIGINT) -> None:
        self._signum = signum

    @property
    def stop_requested(self) -> bool:
        return self._signum != 0

    def stop_here(self) -> None:
        """Raise `Interrupted` if a stop was requested. Called where nothing that was paid for would be lost."""
        if self._signum:
            raise Interrupted(self._signum)

    def progress(self, task: str, done: int, total: int, **fields: float) -> None:
        """`done` of `total` units of `task`; `fields` are figures to show beside the bar (loss, images_per_s)."""

    def step(self, task: str, done: int, total: int) -> None:
        """As `progress`, for work that may be stopped after every unit of it. Raises Interrupted."""
        self.progress(task, done, total)
        self.stop_here()

    def note(self, line: str) -> None:
        """One line a person should see: a fallback that was taken, something recovered, something set aside."""
