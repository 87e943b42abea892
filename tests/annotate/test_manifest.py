"""Pictures of regions, their names, and the manifest that leads an answer back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from s4al.annotate.exchange.manifest import (
    Manifest,
    make_manifest,
    manifest_from_json,
    manifest_json,
    parse_name,
    recall,
    remember,
    remembered_file,
)
from s4al.annotate.queries import Round
from s4al.data import Row, load_pool
from s4al.errors import RunStateError
from tests.annotate.rounds import make_round


@pytest.fixture
def round(tmp_path: Path) -> Round:
    return make_round(tmp_path)


def _rows(round: Round) -> dict[str, Row]:
    return {row.id: row for row in load_pool(round.run.pool_file).rows}


def _make(round: Round, **options) -> Manifest:
    settings = {"mode": "crop", "margin": 4, "guesses": True, **options}
    return make_manifest(round, round.queries, _rows(round), **settings)


def test_crops_have_a_margin_as_far_as_the_image_goes(round: Round) -> None:
    found = [
        (picture.image, picture.y0, picture.x0, picture.height, picture.width, picture.parts[0].box)
        for picture in _make(round).pictures
    ]
    assert found == [
        ("a", 6, 6, 18, 23, np.s_[4:14, 4:19]),
        ("a", 26, 41, 14, 19, np.s_[4:14, 4:19]),
        ("sub dir/b é", 0, 0, 11, 13, np.s_[0:7, 0:9]),
        ("c", 35, 55, 5, 5, np.s_[4:5, 4:5]),
    ]


def test_whole_images_hold_all_their_regions(round: Round) -> None:
    pictures = _make(round, mode="full").pictures
    assert [(picture.image, len(picture.parts)) for picture in pictures] == [("a", 2), ("sub dir/b é", 1), ("c", 1)]
    assert [part.box for part in pictures[0].parts] == [np.s_[10:20, 10:25], np.s_[30:40, 45:60]]
    assert all((picture.y0, picture.x0, picture.size) == (0, 0, (40, 60)) for picture in pictures)


def test_pictures_are_in_the_order_of_the_queries_and_named_by_them(round: Round) -> None:
    manifest = _make(round)
    assert [picture.name for picture in manifest.pictures] == [f"{q.id}-{manifest.key}" for q in round.queries]


def test_the_key_tells_exports_apart_and_is_the_same_for_the_same(round: Round, tmp_path: Path) -> None:
    another = make_round(tmp_path / "another", seed=1)
    keys = [_make(round, margin=4).key, _make(round, margin=5).key, _make(round, mode="full").key, _make(another).key]
    assert len(set(keys)) == 4
    assert _make(round, margin=4).key == keys[0]


@pytest.mark.parametrize("mode", ["crop", "full"])
def test_json_gives_the_manifest_back(round: Round, mode: str) -> None:
    manifest = _make(round, mode=mode)
    found = manifest_from_json(json.loads(json.dumps(manifest_json(manifest, _rows(round)))))
    assert vars(found) | {"palette": None} == vars(manifest) | {"palette": None}
    np.testing.assert_array_equal(found.palette, manifest.palette)


def test_json_says_where_everything_is_in_the_original(round: Round) -> None:
    written = manifest_json(_make(round), _rows(round))
    query = written["queries"][3]
    assert (written["schema"], written["round"], written["ignore_id"]) == ("s4al.queries/1", 1, 255)
    assert written["classes"][1] == {"id": 1, "name": "car", "color": "#00008e"}
    assert (query["query_id"], query["image"], query["bbox_xywh"], query["size"]) == (
        "r001-000003",
        "c",
        [59, 39, 1, 1],
        [40, 60],
    )
    assert (query["picture"]["offset_xy"], query["picture"]["size"]) == ([55, 35], [5, 5])
    assert query["image_sha256"] == _rows(round)["c"].sha256


def test_the_run_remembers_its_exports(round: Round) -> None:
    manifest = _make(round)
    assert recall(round, manifest.key) is None
    remember(round, manifest, _rows(round))
    found = recall(round, manifest.key)
    assert found is not None
    assert found.pictures == manifest.pictures
    remembered_file(round, manifest.key).write_text("{")
    with pytest.raises(RunStateError, match="is damaged"):
        recall(round, manifest.key)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r003-000017-0a1b2c3d", ("r003-000017", "0a1b2c3d")),
        ("images/r003-000017-0a1b2c3d.png", ("r003-000017", "0a1b2c3d")),
        ("/data/upload/1/7f3b9c1d-r003-000017-0a1b2c3d.png", ("r003-000017", "0a1b2c3d")),
        ("r003-000017", ("r003-000017", "")),
        ("r003-000017.png", ("r003-000017", "")),
        ("r1234-12345678-0a1b2c3d", ("r1234-12345678", "0a1b2c3d")),
        ("r003-000017-0a1b2c3", None),
        ("bar003-000017", None),
        ("r03-000017", None),
        ("cat.png", None),
        ("", None),
    ],
)
def test_names_are_found_in_what_tools_make_of_them(text: str, expected: tuple[str, str] | None) -> None:
    assert parse_name(text) == expected
