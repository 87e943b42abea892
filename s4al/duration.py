"""Lengths of time as people say them: one wording for tables, progress, estimates and logs."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """`seconds` in words: "0.4 s", "50 s", "1 min 22 s", "12 min", "3 h 5 min"; no finer than a glance can use."""
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "0 s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return _two(minutes, "min", rest, "s")
    hours, minutes = divmod(round(seconds / 60), 60)
    return _two(hours, "h", minutes, "min") if hours else f"{minutes} min"


def _two(large: int, its: str, small: int, unit: str) -> str:
    return f"{large} {its} {small} {unit}" if small else f"{large} {its}"
