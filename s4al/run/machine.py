"""The machine and the versions that a run was made with: what one needs to repeat it, or to judge its times."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from s4al import __version__

PACKAGES = ("torch", "numpy", "numba", "onnxruntime", "pillow", "pyarrow")
_GPUS = Path("/proc/driver/nvidia/gpus")


def describe_machine(packages: tuple[str, ...] = PACKAGES) -> dict[str, Any]:
    """`{"cpu", "cores", "gpus", "memory_gib", "system", "python", "s4al", "versions"}`; it names no host and no user.

    Nothing heavy is imported: GPUs are those that the driver lists under /proc.
    """
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "gpus": _gpu_names(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "s4al": __version__,
        "versions": {package: package_version(package) for package in packages},
    }


def cpu_name() -> str:
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


def package_version(package: str) -> str | None:
    """Of an installed package or its build for GPUs, None where there is neither."""
    for distribution in (package, f"{package}-gpu"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def peak_mib() -> int:
    """The most memory that this process has had at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)


def _gpu_names() -> list[str]:
    names = []
    for about in sorted(_GPUS.glob("*/information")):
        lines = dict(line.split(":", 1) for line in about.read_text(errors="replace").splitlines() if ":" in line)
        names.append(lines.get("Model", "unknown").strip())
    return names
