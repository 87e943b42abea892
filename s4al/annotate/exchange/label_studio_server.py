"""A running Label Studio: a project for an export, and its annotations back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from s4al import files
from s4al.annotate.exchange.contract import Picture
from s4al.annotate.exchange.export import Export
from s4al.annotate.exchange.label_studio import USERS_FILE, labelling_config, model_version, tasks
from s4al.annotate.exchange.label_studio_http import Server
from s4al.errors import ConfigError, DataError

_UPLOADS = 50  # at a time: Label Studio takes 100
_TASKS = 200  # at a time
_MOST_PROJECTS = 10_000
_MOST_TITLE = 50  # characters


def push(url: str, export: Export, folder: Path) -> str:
    """Make a project with the tasks of an export; returns its address. Where that fails, the project is removed again.

    Parameters
    ----------
    folder : where `Export.write_images` put the pictures; they are uploaded.

    Raises
    ------
    ConfigError : `url` is no address of a server, or there is no token.
    DataError : the server cannot be reached, refuses, or has this export already.
    """
    server = Server(url)
    if server.project is not None:
        raise ConfigError(f"{url} is a project.", remedy="Name the server alone: a push makes a project of its own.")
    title = f"{export.round.run.root.name} cycle {export.manifest.cycle} ({export.manifest.key})"[-_MOST_TITLE:]
    with server.understood():
        _refuse_double(server, title)
        project = int(server.post("/api/projects", {"title": title, "label_config": labelling_config(export)})["id"])
        try:
            _fill(server, project, export, folder)
        except BaseException:
            with contextlib.suppress(DataError):
                server.delete(f"/api/projects/{project}")
            raise
    return f"{server.base}/projects/{project}"


def pull(url: str, folder: Path) -> None:
    """Fetch the annotations of a project, by the address that a browser shows, and who its people are.

    Raises ConfigError, DataError, StorageError.
    """
    server = Server(url)
    if server.project is None:
        raise ConfigError(
            f"{url} is not the address of a project.", remedy="Give it as push printed it: http://HOST/projects/NUMBER."
        )
    query = "exportType=JSON&download_all_tasks=true"
    with (
        files.storage_errors(f"writing to {folder}", kept="Nothing was imported."),
        (folder / "project.json").open("wb") as stream,
    ):
        server.download(f"/api/projects/{server.project}/export?{query}", stream)
        with server.understood():
            users = {str(user["id"]): user["email"] for user in server.get("/api/users") if user.get("email")}
        (folder / USERS_FILE).write_bytes(files.json_bytes(users))


def _refuse_double(server: Server, title: str) -> None:
    found = server.get(f"/api/projects?page_size={_MOST_PROJECTS}")
    for project in found.get("results", []):
        if project.get("title") == title:
            where = f"{server.base}/projects/{project.get('id')}"
            raise DataError(
                f"This export is in Label Studio already: {where}, {project.get('task_number')} tasks.",
                kept="Nothing was pushed.",
                remedy="Go on there; or delete that project, then run the same command.",
            )


def _fill(server: Server, project: int, export: Export, folder: Path) -> None:
    urls = dict(_upload(server, project, export.pictures, folder))
    _send_tasks(server, project, export, urls)
    # Lowest score first, of this version's predictions: the most uncertain regions.
    order = {"model_version": model_version(export), "sampling": "Uncertainty sampling"}
    server.patch(f"/api/projects/{project}", order)


def _send_tasks(server: Server, project: int, export: Export, urls: dict[str, str]) -> None:
    made = tasks(export, lambda picture: urls[picture.name])
    while batch := list(islice(made, _TASKS)):
        taken = server.post(f"/api/projects/{project}/import", batch)["task_count"]
        if taken != len(batch):
            raise server.refused(f"took {taken} of {len(batch)} tasks")


def _upload(server: Server, project: int, pictures: Sequence[Picture], folder: Path) -> Iterator[tuple[str, str]]:
    """Send all pictures; yields the name of each and its address there."""
    for start in range(0, len(pictures), _UPLOADS):
        batch = pictures[start : start + _UPLOADS]
        uploaded = server.upload(
            f"/api/projects/{project}/import?commit_to_project=false", [folder / picture.file for picture in batch]
        )
        ids = ",".join(str(int(id)) for id in uploaded["file_upload_ids"])
        listed = server.get(f"/api/projects/{project}/file-uploads?ids=[{ids}]")
        names = {picture.name for picture in batch}
        for item in listed:
            path = str(item["file"])
            name = next((name for name in names if path.endswith(f"{name}.png")), None)
            if name is not None:
                names.discard(name)
                yield name, "/data/" + path
        if names:
            raise server.refused(f"did not keep {len(names)} of {len(batch)} pictures")
