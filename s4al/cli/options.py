"""Arguments and options that many commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; all else goes to stderr.")]
Cycle = Annotated[int | None, typer.Option("--cycle", min=0, metavar="N", help="Which cycle; the newest if not given.")]
Device = Annotated[str, typer.Option("--device", metavar="D", help="auto, cpu, cuda or cuda:N.")]
