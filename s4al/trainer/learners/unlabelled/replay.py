"""The replay buffer of S4AL: images the learner saw before and is shown again, mixed with new ones.

What it holds is a pure function of the step, so nothing is stored: a training that goes on from a checkpoint counts
through the draws of the steps before, a few microseconds each.
"""

from __future__ import annotations

from collections.abc import Sequence

from s4al.trainer.draw import Key, Stream, draw_rows


class Replay:
    """After every step the unlabelled images of its batch go in; it is shuffled and cut to its size (published code).

    Parameters
    ----------
    parts : of the batches; the last one is the unlabelled one.
    seed, cycle : of the training.
    size : images it holds at most; a row may be in it more than once.
    fill_from, draw_from : steps from which images go in, and come out.
    """

    def __init__(
        self, parts: Sequence[Sequence[Stream]], *, seed: int, cycle: int, size: int, fill_from: int, draw_from: int
    ) -> None:
        self._parts, self._seed, self._cycle, self._size = parts, seed, cycle, size
        self._fill_from, self._draw_from = fill_from, max(draw_from, fill_from)
        self._images = sum(stream.images for stream in parts[-1])
        self._restart()

    def draw(self, step: int) -> list[int]:
        """The rows a step takes out: as many as it has unlabelled images, or none while there are fewer."""
        if step < self._next:
            self._restart()
        drawn: list[int] = []
        while self._next <= step:
            drawn = self._advance(self._next)
            self._next += 1
        return drawn

    def _restart(self) -> None:
        self._next = self._fill_from
        self._buffer: list[int] = []

    def _advance(self, step: int) -> list[int]:
        drawn: list[int] = []
        if step >= self._draw_from and len(self._buffer) >= self._images:
            drawn = [self._buffer.pop() for _ in range(self._images)]
        key = Key(self._seed, self._cycle, step)
        self._buffer += [slot.row for slot in draw_rows(self._parts, key)[-1]]
        key.replay().shuffle(self._buffer)
        del self._buffer[self._size :]
        return drawn
