"""Progress of long stages on stderr: bars on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from s4al.text import duration, visible
from s4al.watch import Watch

_PLAIN_EVERY_S = 10.0
_WIDE = 100  # columns of a terminal on which there is room for more
_NAMES = {"miou": "mIoU"}


class RichWatch(Watch):
    """Shows what stages report. Use as a context manager: it gives the terminal back at the end."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console(stderr=True, highlight=False)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._plain: dict[str, _PlainTask] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            wide = self._console.width >= _WIDE
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24 if wide else 12),
                MofNCompleteColumn(),
                _Clock(with_elapsed=wide),
                TextColumn("[dim]{task.fields[figures]}"),
            )
            self._bars = Progress(*columns, console=self._console, redirect_stdout=False, refresh_per_second=5)
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def progress(self, task: str, done: int, total: int, **fields: float) -> None:
        if self._bars is None:
            self._progress_line(task, done, total, fields)
        else:
            self._progress_bar(self._bars, task, done, total, fields)

    def note(self, line: str) -> None:
        self._console.print(Text(visible(line)), soft_wrap=not self._console.is_terminal)

    def _progress_bar(self, bars: Progress, task: str, done: int, total: int, fields: dict[str, float]) -> None:
        if task not in self._tasks:  # begun at `done`, so that the work of an earlier attempt does not count as speed
            self._tasks[task] = bars.add_task(visible(task), total=total, completed=done, figures="")
        bars.update(self._tasks[task], completed=done, total=total, figures=_figures(fields))
        if done >= total:  # a finished bar becomes a line, else the bars of a long run would fill the screen
            row = next(row for row in bars.tasks if row.id == self._tasks[task])
            bars.remove_task(self._tasks.pop(task))
            self._console.print(Text(_finished(visible(task), total, row.finished_time or row.elapsed or 0.0, fields)))

    def _progress_line(self, task: str, done: int, total: int, fields: dict[str, float]) -> None:
        state = self._plain.setdefault(task, _PlainTask(done))
        elapsed_s = time.monotonic() - state.started
        if done >= total:
            del self._plain[task]
            self.note(_finished(task, total, elapsed_s, fields))
        elif time.monotonic() - state.shown >= _PLAIN_EVERY_S:
            state.shown = time.monotonic()
            left_s = elapsed_s / (done - state.begun_at) * (total - done) if done > state.begun_at else None
            left = f", about {duration(left_s)} left" if left_s is not None else ""
            figures = f", {_figures(fields)}" if fields else ""
            self.note(f"{task}: {done:,} of {total:,}{figures}, {duration(elapsed_s)} gone{left}")


class _PlainTask:
    def __init__(self, begun_at: int) -> None:
        self.begun_at = begun_at
        self.started = self.shown = time.monotonic()


class _Clock(ProgressColumn):
    """Time left, on a wide terminal after the time gone."""

    def __init__(self, *, with_elapsed: bool) -> None:
        super().__init__()
        self._with_elapsed = with_elapsed

    def render(self, task: Task) -> Text:
        gone = [duration(task.elapsed or 0.0)] if self._with_elapsed else []
        left = [f"{duration(task.time_remaining)} left"] if task.time_remaining is not None else []
        return Text(", ".join(gone + left), style="cyan")


def _finished(task: str, total: int, elapsed_s: float, fields: dict[str, float]) -> str:
    figures = f", {_figures(fields)}" if fields else ""
    return f"{task}: {total:,} done in {duration(elapsed_s)}{figures}"


def _figures(fields: dict[str, float]) -> str:
    return ", ".join(_figure(name, value) for name, value in fields.items())


def _figure(name: str, value: float) -> str:
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if name.endswith("_per_s"):
        return f"{number} {name.removesuffix('_per_s').replace('images', 'img').replace('_', ' ')}/s"
    return f"{_NAMES.get(name, name.replace('_', ' '))} {number}"
