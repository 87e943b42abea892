"""Label Studio: tasks with the network's guess as their prediction, and its JSON export back.

    tasks.json  to import     config.xml  the labelling configuration     images/  what the tasks show

A task carries the picture's name in its data, which comes back with the annotations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.sax.saxutils import quoteattr

from s4al import files
from s4al.annotate.exchange.contract import Format, Picture, Unusable
from s4al.annotate.exchange.export import Export
from s4al.annotate.exchange.frames import FRAME, FRAME_COLOUR, frames
from s4al.annotate.exchange.hostile_json import read_json
from s4al.annotate.exchange.label_studio_results import (
    BITMASK,
    POLYGON,
    bitmask_result,
    frame_result,
    paint_results,
)
from s4al.annotate.exchange.label_studio_results import FRAME as FRAME_CONTROL
from s4al.annotate.exchange.manifest import classes_json
from s4al.annotate.exchange.names import check_names
from s4al.annotate.exchange.reading import Reading
from s4al.annotate.exchange.source import Source

TASKS_FILE, CONFIG_FILE, USERS_FILE = "tasks.json", "config.xml", "users.json"
_MOST_SECONDS = 1e6
_BEGINNING = re.compile(rb'(?:\xef\xbb\xbf)?\s*\[\s*\{.*"(annotations|inner_id)"', re.DOTALL)
_LOCAL_FILES = "/data/local-files/?d="  # Label Studio's URL of a file below its document root


def write(export: Export, folder: Path) -> list[str]:
    """Images, tasks and the labelling configuration; the folder serves as Label Studio's document root."""
    (folder / CONFIG_FILE).write_text(labelling_config(export), encoding="utf-8")
    export.write_images(folder)
    (folder / TASKS_FILE).write_bytes(
        files.json_bytes(list(tasks(export, lambda picture: _LOCAL_FILES + picture.file)))
    )
    return [
        f"Label Studio: labelling setup from {CONFIG_FILE}, then import {TASKS_FILE}. It shows the images where it was "
        "started with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to "
        "this folder, and the project has a local storage of its images folder.",
    ]


def labelling_config(export: Export) -> str:
    """What people can draw: a bitmask or polygons of every class. Raises DataError for names that XML cannot hold."""
    check_names(export.class_names, CONFIG_FILE)
    classes = classes_json(export.class_names, export.palette)
    labels = [f'<Label value={quoteattr(item["name"])} background="{item["color"]}"/>' for item in classes]
    frame = [f'<Label value="{FRAME}" background="{FRAME_COLOUR}"/>']
    controls = [("BitmaskLabels", BITMASK, labels), ("PolygonLabels", POLYGON, labels)]
    if FRAME not in export.class_names:
        controls.append(("RectangleLabels", FRAME_CONTROL, frame))
    lines = ['<Image name="image" value="$image" zoom="true" zoomControl="true" smoothing="false"/>']
    for tag, name, inner in controls:
        lines += [f'<{tag} name="{name}" toName="image">', *(f"  {line}" for line in inner), f"</{tag}>"]
    return "\n".join(["<View>", *(f"  {line}" for line in lines), "</View>", ""])


def model_version(export: Export) -> str:
    """What Label Studio knows the guesses by: it shows, and sorts by, those of one version."""
    return f"s4al-{export.manifest.key}"


def tasks(export: Export, image_url: Callable[[Picture], str]) -> Iterator[dict[str, Any]]:
    """A task a picture, in the order in which they should be answered.

    Parameters
    ----------
    image_url : where Label Studio finds a picture.
    """
    for picture in export.pictures:
        yield {"data": _task_data(export, picture, image_url(picture)), "predictions": [_prediction(export, picture)]}


def _task_data(export: Export, picture: Picture, url: str) -> dict[str, Any]:
    return {
        "image": url,
        "picture": picture.name,
        "query_id": ", ".join(part.query for part in picture.parts),
        "round": export.manifest.cycle,
        "source": picture.image,
    }


