"""Damaged files of a run: whatever reads one notices, or the result is the same to the byte. Nothing in between.

Every file of a run is flipped, cut, zeroed or swapped with a sibling, once each here. `S4AL_DAMAGE_TRIALS=20` (`make
faults`) does all of it twenty times each, at other places.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Attempts, log_of
from tests.tiny import digests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(36_000)]

_TRIALS = int(os.environ.get("S4AL_DAMAGE_TRIALS", "0"))
_NOTICED = (2, 4, 5, 6)  # configuration, data, run state, engine: each with a message, none of them our bug
_BEFORE = "cycles/001/train"  # what the last training reads is all there: cache, labels, pseudo-labels, checkpoints


def _flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _cut(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def _zero(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    start = rng.randrange(len(data))
    length = min(len(data) - start, rng.choice([1, 16, 512, 4096]))
    path.write_bytes(data[:start] + bytes(length) + data[start + length :])


def _swap(path: Path, rng: random.Random) -> None:
    siblings = [each for each in path.parent.iterdir() if each.is_file() and each != path]
    same = [each for each in siblings if each.suffix == path.suffix]
    if same or siblings:
        other = rng.choice(sorted(same or siblings))
        mine, its = path.read_bytes(), other.read_bytes()
        path.write_bytes(its)
        other.write_bytes(mine)


_KINDS: list[Callable[[Path, random.Random], None]] = [_flip, _cut, _zero, _swap]


def _trials(names: list[str]) -> Iterator[tuple[str, Callable[[Path, random.Random], None], int]]:
    if _TRIALS:
        yield from ((name, kind, seed) for seed in range(_TRIALS) for name in names for kind in _KINDS)
    else:
        yield from ((name, _KINDS[i % len(_KINDS)], 0) for i, name in enumerate(names))


def test_no_damage_becomes_a_result(attempts: Attempts, before_stage, straight, tmp_path: Path) -> None:
    before = before_stage[_BEFORE]
    names = [name for name, data in digests(before).items() if data]
    silent, broken, noticed = [], [], 0
    for name, kind, seed in _trials(names):
        root = tmp_path / "run"
        shutil.copytree(before, root)
        kind(root / name, random.Random(f"{name} {kind.__name__} {seed}"))
        damaged = {key for key, data in digests(root).items() if digests(before)[key] != data}
        status = attempts(root)["status"]
        trial = f"{name}: {kind.__name__} {seed}"
        if status in _NOTICED:
            noticed += 1
        elif status != 0:
            broken.append(f"{trial}: exit {status}\n{log_of(root)[-400:]}")
        elif _others(digests(root), damaged) != _others(straight, damaged):
            silent.append(trial)
        shutil.rmtree(root)
        (tmp_path / "run.log").unlink(missing_ok=True)
    print(f"{noticed} noticed of {len(list(_trials(names)))} trials on {len(names)} files")
    assert (silent, broken) == ([], [])


def _others(contents: dict[str, bytes], damaged: set[str]) -> dict[str, bytes]:
    return {name: data for name, data in contents.items() if name not in damaged}
