"""How figures and foreign names are written for people, on the terminal and on the page alike."""

from __future__ import annotations

import unicodedata

# Cc control, Cf format (among them the marks that turn text right to left), Cs lone surrogates (undecodable names),
# Zl and Zp line ends.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def visible(text: object) -> str:
    r"""The text with every character that a terminal would act on, or could not print, written as an escape (\x1b)."""
    text = str(text)
    if text.isprintable():  # most are, and a page has a million characters
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _HIDDEN else char for char in text
    )


def counted(number: int, noun: str, nouns: str = "") -> str:
    """1 region, 1,824 regions; `nouns` where the plural has no s."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def percent(fraction: float | None) -> str:
    """12.9 %; nothing where it is not known."""
    return "" if fraction is None or fraction != fraction else f"{100 * fraction:.1f} %"


def duration(seconds: float | None) -> str:
    """`seconds` in words: "0.4 s", "50 s", "1 min 22 s", "12 min", "3 h 5 min"; no finer than a glance can use.
    Nothing where it is not known."""
    if seconds is None:
        return ""
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