def _prediction(export: Export, picture: Picture) -> dict[str, Any]:
    """The guess, a mask a class, and the frame. Label Studio serves the lowest score, the most uncertain, first."""
    results = [
        frame_result(f"{part.query}-frame", part, picture, FRAME) for part in frames(picture, export.class_names)
    ]
    guess_HW = export.guess(picture)
    for id, name in enumerate(export.class_names):
        if guess_HW is not None and (guess_HW == id).any():
            red, green, blue = export.palette[id].tolist()
            results.append(bitmask_result(f"{picture.name}-{id}", guess_HW == id, name, (red, green, blue)))
    uncertainty = export.uncertainty(picture)
    score = {} if uncertainty is None else {"score": 1 - uncertainty}
    return {"model_version": model_version(export), "result": results, **score}


# ------------------------------------------------------------------------------------------------- what comes back


def read(source: Source, reading: Reading) -> None:
    """Every annotation of every task; cancelled ones are skips, predictions are no answers."""
    users = _users(source)
    others = [name for name in source.names(".json") if PurePosixPath(name).name != USERS_FILE]
    for name in _exports(source) or others:
        for task in read_json(source, name, list):
            _read_task(task, reading, users)


def _read_task(task: Any, reading: Reading, users: dict[str, str]) -> None:
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        raise Unusable("it holds something that is not a task")
    where = f"task {task.get('id')}"
    data = task["data"]
    name = next((value for value in (data.get("picture"), data.get("image")) if isinstance(value, str)), "")
    with reading.item(f"{PurePosixPath(name).name} ({where})"):
        picture = reading.picture(name)
        annotations = task.get("annotations")
        if not isinstance(annotations, list) or not all(isinstance(item, dict) for item in annotations):
            raise Unusable("it has no list of annotations: export it as JSON, not as JSON-MIN")
        for annotation in annotations:
            with reading.item(f"{picture.name} ({where}, annotation {annotation.get('id')})"):
                _read_annotation(annotation, picture, reading, users)


def _read_annotation(annotation: dict[str, Any], picture: Picture, reading: Reading, users: dict[str, str]) -> None:
    skipped = bool(annotation.get("was_cancelled"))
    reading.add(
        picture,
        picture.blank() if skipped else paint_results(annotation.get("result"), reading, picture),
        where=f"{picture.name} (annotation {annotation.get('id')})",
        annotator=_person(annotation.get("completed_by"), users),
        seconds=_seconds(annotation.get("lead_time")),
        skipped=skipped,
        source=str(annotation.get("unique_id") or annotation.get("id")),
        updated=str(annotation.get("updated_at") or ""),
    )


def _seconds(lead_time: Any) -> float:
    known = isinstance(lead_time, (int, float)) and 0 <= lead_time < _MOST_SECONDS
    return float(lead_time) if known else 0.0


def _person(completed_by: Any, users: dict[str, str]) -> str:
    """The e-mail address where it is known, else the number that Label Studio has for the person."""
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or f"user {completed_by.get('id')}")
    return "" if completed_by is None else users.get(str(completed_by), f"user {completed_by}")


def _users(source: Source) -> dict[str, str]:
    """Who the numbers of people are: what `label_studio_server` puts beside the tasks that it fetches."""
    if USERS_FILE not in source:
        return {}
    return {str(id): str(name) for id, name in read_json(source, USERS_FILE, dict).items()}


def recognises(source: Source) -> bool:
    return bool(_exports(source))


def _exports(source: Source) -> list[str]:
    """Files that begin as a list of tasks with annotations. What we wrote ourselves has none."""
    names = [name for name in source.names(".json") if PurePosixPath(name).name != TASKS_FILE]
    return [name for name in names if _BEGINNING.match(source.head(name))]


FORMAT = Format("label-studio", "Label Studio's JSON", write, read, recognises, keeps_guesses_apart=True)
