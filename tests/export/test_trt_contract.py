"""Every attribute that the adapter touches exists in the real bindings of TensorRT 10 and 11, and in TensorRT for RTX.

The bindings are wheels of a megabyte; the libraries that they link are gigabytes and need a driver. Empty libraries of
the same names let the bindings load, with every class and enumeration, none of which can be used.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from s4al.scorer.engines.trt_adapter import PROBED, USED

_HERE = Path(__file__).resolve().parent
_UNREACHABLE = (  # what uv says then
    "error sending request",
    "dns error",
    "failed to fetch",
    "failed to download",
    "error decoding response",
    "connection reset",
    "timed out",
)
_FUNCTIONS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getBuilderPluginRegistry"),
    *("getPluginRegistry", "getNvOnnxParserVersion", "initLibNvInferPlugins"),
)
_CHECK = """
import importlib, json, sys
from s4al.scorer.engines.trt_adapter import PROBED, USED, TensorRt
module = importlib.import_module(sys.argv[1])
module.__name__ = sys.argv[2]

def missing(table):
    return [f"{kind}.{name}" for kind, names in table.items() for name in names
            if not hasattr(getattr(module, kind, None), name)]

trt = TensorRt(module)
print(json.dumps({"version": module.__version__, "used": missing(USED), "probed": missing(PROBED),
                  "refits": trt.refits, "bases": [base.__name__ for base in type(trt._log).__mro__[:2]]}))
"""


def examine(module: str, name: str, **environment: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", _CHECK, module, name],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=_HERE.parents[1],
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def install(requirements: Path, target: Path) -> None:
    """Skips the test where the package index cannot be reached."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, "--target", str(target)]
    try:
        done = subprocess.run(
            [*command, "--no-deps", "--require-hashes", "--requirement", str(requirements)],
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the package index is too slow")
    if done.returncode != 0 and any(sign in done.stderr.lower() for sign in _UNREACHABLE):
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def make_empty_libraries(major: str, folder: Path) -> None:
    compiler = next((found for name in ("cc", "gcc", "g++", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        pytest.skip("there is no C compiler to make empty libraries with")
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _FUNCTIONS))
    for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        soname = f"lib{library}.so.{major}"
        command = [compiler, "-x", "c", "-shared", "-fPIC", f"-Wl,-soname,{soname}"]
        subprocess.run([*command, str(source), "-o", str(folder / soname)], check=True, capture_output=True, timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="the wheels and the empty libraries are made for Linux")
@pytest.mark.parametrize("major", ["10", "11"])
def test_the_adapter_finds_all_it_touches_in_tensorrt(major: str, tmp_path: Path) -> None:
    install(_HERE / f"tensorrt-{major}.txt", tmp_path / "wheel")
    make_empty_libraries(major, tmp_path)
    paths = os.pathsep.join([str(tmp_path / "wheel"), *filter(None, [os.environ.get("PYTHONPATH")])])
    found = examine("tensorrt_bindings", "tensorrt", PYTHONPATH=paths, LD_LIBRARY_PATH=str(tmp_path))
    assert found["version"].startswith(f"{major}.")
    assert found["used"] == []
    # What is probed for tells the two kinds apart: TensorRT has only the means to configure a context.
    both = {"ICudaEngine.create_runtime_config"}
    assert set(found["probed"]) == {f"{kind}.{name}" for kind, names in PROBED.items() for name in names} - both
    assert found["refits"]
    assert found["bases"] == ["Log", "ILogger"]


def test_the_adapter_finds_all_it_touches_in_tensorrt_for_rtx() -> None:
    pytest.importorskip("tensorrt_rtx")
    found = examine("tensorrt_rtx", "tensorrt_rtx")
    assert (found["used"], found["probed"], found["refits"]) == ([], [], False)


def test_the_tables_are_not_empty() -> None:
    assert sum(map(len, USED.values())) > 30 > sum(map(len, PROBED.values())) > 5
