"""Small files that carry the digest of what they say, so that a flipped bit or a lost line never changes a result.

It guards against damage, not against people: whoever means to change such a file can compute its digest too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY = "digest"
_COMMENT = "# sha256 of all below: "


class Damaged(ValueError):
    """The content is not what the digest was taken of, or cannot be read at all; the text says which."""


def json_bytes(value: Any) -> bytes:
    """Indented, key-sorted JSON: the same value gives the same bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def seal_json(value: Mapping[str, Any]) -> bytes:
    """`json_bytes` with the sha256 of those bytes as one more key, `KEY`."""
    assert KEY not in value, f"{KEY} is taken"
    return json_bytes({**value, KEY: hashlib.sha256(json_bytes(value)).hexdigest()})


def open_json(data: bytes) -> dict[str, Any]:
    """What `seal_json` was given. Raises Damaged."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise Damaged("it is no JSON object")
    value.pop(KEY, None)
    if seal_json(value) != data:
        raise Damaged("its digest is another")
    return value


def seal_text(text: str) -> str:
    """The text below a comment line (`#`) with its sha256."""
    return f"{_COMMENT}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def check_text(text: str) -> None:
    """Raises Damaged where the text below the comment line is not what `seal_text` was given."""
    first, _, rest = text.partition("\n")
    if text != seal_text(rest):
        raise Damaged("its digest is another" if first.startswith(_COMMENT) else "the line with its digest is gone")
