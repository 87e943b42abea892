"""What a format is given to write, what it is given to read, and what it says about itself.

A tool is shown *pictures*: crops around one asked region each (`crop`), or whole images with all their asked regions
(`full`). A format knows pictures, class names and label maps; it knows neither runs nor answers. Label maps are uint8
(H, W) of a picture's size: class ids, `UNPAINTED` where nothing was painted.

    s4al label export: Export -> Format.write -> a folder, or the same as a zip archive
    s4al label import: Source -> Format.read -> Reading.add, once for every picture that came back

What a format needs of the rest is named here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from s4al.annotate.exchange.export import Export as Export
from s4al.annotate.exchange.pictures import UNPAINTED as UNPAINTED
from s4al.annotate.exchange.pictures import Mode as Mode
from s4al.annotate.exchange.pictures import NotOurs as NotOurs
from s4al.annotate.exchange.pictures import Part as Part
from s4al.annotate.exchange.pictures import Picture as Picture
from s4al.annotate.exchange.pictures import Unusable as Unusable
from s4al.annotate.exchange.reading import Reading as Reading
from s4al.annotate.exchange.source import Source as Source


@dataclass(frozen=True)
class Format:
    """One way to write questions and to read answers.

    Attributes
    ----------
    name : as `--format` has it.
    title : what the format is called where it comes from.
    write : fills an empty folder; shared code has made it and turns it into an archive where one is wanted. Returns
        sentences that a person should read: what the format loses here, and how to load it into the tool.
    read : calls `Reading.add` for every picture that came back; see `Reading`.
    recognises : whether a source is of this format, by its names and the beginnings of its files.
    keeps_guesses_apart : whether the tool can tell a network's guess from a person's answer. Where it cannot, a guess
        is written only on request: one that comes back unseen must not be taken for an answer.
    """

    name: str
    title: str
    write: Callable[[Export, Path], list[str]]
    read: Callable[[Source, Reading], None]
    recognises: Callable[[Source], bool]
    keeps_guesses_apart: bool = False
