"""`s4al doctor`: exit 0 where the CPU path works, 6 and the cost where something it needs is missing or broken."""

from __future__ import annotations

import importlib
import importlib.metadata
import json

import pytest

from s4al.cli.app import run


def _examined(capsys: pytest.CaptureFixture[str]) -> dict[str, dict]:
    return {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}


def test_this_machine_is_able(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    checks = _examined(capsys)
    assert checks["torch"]["ok"] and checks["onnxruntime"]["ok"] and checks["python"]["ok"]
    assert checks.keys() >= {"cores", "memory", "free disk here", "cache folder", "GPU", "tensorrt", "cupy-cuda13x"}
    assert all(check["ok"] or check["cost"] for check in checks.values())


def test_the_table_says_that_it_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("This machine runs s4al.")


@pytest.mark.parametrize("problem", [ImportError("no module"), OSError("libcudart.so.13: cannot open shared object")])
def test_a_library_that_does_not_load(
    problem: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.import_module

    def broken(name: str):
        if name == "onnxruntime":
            raise problem
        return real(name)

    monkeypatch.setattr(importlib, "import_module", broken)
    assert run(["doctor", "--json"]) == 6
    check = _examined(capsys)["onnxruntime"]
    assert not check["ok"]
    assert str(problem) in check["found"]


def test_a_package_that_is_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "pyarrow":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert run(["doctor"]) == 6
    out = capsys.readouterr().out
    assert "MISSING" in out
    assert "no tables, so no runs" in out


def test_missing_accelerators_are_no_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(["doctor", "--json"]) == 0
    gpu = _examined(capsys)["GPU"]
    assert (gpu["ok"], gpu["needed"], gpu["found"]) == (False, False, "no CUDA device")
