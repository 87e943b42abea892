"""`s4al check`: look at a data folder as `s4al train` would, and say what it holds and how to start."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4al import config as settings
from s4al.cli.new_run import Wanted, look
from s4al.cli.suggestions import describe
from s4al.config import Config
from s4al.data.dataset import SPLITS
from s4al.watch import Watch

if TYPE_CHECKING:
    from s4al.data.understand import Understanding


def check_folder(
    data: Path, *, every_file: bool, overrides: Sequence[str], device: str, watch: Watch
) -> dict[str, Any]:
    """Look at the folder `data`; nothing is written.

    Returns
    -------
    `{"data", "lines", "layout", "splits", "sizes", "formats", "values", "unpaired", "unused", "skipped", "bad",
    "read_all", "read_images", "read_masks", "settings", "suggested_lines", "estimate_minutes", "command"}`.

    Raises
    ------
    DataError, ConfigError : see `data.understand`.
    """
    root = str(data.expanduser().resolve())
    wanted = Wanted(overrides=(f"data.root={json.dumps(root, ensure_ascii=False)}", *overrides), device=device)
    config = settings.resolve(wanted.start, None, wanted.overrides)
    found, suggested = look(config, wanted, every_file=every_file, progress=watch.progress)
    resolved = settings.resolve(wanted.start, None, wanted.overrides, found.settings | suggested)
    return {
        "data": root,
        **_found(found),
        "read_all": every_file,
        "settings": found.settings | suggested,
        "suggested_lines": list(describe(resolved, len(found.train), found.num_labelled)),
        "estimate_minutes": _estimate_minutes(found, resolved, device),
        "command": _command(data, _who_answers(found, resolved, overrides), device),
    }


def _found(found: Understanding) -> dict[str, Any]:
    records, layout = found.dataset.records, found.layout
    by_area = sorted(found.sizes, key=lambda size: size[0] * size[1])
    return {
        "lines": list(found.lines),
        "layout": layout.adapter,
        "classes": list(found.dataset.class_names),
        "splits": [
            {
                "split": split,
                "images": sum(record.split == split for record in records),
                "masks": sum(record.split == split and record.mask is not None for record in records),
            }
            for split in SPLITS
            if any(record.split == split for record in records)
        ],
        "sizes": {"smallest": by_area[0], "median": by_area[(len(by_area) - 1) // 2], "largest": by_area[-1]},
        "formats": found.formats,
        "values": [
            {"value": row.value, "class": row.meaning, "colour": row.colour, "pixels": row.pixels, "share": row.share}
            for row in found.values
        ],
        "unpaired": [*layout.unpaired_images, *layout.unpaired_masks],
        "unused": list(layout.unused),
        "skipped": layout.skipped,
        "bad": [{"file": name, "reason": reason} for name, reason in found.bad],
        "read_images": found.read_images,
        "read_masks": found.read_masks,
    }


def _estimate_minutes(found: Understanding, config: Config, device: str) -> float | None:
    """Of training alone, by a few steps of it; None where no image has a mask, and nothing can be trained."""
    if not any(record.mask for record in found.train):
        return None
    from s4al.trainer.estimate import training_seconds

    return training_seconds(config, len(found.dataset.class_names), device) / 60


def _who_answers(found: Understanding, resolved: Config, overrides: Sequence[str]) -> Sequence[str]:
    """Without a single mask people have to be asked for: nobody should find out after an hour that he is."""
    if found.has_masks or any(each.startswith("data.oracle=") for each in overrides):
        return overrides
    return [*overrides, "data.oracle=people"]


def _command(data: Path, overrides: Sequence[str], device: str) -> str:
    words = ["s4al", "train", f"runs/{data.resolve().name}", "--data", str(data)]
    words += ["--device", device] if device != "auto" else []
    return shlex.join([*words, *overrides])
