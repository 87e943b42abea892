"""`queries.json`: what an export asked, in which pictures. It goes with the export and is kept in the run.

The name of every picture ends in the key of its export, so that whatever comes back, however a tool packs it, leads to
the manifest in the run: no file has to be returned with it, and a file of another run is found out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.annotate.exchange.pictures import UNPAINTED, Mode, Part, Picture
from s4al.errors import RunStateError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from s4al.annotate.queries import Query, Round
    from s4al.data import Row

MANIFEST_FILE = "queries.json"
SCHEMA = "s4al.queries/1"
# A key that was cut short is no name without a key.
_NAME = re.compile(r"(?<![0-9A-Za-z])(r\d{3,}-\d{6,})(?:-([0-9a-f]{8}))?(?![0-9A-Za-z]|-[0-9a-f]+\b)")


@dataclass(frozen=True)
class Manifest:
    """One export.

    Attributes
    ----------
    key : 8 hex digits, of everything else: the same export again has the same key.
    cycle : whose labels are asked for.
    asked : sha256 of the manifest of the round's `ask` folder: the identity of the round, and so of the run.
    model : sha256 of the manifest of the network's export that the guesses come from; "" where there is none.
    palette : uint8 (C, 3).
    """

    key: str
    cycle: int
    asked: str
    model: str
    mode: Mode
    margin: int
    guesses: bool
    class_names: tuple[str, ...]
    palette: NDArray[np.uint8]
    pictures: tuple[Picture, ...]


def make_manifest(
    round: Round, queries: Iterable[Query], rows: dict[str, Row], *, mode: Mode, margin: int, guesses: bool
) -> Manifest:
    """Lay the queries out in pictures, in the order of the queries.

    Parameters
    ----------
    rows : the pool's by image id.
    margin : pixels of context on every side of a crop, as far as the image goes; of no effect in full mode.
    """
    pictures = _crops(queries, rows, margin) if mode == "crop" else _wholes(queries, rows)
    manifest = Manifest(
        key="",
        cycle=round.cycle,
        asked=round_digest(round),
        model=_model_digest(round),
        mode=mode,
        margin=margin if mode == "crop" else 0,
        guesses=guesses,
        class_names=tuple(round.class_names),
        palette=round.palette,
        pictures=tuple(pictures),
    )
    key = hashlib.sha256(files.json_bytes(manifest_json(manifest, rows))).hexdigest()[:8]
    named = tuple(replace(picture, name=f"{picture.name}-{key}") for picture in manifest.pictures)
    return replace(manifest, key=key, pictures=named)


def bare_picture(query: Query) -> Picture:
    """The region alone: what a script may answer by the query's id, without an export."""
    return _window(query.id, query.image, (query.y0, query.x0, query.y1, query.x1), [query])


def round_digest(round: Round) -> str:
    return files.manifest_digest(round.run.stage(round.cycle, "ask"))


def parse_name(text: str) -> tuple[str, str] | None:
    """(query id, key of the export or "") in the name of a picture, whatever a tool has put around it; None without."""
    found = _NAME.search(text)
    return (found[1], found[2] or "") if found else None


def _crops(queries: Iterable[Query], rows: dict[str, Row], margin: int) -> list[Picture]:
    pictures = []
    for query in queries:
        row = rows[query.image]
        window = (
            max(query.y0 - margin, 0),
            max(query.x0 - margin, 0),
            min(query.y1 + margin, row.height),
            min(query.x1 + margin, row.width),
        )
        pictures.append(_window(query.id, query.image, window, [query]))
    return pictures


def _wholes(queries: Iterable[Query], rows: dict[str, Row]) -> list[Picture]:
    by_image: dict[str, list[Query]] = defaultdict(list)
    for query in queries:
        by_image[query.image].append(query)
    pictures = []
    for image, asked in by_image.items():
        window = (0, 0, rows[image].height, rows[image].width)
        pictures.append(_window(asked[0].id, image, window, asked))
    return pictures


def _window(name: str, image: str, window: tuple[int, int, int, int], queries: list[Query]) -> Picture:
    y0, x0, y1, x1 = window
    parts = (
        Part(query.id, query.y0 - y0, query.x0 - x0, query.y1 - y0, query.x1 - x0, query.score, query.rank)
        for query in queries
    )
    return Picture(name, image, y0, x0, y1 - y0, x1 - x0, tuple(parts))


