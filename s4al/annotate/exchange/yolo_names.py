"""The class names of a YOLO data set, `names:` in its `data.yaml`: the few forms of YAML that tools write there.

A list, in brackets or a line each, or numbers with names; plain, in single or in double quotes. Anything else is
refused: a name that is guessed would be a wrong label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from s4al.annotate.exchange.contract import Unusable

_ENTRY = re.compile(r"(?:-|(\d{1,5})\s*:)\s+(.*)|(\d{1,5})\s*:\s*")
_SCALAR = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)'|([^,\[\]{}"'#&*!|>%@`][^,\[\]{}#]*))\s*""")
_CLOSING = {"[": ("]", re.compile(r"\s*\]")), "{": ("}", re.compile(r"\s*\}"))}
_KEY = re.compile(r"\s*(\d{1,5})\s*:")


def write_names(names: Iterable[str]) -> str:
    """The part of `data.yaml` that names the classes; JSON's strings are YAML's double-quoted ones."""
    return "names:\n" + "".join(f"  {id}: {json.dumps(name, ensure_ascii=False)}\n" for id, name in enumerate(names))


def read_names(text: str) -> dict[int, str]:
    """Class number -> name. Raises Unusable where there are none, or in a form that is not known."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if re.match(r"names\s*:", line)), None)
    if start is None:
        raise Unusable("it has no names")
    rest = lines[start].partition(":")[2].strip()
    if rest and not rest.startswith("#"):
        return _flow("\n".join([rest, *lines[start + 1 :]]))
    names: dict[int, str] = {}
    for line in lines[start + 1 :]:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _ENTRY.fullmatch(line.strip())
        if not line.startswith((" ", "-")) or found is None:
            if line.startswith(" "):
                raise Unusable(f"its line {line.strip()[:60]!r} is no class name")
            break
        number = int(found[1]) if found[1] else len(names)
        names[number] = _scalar(found[2] or "", line)
    return _checked(names)


def _flow(text: str) -> dict[int, str]:
    """[a, 'b', "c"] or {0: a, 1: b}, over one line or more."""
    opening, position, names = text[0], 1, {}
    if opening not in _CLOSING:
        raise Unusable(f"its names are {text[:40]!r}, which is no list")
    closing, end = _CLOSING[opening]
    while not end.match(text, position):
        number = len(names)
        if opening == "{":
            key = _KEY.match(text, position)
            if key is None:
                raise Unusable("its names have no numbers")
            number, position = int(key[1]), key.end()
        found = _SCALAR.match(text, position)
        if found is None or text[found.end() : found.end() + 1] not in (",", closing):
            raise Unusable(f"its names are cut off or not known at {text[position : position + 40]!r}")
        names[number] = _value(found)
        position = found.end() + (text[found.end()] == ",")
    return _checked(names)


def _scalar(text: str, line: str) -> str:
    found = _SCALAR.match(text)
    if found is None or (text[found.end() :] and not text[found.end() :].startswith("#")):
        raise Unusable(f"its line {line.strip()[:60]!r} is no class name")
    return _value(found)


def _value(found: re.Match[str]) -> str:
    double, single, plain = found.groups()
    if double is not None:
        try:
            return json.loads(f'"{double}"')
        except ValueError as error:
            raise Unusable(f'its name "{double[:40]}" is not known') from error
    return single.replace("''", "'") if single is not None else plain.strip()


def _checked(names: dict[int, str]) -> dict[int, str]:
    if not names:
        raise Unusable("it has no names")
    return names
