"""The export stage on a run with the paper's network, whose weights are as they were initialised."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest
import torch

from s4al import files
from s4al.errors import EngineError, RunStateError
from s4al.export import CycleNetworks, stage
from s4al.export.stage import export_cycle, export_file
from s4al.run.state import Run
from s4al.scorer import EngineRequest, score_cycle
from s4al.scorer.engines.model_card import read_model
from s4al.trainer.checkpoint import Meta, save_checkpoint
from s4al.trainer.networks.build import build_network
from s4al.watch import Watch
from tests.small_models import small_model
from tests.tiny import labelled_run


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained, not exported."""
    run, _, _ = labelled_run(tmp_path_factory.mktemp("master") / "run")
    torch.manual_seed(0)
    network = build_network(run.config.model, len(run.class_names))
    with torch.no_grad():
        network.train()
        for _ in range(20):
            network(torch.randn(8, 3, 48, 64))  # settles the statistics of batch norm
        network.class_head[-1].weight *= 20  # logits as far apart as those of a trained network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with run.commit(0, "train") as folder:
        save_checkpoint(folder, {"model": network}, optimizer, Meta(6, 6, len(run.class_names), 0), keep=1)
    return run.root


@pytest.fixture(scope="module")
def exported(master: Path) -> Run:
    run = Run.open(master)
    export_cycle(run, 0, watch=Watch())
    return run


@pytest.fixture
def run(master: Path, tmp_path: Path) -> Run:
    """A copy without the export."""
    shutil.copytree(master, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "cycles" / "000" / "export", ignore_errors=True)
    return Run.open(tmp_path / "run")


def test_the_stage_holds_the_model_and_the_parity_report(exported: Run) -> None:
    folder = exported.read_stage(0, "export")
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.onnx", "parity.json"]
    _, card = read_model(folder / "model.onnx")
    train = files.read_manifest(exported.stage(0, "train"))
    assert card.class_names == tuple(exported.class_names)
    assert card.grid == exported.grid
    assert card.run == train["config"]
    assert card.weights_sha256 == train["files"]["step-000006/model.safetensors"]["sha256"]
    parity = json.loads((folder / "parity.json").read_bytes())
    assert parity["measured"]["images"] == 2
    assert parity["measured"]["max_entropy_error"] < 1e-3
    assert parity["measured"]["label_agreement"] > 0.999


def test_the_papers_network_is_exported_without_its_representation_head(exported: Run) -> None:
    model = (exported.stage(0, "export") / "model.onnx").read_bytes()
    assert b"representation" not in model
    types = [node.op_type for node in onnx.load_from_string(model).graph.node]
    assert set(types) <= {
        *("Cast", "Transpose", "Sub", "Mul", "Conv", "Clip", "Relu", "Add", "Concat", "Resize"),
        *("ReduceMean", "Expand", "Shape"),
    }
    assert types.count("Conv") == 60


def test_exporting_again_changes_nothing(exported: Run) -> None:
    before = files.manifest_digest(exported.stage(0, "export"))
    assert export_cycle(exported, 0, watch=Watch()) == exported.stage(0, "export") / "model.onnx"
    assert files.manifest_digest(exported.stage(0, "export")) == before


def test_a_model_that_disagrees_is_not_committed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = small_model(tuple(run.class_names))
    monkeypatch.setattr(stage, "export_onnx", lambda *_: other)
    with pytest.raises(EngineError, match="disagrees with the trained network on 2 images") as caught:
        export_cycle(run, 0, watch=Watch())
    assert caught.value.exit_code == 6
    assert not run.stage(0, "export").exists()
    assert not list(run.root.rglob(f"{files.TEMPORARY}*"))


def test_both_engines_score_the_pool_alike(exported: Run, tmp_path: Path) -> None:
    scores = {}
    for engine in ("ort", "torch"):
        shutil.copytree(exported.root, tmp_path / engine)
        run = Run.open(tmp_path / engine)
        request = EngineRequest(engine, networks=CycleNetworks(exported, 0))  # type: ignore[arg-type]
        result = score_cycle(run, 0, request, watch=Watch())
        assert result.engine == engine
        scores[engine] = files.read_table(result.out / "shard-00000.parquet")["entropy"].to_numpy()
    assert abs(scores["ort"] - scores["torch"]).max() < 1e-3


def test_a_file_in_half_precision_passes_the_same_gate(exported: Run, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "model.onnx"
    result = export_file(exported, 0, precision="fp16", out=out, watch=Watch())
    assert result.path == out
    assert result.bytes == out.stat().st_size < 0.6 * (exported.stage(0, "export") / "model.onnx").stat().st_size
    assert 0 < result.parity.max_entropy_error < 2e-3
    read_model(out)


def test_a_file_in_full_precision_is_the_committed_model(exported: Run, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    export_file(exported, 0, precision="fp32", out=out, watch=Watch())
    assert out.read_bytes() == (exported.stage(0, "export") / "model.onnx").read_bytes()


def test_untrained_cycles_are_refused(exported: Run, tmp_path: Path) -> None:
    with pytest.raises(RunStateError, match="Cycle 1 has no train yet"):
        export_cycle(exported, 1, watch=Watch())
    assert not list(tmp_path.iterdir())
