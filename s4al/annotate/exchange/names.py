"""Class names that a format cannot hold, found before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from s4al.errors import DataError


def check_names(names: Sequence[str], file: str, *, signs: str = "", first: str = "") -> None:
    """Raises DataError for names with line breaks or other characters that cannot be printed, or white space around.

    Parameters
    ----------
    file : that would hold them, for messages.
    signs, first : characters that may not occur, and that a name may not begin with.
    """
    rules = "has no white space around it and only characters that can be printed"
    rules += f", none of {signs}" if signs else ""
    rules += f", and does not begin with {first}" if first else ""
    for name in names:
        begins_wrong = bool(name) and name[0] in first
        if begins_wrong or not name.isprintable() or name != name.strip() or any(sign in name for sign in signs):
            raise DataError(
                f"The class name {name!r} cannot be written to {file}, where a name {rules}.",
                kept="Nothing was exported.",
                remedy="Use another format, such as --format png.",
            )
