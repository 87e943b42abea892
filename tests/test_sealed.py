"""Small files that carry their own digest: no change of a byte, and no lost line, goes unnoticed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s4al.sealed import Damaged, check_text, open_json, seal_json, seal_text

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
_SURROGATES = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(_SURROGATES.filter(lambda key: key != "digest"), st.integers() | _SURROGATES | st.booleans()))
def test_what_was_sealed_comes_back(value: dict[str, object]) -> None:
    assert open_json(seal_json(value)) == value


def test_every_flipped_bit_of_an_object_is_noticed() -> None:
    data = seal_json({"files": {"a.png": {"bytes": 3, "sha256": "0f"}}, "seed": 1, "name": "é"})
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(Damaged):
            open_json(bytes(changed))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[1]\n", "no JSON object"),
        (b'{\n "seed": 1\n}\n', "digest is another"),
        (json.dumps({"seed": 1, "digest": 5}).encode(), "digest is another"),
    ],
)
def test_what_was_never_sealed_is_damaged(data: bytes, says: str) -> None:
    with pytest.raises(Damaged, match=says):
        open_json(data)


@settings(max_examples=50)
@given(_VALUES)
def test_any_json_ends_in_a_value_or_in_damaged(value: object) -> None:
    with pytest.raises(Damaged):
        open_json(json.dumps(value).encode())


def test_a_text_with_a_changed_or_missing_line_is_damaged() -> None:
    text = "[run]\nseed = 3108\n\n[data]\nroot = 'ä'\n"
    sealed = seal_text(text)
    check_text(sealed)
    assert sealed.endswith(text)
    lines = sealed.splitlines(keepends=True)
    for gone in range(len(lines)):
        with pytest.raises(Damaged):
            check_text("".join(lines[:gone] + lines[gone + 1 :]))
    with pytest.raises(Damaged, match="digest is another"):
        check_text(sealed.replace("3108", "3109"))
    with pytest.raises(Damaged, match="digest is another"):
        check_text(sealed[: len(sealed) // 2])
    with pytest.raises(Damaged, match="line with its digest is gone"):
        check_text(text)
