"""What a command shows: bars while it works, and one answer at its end, for people or as JSON."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from rich.console import Console

from s4al import files
from s4al.cli.messages import last_words, main_process
from s4al.watch import Watch


@contextlib.contextmanager
def watching(as_json: bool) -> Iterator[Watch]:
    """A watch with bars and signals. Under torchrun only rank 0 shows anything; all ranks stop."""
    from s4al.cli.progress import RichWatch
    from s4al.cli.signals import stopping

    if not main_process():
        watch = Watch()
        with stopping(watch, lambda code: None):
            yield watch
        return
    with RichWatch() as watch, stopping(watch, partial(last_words, as_json=as_json)):
        yield watch


def answer(result: dict[str, Any], show: Callable[[Console, dict[str, Any]], None], as_json: bool) -> None:
    if not main_process():
        return
    if as_json:
        print(json.dumps(files.finite(result), allow_nan=False))
    else:
        show(Console(highlight=False), result)
