"""Seconds by stage, and the moments for a timeline."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Interval(NamedTuple):
    """`start_s` and `end_s` are of time.perf_counter."""

    stage: str
    thread: str
    start_s: float
    end_s: float


class Stopwatch:
    """Adds up the time spent in named stages.

    Attributes
    ----------
    seconds : stage -> seconds so far, over all threads.
    intervals : every stay in a stage, in the order of their ends; none without `timeline`, because a pool is long.
    """

    def __init__(self, *, timeline: bool = False) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.intervals: list[Interval] = []
        self._timeline = timeline

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            ended = time.perf_counter()
            self.seconds[name] += ended - started
            if self._timeline:
                self.intervals.append(Interval(name, threading.current_thread().name, started, ended))


def write_trace(path: Path, stopwatches: dict[str, Stopwatch]) -> None:
    """Write timelines as a Chrome trace, which ui.perfetto.dev opens: each stopwatch as a process of its name."""
    events: list[dict[str, object]] = []
    for process, (name, stopwatch) in enumerate(stopwatches.items(), start=1):
        events.append({"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": name}})
        threads = {interval.thread: None for interval in stopwatch.intervals}
        numbers = {thread: number for number, thread in enumerate(threads, start=1)}
        for thread, number in numbers.items():
            events.append({"ph": "M", "name": "thread_name", "pid": process, "tid": number, "args": {"name": thread}})
        for interval in stopwatch.intervals:
            events.append(
                {
                    "ph": "X",
                    "name": interval.stage,
                    "pid": process,
                    "tid": numbers[interval.thread],
                    "ts": 1e6 * interval.start_s,
                    "dur": 1e6 * (interval.end_s - interval.start_s),
                }
            )
    path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")
