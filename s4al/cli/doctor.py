"""`s4al doctor`: what this machine has, and what the lack of it costs."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s4al import __version__
from s4al.errors import DataError, EngineError
from s4al.packaged_weights import INSTALL, PACKAGED
from s4al.text import visible

_GIB = 2**30
_LEAST_DISK = 2 * _GIB
_LEAST_MEMORY = 4 * _GIB
# Packages without which the CPU path does not work, and what their lack means.
_NEEDED = {
    "lightning-fabric": "no training",
    "torchvision": "no networks",
    "onnx": "no export",
    "onnxscript": "no export",
    "numba": "no region scores",
    "pyarrow": "no tables, so no runs",
    "safetensors": "no checkpoints",
    "pillow": "no images",
}


@dataclass(frozen=True)
class Check:
    """One line of the examination. `needed`: without it the CPU path does not work. `cost`: what its lack means."""

    name: str
    ok: bool
    found: str
    needed: bool = False
    cost: str = ""


def examine() -> dict[str, Any]:
    """What `s4al doctor --json` prints: `{"ok", "checks": [...]}`; `ok` when all that the CPU path needs is there."""
    checks = [*_machine(), *_libraries(), *_weights(), *_accelerators()]
    return {"ok": all(check.ok for check in checks if check.needed), "checks": [asdict(check) for check in checks]}


def show(console: Console, result: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "Part", "Found", "Without it"):
        table.add_column(column, overflow="fold")
    for check in result["checks"]:
        mark = (
            Text("ok", "green")
            if check["ok"]
            else Text("MISSING", "bold red")
            if check["needed"]
            else Text("no", "yellow")
        )
        table.add_row(mark, check["name"], Text(visible(check["found"])), "" if check["ok"] else check["cost"])
    console.print(table)
    verdict = "This machine runs s4al." if result["ok"] else "s4al does not work here: see what is MISSING."
    console.print(Text(f"\n{verdict}", "bold green" if result["ok"] else "bold red"))


def _machine() -> Iterator[Check]:
    version = platform.python_version()
    yield Check(
        "python",
        sys.version_info >= (3, 11),
        f"{version} on {platform.system()} {platform.machine()}",
        True,
        "nothing works",
    )
    yield Check("s4al", True, __version__, True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check("cores", cores >= 2, str(cores), cost="decoding and scoring take turns")
    memory = _memory_bytes()
    yield Check("memory", memory >= _LEAST_MEMORY, f"{memory / _GIB:.1f} GiB", cost="large networks may not fit")
    free = shutil.disk_usage(Path.cwd()).free
    yield Check(
        "free disk here", free >= _LEAST_DISK, f"{free / _GIB:.1f} GiB", cost="a run of CamVid takes about 1 GiB"
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    writable = _is_writable(cache)
    yield Check("cache folder", writable, str(cache), cost="weights and compiled kernels are made anew each time")


def _libraries() -> Iterator[Check]:
    for name, cost in _NEEDED.items():
        yield _installed(name, cost, needed=True)
    torch, problem = _try_import("torch")
    yield Check("torch", torch is not None, torch.__version__ if torch else problem, True, "no training, no export")
    runtime, problem = _try_import("onnxruntime")
    found = runtime.__version__ if runtime else problem
    yield Check("onnxruntime", runtime is not None, found, True, "scoring only with torch, half as fast")


def _weights() -> Iterator[Check]:
    """Which ImageNet weights are at hand, and whole: what `model.weights=imagenet` needs no download for."""
    for backbone, packaged in PACKAGED.items():
        name = f"weights {backbone}"
        try:
            packaged.read()
            yield Check(name, True, packaged.distribution, cost=INSTALL)
        except DataError as error:
            yield Check(name, False, error.what, cost=INSTALL)


def _accelerators() -> Iterator[Check]:
    torch, _ = _try_import("torch")
    cuda = bool(torch and torch.cuda.is_available())
    found = "no CUDA device"
    if torch and cuda:
        found = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    yield Check("GPU", cuda, found, cost="training and scoring run on the CPU")
    runtime, _ = _try_import("onnxruntime")
    usable = [name.removesuffix("ExecutionProvider") for name in (runtime.get_available_providers() if runtime else [])]
    built = f"built with {', '.join(usable)}" if usable else "none"
    yield Check("onnxruntime GPU", cuda and "CUDA" in usable, built, cost="ONNX Runtime scores on the CPU")
    yield from _tensorrt()
    yield _installed("cupy-cuda13x", "region scores are not computed on the GPU")


def _tensorrt() -> Iterator[Check]:
    """Whether `--engine trt` works; loads the libraries as it would."""
    from s4al.scorer.engines.plan_cache import cache_folder, problem_of_cache
    from s4al.scorer.engines.trt_engine import find_trt

    cost = "no TensorRT engine"
    try:
        gpu, libraries, _ = find_trt()
        yield Check("tensorrt", True, f"{libraries[0]} for {gpu.name}", cost=cost)
    except EngineError as error:
        yield Check("tensorrt", False, error.what, cost=cost)
    problem = problem_of_cache()
    yield Check("plan cache", not problem, problem or str(cache_folder() / "plans"), cost=cost)


def _installed(package: str, cost: str, *, needed: bool = False) -> Check:
    try:
        return Check(package, True, importlib.metadata.version(package), needed, cost)
    except importlib.metadata.PackageNotFoundError:
        return Check(package, False, "not installed", needed, cost)


def _try_import(name: str) -> tuple[ModuleType | None, str]:
    """A module, or why it cannot be loaded: a broken driver or library shows here as an OSError."""
    try:
        return importlib.import_module(name), ""
    except (ImportError, OSError) as error:
        return None, f"cannot be loaded: {error}"


def _memory_bytes() -> int:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")  # of a container
    text = limit.read_text().strip() if limit.is_file() else "max"
    return physical if text == "max" else min(physical, int(text))


def _is_writable(folder: Path) -> bool:
    """Whether the folder, or the first one above it that exists, can be written to."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(existing, os.W_OK | os.X_OK)
