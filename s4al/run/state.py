"""A run on disk: which stages of which cycles are committed, what is labelled, what the labels have cost.

    RUN/run.toml  pool.parquet  cache/  logs/  cycles/000/{ask,labels,train,export,pseudo,score,select}/

Everything under `cycles/` is a function of the inputs and comes out byte for byte the same however often the run was
killed. What is not (clock times, TensorBoard events) lives in `logs/`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4al import __version__, files
from s4al.config import Config, changes, dump, fingerprint, load
from s4al.data.regions import Grid
from s4al.errors import ConfigError, RunStateError
from s4al.run.classes import CLASSES_FILE, Classes, read_classes, write_classes
from s4al.run.labels import NOT_LABELLED as NOT_LABELLED
from s4al.run.labels import REGIONS, LabelledRegion, Ledger, labels_folder, reading, write_labels
from s4al.run.machine import peak_mib
from s4al.sealed import Damaged, check_text, seal_text

if TYPE_CHECKING:
    from s4al.data import Pool
    from s4al.data.cache import ImageCache

_WORK = ".work-"  # prefix of folders that hold the finished pieces of an unfinished stage
STAGES = ("labels", "train", "export", "score", "select")
INPUTS = {
    "ask": (),  # where people answer; from the second cycle on, what the cycle before selected
    "labels": (),
    "train": ("labels",),
    "export": ("train",),
    "pseudo": ("export",),
    "score": ("export",),
    "select": ("score",),
}


class Run:
    """An existing run folder. `Run.create` makes one, `Run.open` finds one."""

    def __init__(self, root: Path, config: Config) -> None:
        self.root = root
        self.config = config
        self._manifests: dict[tuple[int, str], dict[str, Any]] = {}

    @classmethod
    def create(cls, root: Path, config: Config) -> Run:
        """Make the folder and write `run.toml`, the mark that it is a run. Raises RunStateError, StorageError."""
        if root.exists() and not (root.is_dir() and all(_is_ours(item.name) for item in root.iterdir())):
            raise RunStateError(f"{root} exists and is not a run.", remedy="Name a new or empty folder.")
        with files.storage_errors(f"creating the run {root}", kept=""):
            root.mkdir(parents=True, exist_ok=True)
            _write_settings(root, config)
        return cls(root, config)

    @classmethod
    def open(cls, root: Path) -> Run:
        """Raises RunStateError where there is no run or its `run.toml` is not the one it was begun with, ConfigError
        where that cannot be read.
        """
        if not cls.exists(root):
            raise RunStateError(
                f"{root} is not a run (it has no run.toml).",
                remedy=f"Start one: s4al train {root} --data DIR, or --preset demo.",
            )
        run = cls(root, _read_settings(root))
        run._check_settings()
        return run

    @staticmethod
    def exists(root: Path) -> bool:
        return (root / "run.toml").is_file()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is committed or answered yet, so that no result depends on the settings."""
        answered = any(self.root.glob(f"cycles/*/{_WORK}labels/*.jsonl"))
        return self.last_cycle("labels") < 0 and not answered

    def _check_settings(self) -> None:
        """What is committed was made with these settings, by the hash that the first manifest has of them."""
        is_comparison = Run.exists(self.root.parent)  # it took its first cycle over from the run it lies in
        if is_comparison or not self.is_committed(0, "labels"):
            return
        if files.read_manifest(self.stage(0, "labels")).get("config") != fingerprint(self.config):
            raise _changed(self.root, "its settings are not those of its first cycle")

    def continued_with(self, given: Config) -> Run:
        """The same run under `given`: machine settings and the number of cycles may differ, all else while it is empty.

        Raises ConfigError.
        """
        different = changes(self.config, given)
        if different and not self.is_empty:
            raise ConfigError(
                f"{self.root} was begun with other settings: {listed(different)}.",
                kept="Nothing was changed.",
                remedy="Put them back, or start a new run.",
            )
        return Run(self.root, given)

    def store_settings(self) -> dict[str, tuple[Any, Any]]:
        """Write this run's settings over those it was begun with, and drop what was read under those.

        Only while it is empty, and with its lock. Returns what changed, `{"section.key": (before, now)}`.
        """
        different = changes(_read_settings(self.root), self.config)
        if different:
            assert self.is_empty, self.root
            with files.storage_errors(f"replacing the settings of {self.root}"):
                self.pool_file.unlink(missing_ok=True)  # first: it is the mark that the rest is there
                for folder in (self.cache, self.scenes, self.root / "cycles", self.logs):
                    shutil.rmtree(folder, ignore_errors=True)
                _write_settings(self.root, self.config)
        return different

    # ------------------------------------------------------------------------------------------------ folders

    @property
    def pool_file(self) -> Path:
        return self.root / "pool.parquet"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def scenes(self) -> Path:
        return self.root / "scenes"

    @property
    def class_names(self) -> list[str]:
        """All that are known by now; a cycle's own may be fewer, see `classes`."""
        return list(self.classes(self.last_cycle("labels")).names)

    @property
    def palette(self) -> NDArray[np.uint8]:
        """uint8 (C, 3), of `class_names`."""
        return self.classes(self.last_cycle("labels")).palette

    def classes(self, cycle: int) -> Classes:
        """Those known when the labels of `cycle` were committed, for which its network is made."""
        for earlier in range(cycle, -1, -1):
            path = self.stage(earlier, "labels") / CLASSES_FILE
            if path.is_file():
                return read_classes(path)
        return read_classes(self.root / CLASSES_FILE)

    @property
    def grid(self) -> Grid:
        data, cells = self.config.data, self.config.acquisition
        return Grid(data.height, data.width, cells.region_height, cells.region_width)

    def cycle(self, cycle: int) -> Path:
        return self.root / "cycles" / f"{cycle:03d}"

    def stage(self, cycle: int, stage: str) -> Path:
        return self.cycle(cycle) / stage

    def is_committed(self, cycle: int, stage: str) -> bool:
        return (self.stage(cycle, stage) / files.MANIFEST).is_file()

    def read_stage(self, cycle: int, stage: str) -> Path:
        """The verified folder of a committed stage. Raises RunStateError where it is not there or damaged."""
        folder = self.stage(cycle, stage)
        if not self.is_committed(cycle, stage):
            raise RunStateError(f"Cycle {cycle} has no {stage} yet.", remedy=f"Run: s4al train {self.root}.")
        files.verify_folder(folder)
        return folder

    def committed_file(self, cycle: int, stage: str, name: str) -> Path:
        """One file of a committed stage, verified; for stages of many files of which few are read.

        Raises RunStateError where it is not there or damaged.
        """
        folder = self.stage(cycle, stage)
        if (cycle, stage) not in self._manifests:
            self._manifests[cycle, stage] = files.read_manifest(folder)
        return files.verify_file(folder, name, self._manifests[cycle, stage])

    def work_folder(self, cycle: int, stage: str) -> Path:
        """Where an unfinished stage keeps finished pieces (checkpoints, shards) so that it can go on from them.

        It is begun anew when the stage's inputs or the configuration are not those it was begun with. What people did
        is never thrown away so, see `answers_folder`.
        """
        assert stage != "labels", "answers_folder"
        folder = self.cycle(cycle) / f"{_WORK}{stage}"
        mark = folder / "about.json"
        about = self.about(cycle, stage)
        if mark.is_file() and json.loads(mark.read_bytes()) != about:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not mark.is_file():
            files.write_json(mark, about)
        return folder

    def answers_folder(self, cycle: int) -> Path:
        """Where people's answers wait until they are committed. It is never begun anew, as a `work_folder` is."""
        return self.cycle(cycle) / f"{_WORK}labels"

    def remove_finished_work(self) -> None:
        """Drop the pieces of stages that are committed, in this run and those inside it: a kill may come in between."""
        work_folders = f"cycles/*/{_WORK}*"
        for work in sorted([*self.root.glob(work_folders), *self.root.glob(f"*/{work_folders}")]):
            if (work.parent / work.name.removeprefix(_WORK) / files.MANIFEST).is_file():
                shutil.rmtree(work)

    def about(self, cycle: int, stage: str, **more: Any) -> dict[str, Any]:
        """What a manifest says besides its files: inputs by digest, configuration hash, code version, seed."""
        inputs = {name: files.manifest_digest(self.stage(cycle, name)) for name in INPUTS[stage]}
        if stage == "train" and cycle > 0:
            inputs["pseudo"] = files.manifest_digest(self.stage(cycle - 1, "pseudo"))
        if stage == "ask" and cycle > 0:
            inputs["select"] = files.manifest_digest(self.stage(cycle - 1, "select"))
        if stage == "labels" and self.is_committed(cycle, "ask"):
            inputs["ask"] = files.manifest_digest(self.stage(cycle, "ask"))
        return {
            "stage": stage,
            "cycle": cycle,
            "inputs": inputs,
            "config": fingerprint(self.config),
            "code": __version__,
            "seed": self.config.run.seed,
            **more,
        }

    @contextlib.contextmanager
    def commit(self, cycle: int, stage: str, **more: Any) -> Iterator[Path]:
        """Yield a temporary folder that becomes the stage's folder. Raises StorageError."""
        self.cycle(cycle).mkdir(parents=True, exist_ok=True)
        with (
            files.storage_errors(f"writing cycle {cycle} {stage} in {self.root}"),
            files.commit_folder(self.stage(cycle, stage), self.about(cycle, stage, **more)) as folder,
        ):
            yield folder

    # ------------------------------------------------------------------------------------------------- labels

    def last_cycle(self, stage: str) -> int:
        """The newest cycle with a committed `stage`, -1 where there is none."""
        done = [
            int(folder.name)
            for folder in (self.root / "cycles").glob("[0-9]*")
            if self.is_committed(int(folder.name), stage)
        ]
        return max(done, default=-1)

    def commit_labels(
        self,
        cycle: int,
        regions: Iterable[LabelledRegion],
        masks: Iterable[tuple[str, NDArray[np.uint8]]],
        classes: Classes | None = None,
        *,
        tests: Iterable[tuple[str, NDArray[np.uint8]]] = (),
        records: Mapping[str, bytes] | None = None,
    ) -> None:
        """Commit what was labelled for `cycle`: only the new regions; earlier cycles keep theirs.

        Parameters
        ----------
        regions : the boxes that were looked at.
        masks : (image id, uint8 (H, W) at original size, `NOT_LABELLED` outside the boxes and on void pixels).
        classes : where people answer, who may have added some; None for those of the cycle before.
        tests : as `masks`, of the regions that are only tested on.
        records : further files, by name: how the labels came about.

        Raises DataError where a class of the cycle before is not among them under its id.
        """
        earlier = self.classes(cycle - 1)
        if classes is not None:
            classes.check_extends(earlier)
        with self.commit(cycle, "labels") as folder:
            palette = (classes or earlier).palette
            write_labels(folder, regions, masks, tests, palette)
            if classes is not None:
                write_classes(folder / CLASSES_FILE, classes)
            for name, content in (records or {}).items():
                (folder / name).write_bytes(content)

    def labelled_regions(self, cycle: int) -> list[LabelledRegion]:
        """All regions labelled up to and including `cycle`, in the order they were asked."""
        regions: list[LabelledRegion] = []
        for earlier in range(cycle + 1):
            with reading(self.stage(earlier, "labels")):
                table = files.read_table(self.committed_file(earlier, "labels", REGIONS))
                regions += [LabelledRegion(**row) for row in table.to_pylist()]
        return regions

    def training_regions(self, cycle: int) -> list[LabelledRegion]:
        """Those of `labelled_regions` that may be learnt from: all but the ones to test with."""
        return [region for region in self.labelled_regions(cycle) if not region.only_tests]

    def test_regions(self, cycle: int) -> list[LabelledRegion]:
        """Those that are only tested on."""
        return [region for region in self.labelled_regions(cycle) if region.only_tests]

    def whole_images(self, regions: Iterable[LabelledRegion]) -> set[str]:
        """The images that are labelled as a whole: from the start, or as the one region that a cell can be."""
        all_of_it = self.grid.num_regions == 1
        return {region.image for region in regions if region.region < 0 or all_of_it}

    def label_mask(self, cycle: int, image: str, *, only_tests: bool = False) -> NDArray[np.uint8]:
        """uint8 (H, W) at original size: what `cycle` added to the labels of an image, `NOT_LABELLED` elsewhere.

        Parameters
        ----------
        only_tests : of the regions to test with, which are in no other mask.
        """
        from s4al.data.masks import read_own_mask

        labels = self.stage(cycle, "labels")
        with reading(labels):
            folder = labels_folder(labels, only_tests).name
            return read_own_mask(self.committed_file(cycle, "labels", f"{folder}/{image}.png"))

    def shown_mask(self, cycle: int, image: str) -> NDArray[np.uint8]:
        """As `label_mask`, to be looked at: not compared with the manifest, which has an entry for every image.

        What shows a few masks of a pool of any size needs no more memory than they do.
        """
        from s4al.data.masks import read_own_mask

        labels = self.stage(cycle, "labels")
        with reading(labels):
            return read_own_mask(files.contained(labels_folder(labels, only_tests=False), f"{image}.png"))

    def pseudo_labels(self, cycle: int) -> ImageCache:
        """The confident predictions of a cycle's network on the images that are not wholly labelled."""
        from s4al.data.cache import ImageCache

        return ImageCache.open(self.stage(cycle, "pseudo"), "masks")

    def ledger(self, cycle: int, pool: Pool) -> Ledger:
        """The cost of all labels up to and including `cycle`."""
        regions = self.labelled_regions(cycle)
        whole = [region for region in regions if region.region < 0]
        train = pool.train
        return Ledger(
            labelled_pixels=sum(region.pixels for region in regions),
            total_pixels=int((train.heights.astype(np.int64) * train.widths).sum()),
            regions=len(regions) - len(whole),
            images=len(whole),
            seconds=float(sum(region.seconds for region in regions)),
        )

    # -------------------------------------------------------------------------------------------- clock times

    def add_seconds(self, cycle: int, stage: str, seconds: float, **figures: Any) -> None:
        """Add to the time a stage has taken over all attempts; not part of any committed folder.

        The peak memory beside it is that of the whole process up to then, its earlier stages included.
        """
        clock = self.clock()
        entry = clock.setdefault(f"{cycle:03d}/{stage}", {"seconds": 0.0})
        entry["seconds"] += seconds
        entry["peak_mib"] = max(entry.get("peak_mib", 0), peak_mib())
        entry.update(figures)
        self.logs.mkdir(exist_ok=True)
        files.write_json(self.logs / "clock.json", clock)

    def clock(self) -> dict[str, dict[str, Any]]:
        """`{"NNN/stage": {"seconds", ...}}`; empty where the file is damaged: a log never stops a run."""
        try:
            clock = json.loads((self.logs / "clock.json").read_bytes())
            return {key: {**entry, "seconds": float(entry["seconds"])} for key, entry in clock.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}


_BEGUN_WITH = "run.toml"


def _write_settings(root: Path, config: Config) -> None:
    files.write_atomic(root / _BEGUN_WITH, seal_text(dump(config)).encode())


def _read_settings(root: Path) -> Config:
    path = root / _BEGUN_WITH
    try:
        check_text(path.read_bytes().decode(errors="replace"))
    except Damaged as error:
        raise _changed(root, str(error)) from error
    return load(path)


def _changed(root: Path, problem: str) -> RunStateError:
    return RunStateError(
        f"{root / _BEGUN_WITH} was changed or damaged since the run began: {problem}.",
        kept="All that is committed is kept.",
        remedy="Put it back as it was, or start a new run; machine settings are given on the command line.",
    )


def listed(different: dict[str, tuple[Any, Any]]) -> str:
    """Changed settings in words."""
    return "; ".join(f"{key} was {old!r}, now {new!r}" for key, (old, new) in different.items())


def _is_ours(name: str) -> bool:
    """Whether a file may lie in a folder where a run was cut off before it had begun."""
    return name == ".lock" or name.startswith(files.TEMPORARY)