def _model_digest(round: Round) -> str:
    run, before = round.run, round.cycle - 1
    return files.manifest_digest(run.stage(before, "export")) if run.is_committed(before, "export") else ""


# ---------------------------------------------------------------------------------------------------------- as JSON


def manifest_json(manifest: Manifest, rows: dict[str, Row]) -> dict[str, Any]:
    """What `queries.json` holds; everything in original pixels."""
    return {
        "schema": SCHEMA,
        "key": manifest.key,
        "round": manifest.cycle,
        "asked_sha256": manifest.asked,
        "model_sha256": manifest.model,
        "mode": manifest.mode,
        "margin": manifest.margin,
        "guesses": manifest.guesses,
        "ignore_id": UNPAINTED,
        "classes": classes_json(manifest.class_names, manifest.palette),
        "queries": [
            _query_json(picture, part, rows[picture.image]) for picture in manifest.pictures for part in picture.parts
        ],
    }


def classes_json(names: Iterable[str], palette: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """`[{"id": 0, "name": "road", "color": "#804080"}]`."""
    return [
        {"id": id, "name": name, "color": "#{:02x}{:02x}{:02x}".format(*colour)}
        for id, (name, colour) in enumerate(zip(names, palette.tolist(), strict=True))
    ]


def _query_json(picture: Picture, part: Part, row: Row) -> dict[str, Any]:
    height, width = part.size
    return {
        "query_id": part.query,
        "image": picture.image,
        "image_sha256": row.sha256,
        "size": [row.height, row.width],
        "bbox_xywh": [picture.x0 + part.x0, picture.y0 + part.y0, width, height],
        "score": part.score,
        "rank": part.rank,
        "picture": {
            "name": picture.name,
            "file": picture.file,
            "offset_xy": [picture.x0, picture.y0],
            "size": [picture.height, picture.width],
        },
    }


def manifest_from_json(value: dict[str, Any]) -> Manifest:
    """The inverse of `manifest_json`, of our own file in the run. Raises KeyError, TypeError, ValueError."""
    parts: dict[str, list[Part]] = defaultdict(list)
    windows: dict[str, dict[str, Any]] = {}
    for query in value["queries"]:
        shown = query["picture"]
        windows.setdefault(shown["name"], query)
        x, y, width, height = query["bbox_xywh"]
        x0, y0 = x - shown["offset_xy"][0], y - shown["offset_xy"][1]
        part = Part(query["query_id"], y0, x0, y0 + height, x0 + width, query["score"], query["rank"])
        parts[shown["name"]].append(part)
    pictures = []
    for name, query in windows.items():
        (x0, y0), (height, width) = query["picture"]["offset_xy"], query["picture"]["size"]
        pictures.append(Picture(name, query["image"], y0, x0, height, width, tuple(parts[name])))
    colours = [tuple(bytes.fromhex(item["color"].removeprefix("#"))) for item in value["classes"]]
    return Manifest(
        key=value["key"],
        cycle=value["round"],
        asked=value["asked_sha256"],
        model=value["model_sha256"],
        mode=value["mode"],
        margin=value["margin"],
        guesses=value["guesses"],
        class_names=tuple(item["name"] for item in value["classes"]),
        palette=np.array(colours, np.uint8).reshape(-1, 3),
        pictures=tuple(pictures),
    )


def remembered_file(round: Round, key: str) -> Path:
    """Where a run keeps the manifest of an export until the labels of its round are committed."""
    return round.run.answers_folder(round.cycle) / "exports" / f"{key}.json"


def remember(round: Round, manifest: Manifest, rows: dict[str, Row]) -> None:
    """Keep the manifest in the run. Raises StorageError."""
    path = remembered_file(round, manifest.key)
    with files.storage_errors(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, files.json_bytes(manifest_json(manifest, rows)))


def recall(round: Round, key: str) -> Manifest | None:
    """The manifest of an export of this round; None where there was none of that key. Raises RunStateError."""
    path = remembered_file(round, key)
    if not path.is_file():
        return None
    try:
        return manifest_from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunStateError(
            f"{path} is damaged ({error}).", kept="Nothing was imported.", remedy="Export the regions once more."
        ) from error
