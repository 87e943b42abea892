"""Starting is cheap: what a room does not need, importing it does not load."""

from __future__ import annotations

import subprocess
import sys
from graphlib import TopologicalSorter

import grimp
import pytest

HEAVY = ("cupy", "lightning_fabric", "matplotlib", "numba", "onnx", "onnxruntime", "pyarrow", "tensorboard", "torch")


def _loaded(code: str) -> set[str]:
    """Top-level modules that are loaded after `code` has run in a fresh interpreter."""
    script = f"import sys\n{code}\nprint('\\n' + ' '.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "module",
    ["s4al", "s4al.scorer", "s4al.export", "s4al.kernels", "s4al.run.state", "s4al.data", "s4al.report", "s4al.cli"],
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    loaded = _loaded(f"import {module}")
    assert "s4al" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["train", "--help"], ["train"], ["presets"]], ids=" ".join
)
def test_answers_that_need_nothing_load_nothing_heavy(arguments: list[str]) -> None:
    loaded = _loaded(f"from s4al.cli.app import run\nrun({arguments!r})")
    assert "typer" in loaded
    assert not loaded & set(HEAVY)


def test_help_does_not_even_load_the_configuration() -> None:
    assert not _loaded("from s4al.cli.app import run\nrun(['--help'])") & {"pydantic", "numpy", "PIL"}


def test_a_machine_without_tensorrt_is_told_so_before_torch_is_loaded() -> None:
    code = """
from pathlib import Path
from s4al.errors import EngineError
from s4al.export import CycleNetworks
from s4al.run.state import Run
from s4al.watch import Watch
try:
    networks = CycleNetworks(Run(Path('nowhere'), None), 0)
    networks.open_trt(device='cuda:99', batch_size=1, threads=1, watch=Watch())
except EngineError as error:
    assert error.what.startswith('TensorRT cannot be used here.')
else:
    raise AssertionError('not refused')
"""
    assert "torch" not in _loaded(code)


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Imports for types only and inside functions count too: a reader who follows them goes round as well."""
    graph = grimp.build_graph("s4al", cache_dir=None)
    assert len(graph.modules) > 100
    TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()
