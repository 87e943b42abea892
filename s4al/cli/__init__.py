"""The command line: typer commands, rich views, signals. Everything heavy is imported inside the commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    from s4al.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
