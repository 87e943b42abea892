"""Lengths of time in words."""

from __future__ import annotations

import pytest

from s4al.text import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (0.36, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (82.4, "1 min 22 s"),
        (599.6, "10 min"),
        (600, "10 min"),
        (725, "12 min"),
        (3599, "1 h"),
        (3 * 3600 + 5 * 60 + 10, "3 h 5 min"),
        (30 * 3600, "30 h"),
    ],
)
def test_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
