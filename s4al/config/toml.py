"""Configurations as text: presets, TOML files, overrides of the command line, and what is written to `RUN/run.toml`."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from s4al.config.sections import RECO_LEARNERS
from s4al.config.tree import FREE_ON_RESUME, Config
from s4al.errors import ConfigError
from s4al.presets import PRESETS


def resolve(
    preset: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
    inferred: Mapping[str, Any] = MappingProxyType({}),
) -> Config:
    """Build the configuration of a run.

    Parameters
    ----------
    preset : a name of `PRESETS`, or None for the plain defaults.
    file : a TOML file with the same sections.
    overrides : `section.key=value` strings; the value is read as TOML, and as a string where that fails.
    inferred : `{"section.key": value}` that the data suggest; they replace the preset's, and give way to all else.

    Raises
    ------
    ConfigError : unknown preset, section or key (with the nearest valid name, file and line), or a bad value.
    """
    tree: dict[str, dict[str, Any]] = {}
    if preset is not None:
        if preset not in PRESETS:
            raise ConfigError(
                f"Unknown preset {preset!r}{_nearest(preset, PRESETS)}.", remedy=f"Presets: {', '.join(PRESETS)}."
            )
        _merge(tree, PRESETS[preset])
    for name, value in inferred.items():
        section, _, key = name.partition(".")
        _merge(tree, {section: {key: value}})
    if file is not None:
        _merge(tree, _read_toml(file))
    for override in overrides:
        _merge(tree, _parse_override(override))
    return _validate(tree, str(file) if file else "command line")


def given_keys(file: Path | None, overrides: Iterable[str]) -> set[str]:
    """The `section.key` names that a configuration file and the command line set. Raises ConfigError."""
    trees = [*([_read_toml(file)] if file else []), *map(_parse_override, overrides)]
    sections = [item for tree in trees for item in tree.items() if isinstance(item[1], Mapping)]
    return {f"{section}.{key}" for section, values in sections for key in values}


def load(path: Path) -> Config:
    """Read a complete configuration written by `dump`. Raises ConfigError."""
    return _validate(_read_toml(path), str(path))


def dump(config: Config, from_data: Collection[str] = ()) -> str:
    """The configuration as TOML, every key present, in the order of the classes.

    Parameters
    ----------
    from_data : `section.key` names that have no value yet, as the data decide: they are comments.
    """
    lines: list[str] = []
    for section, values in config.model_dump(mode="json").items():
        lines.append(f"[{section}]")
        for key, value in values.items():
            open_yet = f"{section}.{key}" in from_data
            lines.append(f"# {key}: from the data" if open_yet else f"{key} = {_toml_value(value)}")
        lines.append("")
    return "\n".join(lines)


def fingerprint(config: Config) -> str:
    """sha256 over every setting that may change results (not those of `FREE_ON_RESUME`)."""
    kept = {key: value for key, value in flatten(config).items() if key not in FREE_ON_RESUME}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def flatten(config: Config) -> dict[str, Any]:
    """`{"section.key": value}` with JSON values."""
    tree = config.model_dump(mode="json")
    return {f"{section}.{key}": value for section, values in tree.items() for key, value in values.items()}


def changes(stored: Config, given: Config) -> dict[str, tuple[Any, Any]]:
    """Settings that differ and may not: `{"section.key": (stored, given)}`."""
    old, new = flatten(stored), flatten(given)
    return {key: (old[key], new[key]) for key in old if old[key] != new[key] and key not in FREE_ON_RESUME}


def set_values(config: Config, overrides: Iterable[str]) -> Config:
    """A copy with `section.key=value` applied. Raises ConfigError."""
    tree = config.model_dump(mode="json")
    for override in overrides:
        _merge(tree, _parse_override(override))
    return _validate(tree, "command line")


def _merge(tree: dict[str, dict[str, Any]], more: Mapping[str, Any]) -> None:
    learner, before = more.get("learner"), tree.get("learner", {})
    if isinstance(learner, Mapping) and learner.get("name", "") not in ("", before.get("name")):
        tree["learner"] = {}  # another learner has other settings
        if learner["name"] not in RECO_LEARNERS:
            tree.pop("reco", None)
    for section, values in more.items():
        if isinstance(values, Mapping):
            tree.setdefault(section, {}).update(values)
        else:
            tree[section] = values


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}).") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def _parse_override(override: str) -> dict[str, dict[str, Any]]:
    name, equals, text = override.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot and key):
        raise ConfigError(f"{override!r} is not of the form section.key=value.", remedy="For example trainer.lr=0.02.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word such as data.adapter=voc
    return {section: {key: value}}


def _validate(tree: Mapping[str, Any], source: str) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, source) from error


def _explain(error: ValidationError, source: str) -> ConfigError:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    name = ".".join(location)
    line = _line_of(source, location)
    where = f"{source}:{line}" if line else source
    if first["type"] == "extra_forbidden":
        kind = "section" if len(location) == 1 else "key"
        candidates = list(Config.model_fields) if len(location) == 1 else _names()
        return ConfigError(
            f"{where}: unknown {kind} {name}{_nearest(name, candidates)}.", remedy="`s4al presets demo` lists all keys."
        )
    message = first["msg"].removeprefix("Value error, ")
    prefix = f"{where}: {name}: " if name else f"{where}: "
    given = f" (given: {first['input']!r})" if name else ""
    return ConfigError(f"{prefix}{message}{given}.")


def _names() -> list[str]:
    return list(flatten(Config()))


def _nearest(name: str, candidates: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.4)
    return f" (did you mean {close[0]}?)" if close else ""


def _line_of(source: str, location: list[str]) -> int:
    """Line of a key in a TOML file, 0 where there is no such file; TOML parsers give no positions after parsing."""
    path = Path(source)
    if not location or not path.is_file():
        return 0  # no location: what does not fit are two sections
    section, key = location[0], location[1] if len(location) > 1 else None
    current = ""
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        stripped = text.strip()
        if stripped.startswith("["):
            current = stripped.strip("[] ")
            if key is None and current == section:
                return number
            continue
        name = stripped.partition("=")[0].strip().strip('"')
        if (current == section and name == key) or (not current and name in (section, ".".join(location))):
            return number
    return 0


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key, ensure_ascii=False)} = {_toml_value(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    return repr(value)
