"""Results of benchmarks as JSON, with what one needs to judge them: command, machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from s4al.files import write_json

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
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "gpu": _gpu(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _cpu() -> str:
    """The processor's name, and its widest vectors: they matter more here than the clock."""
    try:
        about = Path("/proc/cpuinfo").read_text()
    except FileNotFoundError:  # not Linux
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in about.split("\n\n")[0].splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    vectors = next((f" ({flag})" for flag in ("avx512f", "avx2") if flag in flags), "")
    return fields.get("model name", platform.machine()) + vectors


def _gpu() -> str | None:
    """The first CUDA device, by torch."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _version(package: str) -> str | None:
    for distribution in (package, f"{package}-gpu"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


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
