"""`s4al label export`: the asked regions as a folder or a zip archive that another tool takes."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from s4al import files
from s4al.annotate.exchange.all import find_format
from s4al.annotate.exchange.contract import Format, Mode
from s4al.annotate.exchange.export import Export
from s4al.annotate.exchange.manifest import MANIFEST_FILE, make_manifest, remember, remembered_file
from s4al.errors import ConfigError, RunStateError

if TYPE_CHECKING:
    from s4al.annotate.queries import Query, Round
    from s4al.annotate.store import AnswerStore

DEFAULT_MARGIN = 64
_STORED = (".png", ".jpg")  # compressed already


def export_regions(
    round: Round,
    store: AnswerStore,
    format: str,
    out: Path,
    *,
    mode: Mode = "crop",
    margin: int = DEFAULT_MARGIN,
    only_open: bool = False,
    guesses: bool | None = None,
) -> dict[str, Any]:
    """Write the regions that `round` asks for, in one of `FORMATS`.

    Parameters
    ----------
    out : a new folder, or a new file whose name ends in .zip. It appears whole or not at all.
    margin : pixels of context around a crop.
    only_open : leave out what is answered or skipped.
    guesses : whether the network's guess is drawn already; None where the tool can tell it from an answer.

    Raises
    ------
    ConfigError : there is no such format; `out` exists.
    RunStateError : nothing is left to ask.
    ImageError, DataError : an image cannot be read, or is not the one the run began with.
    StorageError
    """
    chosen = find_format(format)
    if out.exists():
        raise ConfigError(f"{out} exists.", remedy="Name a new folder, or a new file that ends in .zip.")
    export = prepare(round, store, chosen, mode=mode, margin=margin, only_open=only_open, guesses=guesses)
    with files.storage_errors(f"writing {out}", kept="Nothing was exported."), _appearing(out) as folder:
        notes = write_export(export, chosen, folder)
    return {**describe(export, chosen), "out": str(out), "notes": notes}


def push_regions(
    round: Round,
    store: AnswerStore,
    url: str,
    *,
    mode: Mode = "crop",
    margin: int = DEFAULT_MARGIN,
    only_open: bool = False,
    guesses: bool | None = None,
) -> dict[str, Any]:
    """Make a project of a running Label Studio from the regions that `round` asks for, see `export_regions`.

    Raises ConfigError (no token, no address), DataError (the server), RunStateError, ImageError, StorageError.
    """
    from s4al.annotate.exchange.label_studio_server import push

    format = find_format("label-studio")
    export = prepare(round, store, format, mode=mode, margin=margin, only_open=only_open, guesses=guesses)
    with files.storage_errors("writing the pictures to push", kept="Nothing was pushed."), TemporaryDirectory() as name:
        export.write_images(Path(name))
        project = push(url, export, Path(name))
    return {**describe(export, format), "out": project, "notes": []}


def prepare(
    round: Round,
    store: AnswerStore,
    format: Format,
    *,
    mode: Mode,
    margin: int,
    only_open: bool,
    guesses: bool | None,
) -> Export:
    """Lay out what is asked and keep its manifest in the run, so that answers find their way back."""
    from s4al.data import load_pool

    queries = [query for query in round.queries if not (only_open and is_closed(store, query))]
    if not queries:
        raise RunStateError(
            f"All {len(round.queries):,} regions of cycle {round.cycle} are answered or skipped.",
            kept="Nothing was exported.",
            remedy=f"Go on: s4al train {round.run.root}, or export without --only-open.",
        )
    rows = {row.id: row for row in load_pool(round.run.pool_file).rows}
    shown = format.keeps_guesses_apart if guesses is None else guesses
    manifest = make_manifest(round, queries, rows, mode=mode, margin=margin, guesses=shown)
    remember(round, manifest, rows)
    return Export(round, manifest)


def is_closed(store: AnswerStore, query: Query) -> bool:
    """Whether a person has answered or skipped it."""
    return store.first(query) is not None


def write_export(export: Export, format: Format, folder: Path) -> list[str]:
    """Fill an empty folder: the format's files and the manifest. Returns what a person should read."""
    notes = format.write(export, folder)
    shutil.copyfile(remembered_file(export.round, export.manifest.key), folder / MANIFEST_FILE)
    return notes


def describe(export: Export, format: Format) -> dict[str, Any]:
    """What `--json` prints of an export."""
    manifest = export.manifest
    return {
        "run": str(export.round.run.root),
        "cycle": manifest.cycle,
        "format": format.name,
        "export": manifest.key,
        "mode": manifest.mode,
        "margin": manifest.margin,
        "guesses": manifest.guesses,
        "regions": sum(len(picture.parts) for picture in manifest.pictures),
        "pictures": len(manifest.pictures),
    }


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """An empty folder that becomes `out`, a folder or an archive, where all goes well, and is removed where not."""
    temporary = out.with_name(f"{files.TEMPORARY}{out.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    archive = temporary.with_suffix(".archive")
    try:
        yield temporary
        if out.suffix.lower() == ".zip":
            _pack(temporary, archive)
            archive.replace(out)
        else:
            temporary.replace(out)
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)


def _pack(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            how = zipfile.ZIP_STORED if path.suffix in _STORED else zipfile.ZIP_DEFLATED
            packed.write(path, path.relative_to(folder).as_posix(), how)
