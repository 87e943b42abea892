"""XML from elsewhere, read as a stream of elements, never as a tree: no document type, so no entities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from xml.parsers import expat

from s4al.annotate.exchange.contract import Unusable

_MAX_DEPTH = 32
_CHUNK = 2**20

Begin = Callable[[str, Mapping[str, str]], None]  # of an element: its name and attributes
End = Callable[[str, str], None]  # of an element: its name, and the text in it, without that of the elements in it


def read_xml(data: bytes, begin: Begin, end: End) -> None:
    """Call `begin` and `end` for every element of a document, in its order.

    Raises Unusable where it is no XML, has a document type or is nested too deep, and what `begin` and `end` raise.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    texts: list[list[str]] = []

    def refuse_doctype(*_: object) -> None:
        raise Unusable("it has a document type (DOCTYPE), which no annotation tool writes")

    def start_element(name: str, attributes: dict[str, str]) -> None:
        if len(texts) == _MAX_DEPTH:
            raise Unusable(f"its elements are nested more than {_MAX_DEPTH} deep")
        texts.append([])
        begin(name, attributes)

    def end_element(name: str) -> None:
        end(name, "".join(texts.pop()).strip())

    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = start_element
    parser.EndElementHandler = end_element
    parser.CharacterDataHandler = lambda text: texts[-1].append(text)
    try:
        for start in range(0, len(data), _CHUNK):
            parser.Parse(data[start : start + _CHUNK], False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Unusable(f"it is no XML, or it is cut off ({error})") from error
