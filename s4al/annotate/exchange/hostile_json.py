"""JSON from elsewhere: bounded, and every value is asked for by its type."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from s4al.annotate.exchange.contract import Unusable
from s4al.annotate.exchange.source import Source

MAX_BYTES = 2**30
_WORDS = {int: "whole number", str: "text", list: "list", dict: "object"}


_Value = TypeVar("_Value", dict[str, Any], list[Any])


def read_json(source: Source, name: str, kind: type[_Value] = dict, max_bytes: int = MAX_BYTES) -> _Value:
    """The object, or list, that a file holds. Raises Unusable."""
    try:
        value = json.loads(source.read(name, max_bytes))
    except (ValueError, RecursionError) as error:
        raise Unusable(f"it is no JSON, or it is cut off ({error})") from error
    if not isinstance(value, kind):
        raise Unusable(f"it holds a {type(value).__name__} where a {_WORDS[kind]} is expected")
    return value


def get(entry: Any, key: str, kind: type, of: str) -> Any:
    """A value of an object, of the type it has to have. Raises Unusable.

    Parameters
    ----------
    of : what messages call the object, such as "an annotation".
    """
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) is not kind:
        raise Unusable(f"{of} has no {key!r} that is a {_WORDS[kind]}")
    return value
