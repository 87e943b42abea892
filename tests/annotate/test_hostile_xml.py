"""XML from elsewhere: what is read, and what is refused before anything is made of it."""

from __future__ import annotations

import pytest

from s4al.annotate.exchange.contract import Unusable
from s4al.annotate.exchange.hostile_xml import read_xml


def _events(data: bytes) -> list[tuple[str, object]]:
    events: list[tuple[str, object]] = []
    read_xml(
        data, lambda name, given: events.append((name, dict(given))), lambda name, text: events.append((name, text))
    )
    return events


def test_elements_attributes_and_texts() -> None:
    assert _events('<a b="&lt;&quot;é"><c> 1&amp;2 </c>\n<d/></a>'.encode()) == [
        ("a", {"b": '<"é'}),
        ("c", {}),
        ("c", "1&2"),
        ("d", {}),
        ("d", ""),
        ("a", ""),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>', "DOCTYPE"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "DOCTYPE"),
        ('<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a><a/>'.encode("utf-16"), "DOCTYPE"),
        (b"<a><b></a>", "cut off"),
        (b"<a><b>", "cut off"),
        (b"", "cut off"),
        (b"PK\x03\x04", "no XML"),
        (b"<a>&b;</a>", "no XML"),
        (b"<a>" * 40, "nested"),
        (b"<a>\xff\xfe</a>", "no XML"),
    ],
)
def test_what_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        _events(data)
