"""People label a part of what is asked, leave some out, and go on with what there is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from s4al import files
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.cli.app import run as s4al
from s4al.run.asking import read_questions
from s4al.run.state import Run
from tests.cli.test_any_folder import SMALL, picture, save

SIZE = (64, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mine")
    for seed in range(4):
        save(root / f"room {seed}.png", picture(seed, *SIZE)[0])
    return root


def answer(store: AnswerStore, number: int, annotator: str = "ann") -> None:
    query = store.round.query(number)
    box = picture(int(query.image.split()[-1]), *SIZE)[1]
    store.save(query, box[query.box].astype(np.uint8), annotator=annotator, seconds=2.5, tool="page")


@pytest.mark.slow
def test_what_is_there_is_taken_and_the_rest_may_be_asked_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    command = ["train", str(root), "--data", str(folder), "data.oracle=people", *SMALL, "data.classes=wall,box"]
    command += ["run.cycles=2", "data.test_regions=0", "acquisition.regions_per_image=1"]
    assert s4al(command) == 3
    store = AnswerStore(Round.open(Run.open(root)))
    asked = [(query.image, query.region) for query in store.round.queries]
    last = len(asked) - 1
    for number in range(1, last):
        answer(store, number)
    answer(store, 1, "bob")
    store.skip(store.round.query(0), annotator="ann", seconds=3, tool="page")
    capsys.readouterr()

    assert s4al(command) == 3  # answers are kept, and counted
    said = capsys.readouterr().err
    assert f"Cycle 0 waits for people: {last - 1} of {last + 1} regions answered, 1 skipped, 1 left." in said
    assert f"s4al label finish {root}" in said
    assert store.progress().answered == last - 1

    assert s4al(["label", "finish", str(root)]) == 0
    assert "2 regions to the pool" in capsys.readouterr().out
    assert s4al([*command, "--json"]) == 3  # trained, and asks for the next
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["what"].startswith("Cycle 1 waits for people: 0 of 4")
    run = Run.open(root)
    labelled = {(region.image, region.region) for region in run.labelled_regions(0)}
    assert labelled == set(asked[1:last])
    score = [files.read_table(path).to_pylist() for path in run.stage(0, "score").glob("shard-*.parquet")]
    rows = {(row["image"], row["region"]): row for shard in score for row in shard}
    assert all(rows[cell]["labelled"] for cell in labelled)
    assert not any(rows[cell]["labelled"] for cell in (asked[0], asked[last]))
    assert not labelled & {(region.image, region.region) for region in read_questions(run, 1)}

    store = AnswerStore(Round.open(run))
    for query in store.round.queries:
        store.skip(query, annotator="bob", seconds=1, tool="page")
    assert s4al([*command, "--json"]) == 0  # all left out: nothing new, and it goes on
    cycles = json.loads(capsys.readouterr().out)["cycles"]
    assert [row["regions"] for row in cycles] == [last - 1, last - 1]
    assert [row["seconds"] for row in cycles] == [2.5 * last] * 2  # of both who answered, skips cost nothing
    people = {row["annotator"]: (row["regions"], row["seconds"]) for row in cycles[1]["people"]["annotators"]}
    assert people == {"ann": (last - 1, 2.5 * (last - 1)), "bob": (1, 2.5)}
    assert cycles[1]["people"]["agreement"]["pixel_agreement"] == 1.0
    assert not list(root.glob("cycles/*/.work-labels"))
    assert s4al(["status", str(root)]) == 0
    shown = capsys.readouterr().out
    assert "Two people labelled 1 region" in shown and "bob" in shown
