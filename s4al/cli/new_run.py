"""The settings of a run: where a command says they start, and what the data add to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4al import config as settings
from s4al.cli.suggestions import SUGGESTED, describe, suggest
from s4al.config import Config
from s4al.data.dataset import Progress, unseen
from s4al.data.layouts.folders import LOOKED_FOR
from s4al.errors import ConfigError, DataError, EngineError
from s4al.watch import Watch

if TYPE_CHECKING:
    from s4al.data.understand import Understanding

_FOR_IMAGES, _FOR_NOTHING = "images", "demo"
_FOUND_OUT = ("auto", "folder", "coco")  # adapters whose settings the folder itself says
# What `data.understand` may find out.
DATA_KEYS = (
    "data.adapter",
    "data.images",
    "data.masks",
    "data.lists",
    "data.classes",
    "data.mask_values",
    "data.test_split",
)


def keys_from_data(preset: str) -> tuple[str, ...]:
    """The settings of a preset that `look` may fill in once there is a folder."""
    return (*DATA_KEYS, *SUGGESTED) if preset == _FOR_IMAGES else ()


@dataclass(frozen=True)
class Wanted:
    """What a command says about a run: a preset or a file, `section.key=value` overrides, a device."""

    preset: str | None = None
    file: Path | None = None
    overrides: tuple[str, ...] = ()
    device: str = "auto"

    @property
    def given(self) -> set[str]:
        """The keys it sets itself."""
        return settings.given_keys(self.file, self.overrides)

    @property
    def says_where_to_start(self) -> bool:
        return bool(self.preset or self.file or "data.root" in self.given)

    @property
    def only_says_where_the_data_are(self) -> bool:
        return not (self.preset or self.file)

    @property
    def start(self) -> str | None:
        """The preset. Where neither it nor a file is named: the demo, or with a data folder people's own images."""
        if self.preset or self.file:
            return self.preset
        return _FOR_IMAGES if "data.root" in self.given else _FOR_NOTHING


def new_settings(wanted: Wanted, watch: Watch) -> Config:
    """Of a new run; what was found out about the data is said.

    Raises ConfigError and DataError where that cannot be known.
    """
    config = settings.resolve(wanted.start, wanted.file, wanted.overrides)
    if not config.data.root:
        return config
    if config.data.adapter == "scenes":
        raise ConfigError(
            "The embedded scenes need no data folder, and one was given.",
            remedy="Leave out --data for them, or --preset demo for your own images.",
        )
    if wanted.start == _FOR_IMAGES:
        how = "" if wanted.preset else ", as a data folder and no preset was named"
        watch.note(f"Settings: the preset images, for people's own images{how}.")
    if config.data.adapter not in _FOUND_OUT and wanted.start != _FOR_IMAGES:
        return config
    found, suggested = look(config, wanted, progress=watch.step)
    if not found.has_masks and config.data.oracle != "people":
        raise DataError(
            f"Nothing is labelled in {config.data.root}: no masks were found.",
            kept="Nothing was begun.",
            remedy="To label regions of it in the browser, add data.oracle=people to the command. "
            f"To use masks that are there, set data.masks. Looked for: {LOOKED_FOR}.",
        )
    for line in found.lines:
        watch.note(line)
    resolved = settings.resolve(wanted.start, wanted.file, wanted.overrides, found.settings | suggested)
    for line in describe(resolved, len(found.train), found.num_labelled) if suggested else ():
        watch.note(line)
    return resolved


def look(
    config: Config, wanted: Wanted, *, every_file: bool = False, progress: Progress = unseen
) -> tuple[Understanding, dict[str, Any]]:
    """What the data folder says of itself, and for people's own images the settings that fit it (none for others).

    Raises ConfigError and DataError where that cannot be known.
    """
    from s4al.data.understand import understand

    found = understand(config, wanted.given, every_file=every_file, progress=progress)
    if wanted.start != _FOR_IMAGES:
        return found, {}
    return found, suggest(found.sizes, len(found.train), found.num_labelled, gpu=_trains_on_gpu(wanted.device))


def settings_again(wanted: Wanted, stored: Config) -> Config:
    """What a command says about a run that exists: what was found out about its data then still holds."""
    known = settings.flatten(stored)
    keys = (*DATA_KEYS, *(SUGGESTED if wanted.start == _FOR_IMAGES else ()))
    again = settings.resolve(wanted.start, wanted.file, wanted.overrides, {key: known[key] for key in keys})
    if again.data.root:
        return again
    return again.model_copy(update={"data": again.data.model_copy(update={"root": stored.data.root})})


def _trains_on_gpu(device: str) -> bool:
    if device == "cpu":
        return False
    from s4al.scorer.engines.gpu import find_gpu

    try:
        find_gpu(device)
    except EngineError:
        return False
    return True
