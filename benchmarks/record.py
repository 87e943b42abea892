"""Results of benchmarks as JSON, with what one needs to judge them: command, machine, versions, commit."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from s4al.files import write_json
from s4al.run.machine import describe_machine

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "numba", "onnxruntime", "cupy-cuda13x")


def record(name: str, results: dict[str, Any], folder: Path | None = None) -> Path:
    """Write <name>.json into `folder`, benchmarks/results if not given, whole or not at all; its path.

    The file names no host and no folder.
    """
    path = (folder or RESULTS) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "benchmark": name,
        "command": _command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "commit": _commit(),
        "results": results,
    }
    write_json(path, about)
    return path


def _command() -> str:
    """As typed, with folders left out of absolute paths."""
    arguments = [Path(word).name if Path(word).is_absolute() else word for word in sys.orig_argv[1:]]
    return " ".join(["python", *arguments])


def _machine() -> dict[str, Any]:
    about = describe_machine(PACKAGES)
    kept = {key: about[key] for key in ("cpu", "cores", "memory_gib", "python", "versions")}
    return {**kept, "gpu": _gpu()}


def _gpu() -> str | None:
    """The first CUDA device, by torch."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _commit() -> str | None:
    """The commit's hash, with -dirty where tracked files were changed; None outside a repository or before a commit."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=RESULTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None
