"""What the names of folders say: which hold images, which masks, which stand for a split."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from s4al.data.layouts.splits import ALIASES, ANY_ALIAS
from s4al.errors import DataError

# In lower case. SegmentationClassAug, SegmentationObject and the like are not read unless data.masks says so.
IMAGE_WORD = re.compile(r"images?|imgs?|img_dir|jpegimages|leftimg8bit|photos?|pictures?|rgb|frames|sat")
MASK_WORD = re.compile(
    r"masks?|labels?|label(train)?ids|lbls?|annot(s|ations?)?|ann_dir|gts?|gtfine|ground_?truth|segs?|segmaps?"
    r"|segmentations?|segmentationclass(png)?|semantics?"
)
LOOKED_FOR = (
    "<split>/images/* <split>/masks/*, or images/<split>/* masks/<split>/*, or images/* masks/*, or a.jpg beside "
    "a_mask.png, or CamVid, Cityscapes, Pascal VOC or COCO; masks in folders named masks, labels, annotations, gt, "
    "seg, segmentation, SegmentationClass or <split>_labels"
)

_FRONT = re.compile(r"(?:(\d+)|split|(?:data)?set|data)([_\-. ]+)(?=.)")
_FIRST = re.compile(rf"({ANY_ALIAS})([_\-. ]?)(.*)")
_LAST = re.compile(rf"(.*?)([_\-. ]?)({ANY_ALIAS})")
_SPLIT_ALONE = re.compile(r"|(data)?set|data|split|\d+")
_X_AND_Y = {"x": "images", "y": "masks"}  # beside a split's name: x_train y_train
# Words in a folder's name that leave open what it holds: images_png, 5_Labels_all, masks_machine
_SAY_NOTHING = re.compile(
    r"all|bmp|class|data|dir|files|folder|jpe?g|machine|orig(inal)?|ortho|png|raw|semantic|set|tiff?"
)


@dataclass(frozen=True)
class Role:
    """What one folder's name says; `text` is the name with {split} in the place of the split's."""

    kind: str = ""  # images, masks or ""
    split: str = ""
    text: str = ""
    alias: str = ""


def role_of(name: str, *, loose: bool = False) -> Role | None:
    """Read a folder's name, in any case. None where it says nothing.

    Parameters
    ----------
    loose : whether there may be words that say nothing beside one that does: images_png, 5_Labels_all.
    """
    if kind := _kind(name.lower(), loose):
        return Role(kind, text=name)
    if role := _role_with_split(name, loose):
        return role
    front = _FRONT.match(name.lower())
    role = _role_with_split(name[front.end() :], loose) if front else None
    if front is None or role is None:
        return None
    number = "*" if front[1] else name[: front.start(2)]  # 01_train 02_val: another one for each split
    return replace(role, text=f"{number}{front[2]}{role.text}")


def _role_with_split(name: str, loose: bool) -> Role | None:
    lower = name.lower()
    if found := _FIRST.fullmatch(lower):
        kind = _kind(found[3], loose) or (_X_AND_Y.get(found[3], "") if found[2] else "")
        if kind or _SPLIT_ALONE.fullmatch(found[3]):
            return Role(kind, ALIASES[found[1]], "{split}" + name[len(found[1]) :], name[: len(found[1])])
    if found := _LAST.fullmatch(lower):
        length = len(found[3])
        if kind := _kind(found[1], loose) or (_X_AND_Y.get(found[1], "") if found[2] else ""):
            return Role(kind, ALIASES[found[3]], name[:-length] + "{split}", name[-length:])
    return None


def _kind(word: str, loose: bool) -> str:
    kind = "images" if IMAGE_WORD.fullmatch(word) else "masks" if MASK_WORD.fullmatch(word) else ""
    if kind or not loose:
        return kind
    telling = [part for part in re.split(r"[_\-. \d]+", word) if part and not _SAY_NOTHING.fullmatch(part)]
    kinds = {_kind(part, False) for part in telling}
    return kinds.pop() if len(kinds) == 1 else ""


@dataclass
class Group:
    """Pictures whose folders have the same roles in the same order, whatever other folders stand between them."""

    kind: str
    roles: tuple[str, ...]
    names: list[str] = field(default_factory=list)
    runs: list[set[tuple[str, ...]]] = field(default_factory=list)  # other folders in front of each role, and behind
    aliases: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, name: str, runs: list[tuple[str, ...]], split: str, alias: str) -> None:
        self.names.append(name)
        self.runs = self.runs or [set() for _ in runs]
        for seen, run in zip(self.runs, runs, strict=True):
            seen.add(run)
        if split:
            self.aliases[split].add(alias)

    def bases(self) -> list[str]:
        """The folder part of a pattern for these pictures, with a slash at its end: one way to say it, or several.

        Folders that differ are part of the id. Those that all pictures have in front of a role, or behind the last, may
        be or not.
        """
        spelled = wild = ""
        for run, role in zip(self.runs, self.roles, strict=False):
            spelled += (_literal(next(iter(run))) if len(run) == 1 else "**/") + f"{role}/"
            wild += ("" if run == {()} else "**/") + f"{role}/"
        return [f"{front}{end}" for front in dict.fromkeys((spelled, wild)) for end in self._ends()]

    def _ends(self) -> list[str]:
        behind = self.runs[-1]
        if behind == {()}:
            return [""]
        shared = shared_parts(behind)
        deeper = "" if behind == {shared} else "**/"
        return [_literal(shared) + deeper] + (["**/"] if shared else [])


def shared_parts(paths: Collection[Sequence[str]]) -> tuple[str, ...]:
    """The parts that all these paths begin with."""
    in_order = sorted(tuple(path) for path in paths)
    first, last = (in_order[0], in_order[-1]) if in_order else ((), ())
    differ = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return tuple(first[: next(differ, min(len(first), len(last)))])


def _literal(folders: Iterable[str]) -> str:
    return "".join(f"{literal_part(part)}/" for part in folders)


def literal_part(name: str) -> str:
    """A folder's name in a pattern: as it is, or * where it holds what patterns have a meaning for."""
    return "*" if set("*{}") & set(name) else name


