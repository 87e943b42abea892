"""What a person hands to `label import` is untrusted: folders, archives and single files, whole or hostile."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from s4al.annotate.exchange import source as source_module
from s4al.annotate.exchange.contract import Unusable
from s4al.annotate.exchange.source import Source
from s4al.errors import DataError


def _zip(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return path


def _file_tree(root: Path, **files: bytes) -> Path:
    for name, data in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.mark.parametrize("make", [_zip, _file_tree], ids=["zip", "folder"])
def test_files_have_the_same_names_and_bytes_however_they_are_packed(make, tmp_path: Path) -> None:
    path = make(tmp_path / "labels", a__one__png=b"1", **{"b__TWO.PNG": b"22"})
    with Source(path) as source:
        assert source.names() == ["a/one/png", "b/TWO.PNG"]
        assert source.names(".png") == ["b/TWO.PNG"]
        assert source.names(under="a") == ["a/one/png"]
        assert source.read("b/TWO.PNG") == b"22"
        assert source.size("b/TWO.PNG") == 2
        assert source.head("b/TWO.PNG", 1) == b"2"
        assert "a/one/png" in source


def test_a_single_file_is_a_source_of_one(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_bytes(b"[]")
    with Source(tmp_path / "export.json") as source:
        assert source.names() == ["export.json"]
        assert source.read("export.json") == b"[]"


def test_a_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    folder = _file_tree(tmp_path / "labels", **{"a.png": b"1"})
    (folder / "b.png").symlink_to(tmp_path / "secret.png")
    with Source(folder) as source:
        assert source.names() == ["a.png"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.png", "a/../../outside.png", "..\\outside.png"])
def test_an_archive_with_a_name_that_leaves_it_is_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, b"1")
    with pytest.raises(DataError, match="leaves the archive"):
        Source(tmp_path / "bad.zip")


def test_an_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(entry, b"/etc/passwd")
    with pytest.raises(DataError, match=r"'link\.png', a link"):
        Source(tmp_path / "bad.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    with pytest.raises(DataError, match="twice"):
        Source(tmp_path / "bad.zip")


@pytest.mark.parametrize("left", [0.3, 0.6, 0.99])
def test_a_half_written_archive_is_refused(left: float, tmp_path: Path) -> None:
    data = _zip(tmp_path / "whole.zip", **{f"{i}.png": bytes(range(256)) * 4 for i in range(9)}).read_bytes()
    path = tmp_path / "half.zip"
    path.write_bytes(data[: int(left * len(data))])
    with pytest.raises(DataError, match="not a whole zip archive") as caught:
        Source(path)
    assert caught.value.kept == "Nothing was imported."


def test_a_file_damaged_in_the_archive_is_named(tmp_path: Path) -> None:
    path = _zip(tmp_path / "labels.zip", **{"a.png": bytes(range(200))})
    data = bytearray(path.read_bytes())
    data[60] ^= 255
    path.write_bytes(data)
    with Source(path) as source, pytest.raises(Unusable, match=r"a\.png is damaged"):
        source.read("a.png")


def test_an_encrypted_archive_is_refused_when_read(tmp_path: Path) -> None:
    path = _zip(tmp_path / "labels.zip", **{"a.png": b"1"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with Source(path) as source, pytest.raises(Unusable, match="damaged"):
        source.read("a.png")


def test_a_bomb_is_refused_by_what_it_claims(tmp_path: Path) -> None:
    path = _zip(tmp_path / "bomb.zip", **{"a.png": b"\0" * 10})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (10**9).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DataError, match="zip bomb"):
        Source(path)


def test_no_more_is_unpacked_than_the_limit(tmp_path: Path) -> None:
    path = _zip(tmp_path / "big.zip", **{"a.png": b"\0" * 10_000})
    with Source(path) as source, pytest.raises(Unusable, match=r"10,000 bytes \(limit 9,999\)"):
        source.read("a.png", 9_999)


def test_limits_on_files_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file_tree(tmp_path / "labels", **{"a.png": b"12", "b.png": b"34"})
    monkeypatch.setattr(source_module, "MAX_FILES", 1)
    with pytest.raises(DataError, match="2 files"):
        Source(path)
    monkeypatch.setattr(source_module, "MAX_FILES", 2)
    monkeypatch.setattr(source_module, "MAX_TOTAL_BYTES", 3)
    with pytest.raises(DataError, match="4 bytes"):
        Source(path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        Source(tmp_path / "no.zip")