def base_of(names: Collection[str]) -> str:
    """The folders that all these files are in, with a slash at the end, and ** where they are in several below."""
    folders = {tuple(name.split("/")[:-1]) for name in names}
    shared = shared_parts(folders)
    return _literal(shared) + ("" if folders == {shared} else "**/")


def group_folders(names: Iterable[str], skip: int, *, loose: bool = False) -> list[Group]:
    """Group pictures by the roles of their folders; the first `skip` folders of all have none. `loose` as `role_of`.

    Raises DataError where two folders stand for one split in the same place.
    """
    groups: dict[tuple[str, tuple[str, ...]], Group] = {}
    memory: dict[str, tuple[str, tuple[str, ...], list[tuple[str, ...]], str, str]] = {}
    for name in names:
        folder = name.rpartition("/")[0]
        if folder not in memory:
            memory[folder] = _read_folder(tuple(folder.split("/")) if folder else (), skip, loose)
        kind, roles, runs, split, alias = memory[folder]
        groups.setdefault((kind, roles), Group(kind, roles)).add(name, runs, split, alias)
    for group in groups.values():
        _one_alias(group)
    return list(groups.values())


def _read_folder(
    parts: tuple[str, ...], skip: int, loose: bool
) -> tuple[str, tuple[str, ...], list[tuple[str, ...]], str, str]:
    kind = split = alias = ""
    roles: list[str] = []
    runs: list[tuple[str, ...]] = []
    run = list(parts[:skip])
    for part in parts[skip:]:
        role = role_of(part, loose=loose)
        if role is None or not ((role.kind and not kind) or (role.split and not split)) or (role.split and split):
            run.append(part)
            continue
        kind, split, alias = kind or role.kind, split or role.split, alias or role.alias
        roles.append(role.text)
        runs.append(tuple(run))
        run = []
    if not roles and len(run) > skip:  # a folder of no known name is a group of its own
        return "", (literal_part(run[skip]),), [tuple(run[:skip]), tuple(run[skip + 1 :])], "", ""
    return kind, tuple(roles), [*runs, tuple(run)], split, alias


def _one_alias(group: Group) -> None:
    for split, aliases in group.aliases.items():
        if len(aliases) > 1:
            first, second = sorted(aliases)[:2]
            what = f"{first!r} and {second!r} both stand for the {split} split, in {'/'.join(group.roles)}."
            raise DataError(what, remedy="Rename one of them, or put their files together.")
