"""The rules by which answers of all tools are taken, seen through the simplest format: pictures of class ids."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from s4al import files
from s4al.annotate.exchange import png, sending
from s4al.annotate.exchange.contract import Picture
from s4al.annotate.exchange.manifest import parse_name, recall
from s4al.annotate.exchange.reading import Reading
from s4al.annotate.exchange.receiving import import_answers, save_answers
from s4al.annotate.exchange.sending import export_regions
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.data.masks import write_mask
from s4al.errors import AnswerError, ConfigError, DataError, RunStateError, StorageError
from tests.annotate.rounds import COLOURS, make_round

PALETTE = np.array(COLOURS, np.uint8)


@pytest.fixture
def round(tmp_path: Path) -> Round:
    return make_round(tmp_path)


@pytest.fixture
def store(round: Round) -> AnswerStore:
    return AnswerStore(round)


def _paint(folder: Path, number: int, labels_HW: NDArray[np.uint8]) -> None:
    """Save what somebody painted on the picture of a region."""
    path = next((folder / "labels").glob(f"r001-{number:06d}-*.png"))
    write_mask(path, labels_HW, PALETTE)


def _painted(folder: Path, number: int) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(next((folder / "labels").glob(f"r001-{number:06d}-*.png"))) as picture:
        return np.array(picture)


def _answered(store: AnswerStore) -> list[int]:
    return [query.number for query in store.round.queries if store.first(query) is not None]


def _lines(round: Round) -> int:
    path = round.run.answers_folder(round.cycle) / "answers.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


# --------------------------------------------------------------------------------------------------------- what is sent


@pytest.mark.parametrize("mode", ["crop", "full"])
@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_guesses_make_the_whole_way(mode: Any, suffix: str, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    sent = export_regions(round, store, "png", tmp_path / f"out{suffix}", mode=mode, margin=3, guesses=True)
    assert (sent["regions"], sent["pictures"], sent["guesses"]) == (4, 4 if mode == "crop" else 3, True)
    result = import_answers(round, store, tmp_path / f"out{suffix}", annotator="ann")
    assert (result["saved"], result["open"], result["missing"], result["left_out"]) == (4, 0, 0, [])
    model = files.manifest_digest(round.run.stage(0, "export"))
    for query in round.queries:
        answer, guess = store.first(query), round.guess(query)
        assert answer is not None
        assert guess is not None
        np.testing.assert_array_equal(store.labels(answer), guess)
        assert (answer.annotator, answer.tool, answer.guess) == ("ann", "png", model)


def test_pictures_show_the_regions_of_the_images(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    from PIL import Image

    export_regions(round, store, "png", tmp_path / "out", margin=2)
    with Image.open(next((tmp_path / "out" / "images").glob("r001-000000-*.png"))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), round.image(round.query(0))[8:22, 8:27])


def test_without_a_guess_nothing_is_painted_and_nothing_is_an_answer(
    round: Round, store: AnswerStore, tmp_path: Path
) -> None:
    """A tool that cannot tell a guess from an answer must not be given one unasked."""
    export_regions(round, store, "png", tmp_path / "out")
    assert (_painted(tmp_path / "out", 0) == 255).all()
    result = import_answers(round, store, tmp_path / "out")
    assert (result["saved"], result["open"]) == (0, 4)
    assert _answered(store) == []


def test_only_what_is_open(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    first, second = round.queries[:2]
    store.save(first, np.zeros(first.shape, np.uint8), annotator="ann", seconds=1, tool="page")
    store.skip(second, annotator="ann", seconds=1, tool="page")
    assert export_regions(round, store, "png", tmp_path / "some", only_open=True)["regions"] == 2
    for query in round.queries[2:]:
        store.skip(query, annotator="ann", seconds=1, tool="page")
    with pytest.raises(RunStateError, match="All 4 regions of cycle 1 are answered or skipped"):
        export_regions(round, store, "png", tmp_path / "none", only_open=True)
    assert not (tmp_path / "none").exists()


def test_nothing_is_overwritten_and_no_format_is_guessed(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        export_regions(round, store, "png", tmp_path / "out")
    with pytest.raises(ConfigError, match="no format 'gif'"):
        export_regions(round, store, "gif", tmp_path / "other")


def test_a_disk_that_is_full_leaves_nothing_behind(
    round: Round, store: AnswerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sending, "_pack", full)
    with pytest.raises(StorageError, match="No space left"):
        export_regions(round, store, "png", tmp_path / "sent" / "out.zip")
    assert list((tmp_path / "sent").iterdir()) == []


# ------------------------------------------------------------------------------------- the rules of reading, by number


def test_1_answers_are_matched_by_name_not_by_order(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    export_regions(round, store, "png", tmp_path / "out", margin=0)
    folder = tmp_path / "out"
    _paint(folder, 2, np.full((7, 9), 1, np.uint8))
    for path in list((folder / "labels").glob("*.png")):
        if parse_name(path.name) != ("r001-000002", path.stem[-8:]):
            path.unlink()
    next((folder / "labels").iterdir()).rename(folder / "labels" / f"000001 copy of {path.stem[:0]}r001-000002.png")
    result = import_answers(round, store, folder)
    assert (result["saved"], _answered(store)) == (1, [2])


def test_2_another_size_is_refused_and_nothing_is_taken(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    export_regions(round, store, "png", tmp_path / "out", margin=0, guesses=True)
    _paint(tmp_path / "out", 3, np.zeros((2, 1), np.uint8))
    with pytest.raises(DataError, match=r"1 answer in .* it is 1 x 2, its picture is 1 x 1") as caught:
        import_answers(round, store, tmp_path / "out")
    assert caught.value.kept == "Nothing was imported."
    assert _answered(store) == []


def test_4_what_is_painted_outside_the_region_is_dropped(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    export_regions(round, store, "png", tmp_path / "out", mode="full")
    labels_HW = np.full((40, 60), 1, np.uint8)
    labels_HW[10:20, 10:25] = 255
    labels_HW[30:40, 45:60] = 2
    _paint(tmp_path / "out", 0, labels_HW)
    result = import_answers(round, store, tmp_path / "out")
    assert (result["saved"], result["open"], _answered(store)) == (1, 3, [1])
    answer = store.first(round.query(1))
    assert answer is not None
    assert (store.labels(answer) == 2).all()


@pytest.mark.parametrize("unpainted", ["ignore", "error", "prediction"])
def test_5_unpainted_pixels(unpainted: Any, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    export_regions(round, store, "png", tmp_path / "out", margin=0)
    labels_HW = np.full((10, 15), 255, np.uint8)
    labels_HW[:4] = 2
    _paint(tmp_path / "out", 0, labels_HW)
    if unpainted == "error":
        with pytest.raises(DataError, match="90 of 150 pixels of the region are not painted"):
            import_answers(round, store, tmp_path / "out", unpainted=unpainted)
        assert _answered(store) == []
        return
    import_answers(round, store, tmp_path / "out", unpainted=unpainted)
    answer, guess_HW = store.first(round.query(0)), round.guess(round.query(0))
    assert answer is not None
    assert guess_HW is not None
    rest = guess_HW if unpainted == "prediction" else np.full_like(guess_HW, 255)
    np.testing.assert_array_equal(store.labels(answer), np.where(labels_HW == 255, rest, labels_HW))


def test_5_a_prediction_has_to_be_there(tmp_path: Path) -> None:
    round = make_round(tmp_path, cycle=0)
    store = AnswerStore(round)
    export_regions(round, store, "png", tmp_path / "out", margin=0)
    path = next((tmp_path / "out" / "labels").glob("r000-000000-*.png"))
    write_mask(path, np.full((10, 15), [255] * 14 + [1], np.uint8), PALETTE)
    with pytest.raises(DataError, match="needs a network's guess, and this cycle has none"):
        import_answers(round, store, tmp_path / "out", unpainted="prediction")


def _reading(round: Round, *answers: dict[str, Any]) -> Reading:
    reading = Reading(round)
    for answer in answers:
        number = answer.pop("number", 0)
        picture = reading.picture(round.query(number).id)
        labels_HW = np.full(picture.size, answer.pop("id", 1), np.uint8)
        with reading.item(picture.name):
            reading.add(picture, labels_HW, **answer)
    return reading


def _save(reading: Reading, store: AnswerStore) -> dict[str, Any]:
    return save_answers(reading, store, png.FORMAT, unpainted="ignore", origin="here")


def test_6_skips_cost_nothing_and_take_no_answer_away(round: Round, store: AnswerStore) -> None:
    result = _save(_reading(round, {"skipped": True, "seconds": 9.0}), store)
    assert (result["skipped"], store.progress().answered, store.progress().seconds) == (1, 0, 0)
    assert _save(_reading(round, {"skipped": True}), store)["unchanged"] == 1
    _save(_reading(round, {"annotator": "ann"}), store)
    result = _save(_reading(round, {"skipped": True}), store)
    assert (result["skipped"], store.progress().answered) == (0, 1)


def test_7_the_same_file_again_changes_nothing_even_after_a_correction_elsewhere(
    round: Round, store: AnswerStore, tmp_path: Path
) -> None:
    export_regions(round, store, "png", tmp_path / "out", guesses=True)
    import_answers(round, store, tmp_path / "out", annotator="ann")
    query, before = round.query(0), _lines(round)
    assert import_answers(round, store, tmp_path / "out", annotator="ann")["unchanged"] == 4
    assert _lines(round) == before
    corrected = store.save(query, np.zeros(query.shape, np.uint8), annotator="ann", seconds=1, tool="page")
    result = import_answers(round, store, tmp_path / "out", annotator="ann")
    assert (result["saved"], result["unchanged"]) == (0, 4)
    assert store.first(query) == corrected


def test_7_an_answer_that_was_changed_in_the_tool_replaces_its_own(round: Round, store: AnswerStore) -> None:
    old = {"id": 1, "source": "task 7", "updated": "2026-01-01T10:00:00Z", "annotator": "ann", "seconds": 3.0}
    new = old | {"id": 2, "updated": "2026-01-01T11:00:00Z"}
    _save(_reading(round, dict(old)), store)
    result = _save(_reading(round, dict(new), dict(old)), store)  # in any order
    assert (result["saved"], result["older"]) == (1, 1)
    answer = store.first(round.query(0))
    assert answer is not None
    assert (store.labels(answer) == 2).all()
    assert store.progress().seconds == 3


def test_8_seconds_and_people_are_kept_and_shared_by_pixels(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    export_regions(round, store, "png", tmp_path / "out", mode="full")
    reading = Reading(round)
    picture = reading.picture(next((tmp_path / "out" / "labels").glob("r001-000000-*.png")).name)
    reading.add(picture, np.zeros(picture.size, np.uint8), annotator="ann@example.org", seconds=8.0)
    _save(reading, store)
    found = [store.first(round.query(number)) for number in (0, 1)]
    assert [(answer.annotator, answer.seconds) for answer in found if answer] == [("ann@example.org", 4.0)] * 2


# -------------------------------------------------------------------------------------------------- what does not fit


def test_two_people_answer_a_region_and_a_third_is_left_out(round: Round, store: AnswerStore) -> None:
    people = [{"annotator": name, "updated": f"{i}"} for i, name in enumerate(("ann", "bob", "cid"))]
    result = _save(_reading(round, *people), store)
    assert result["saved"] == 2
    assert [problem["reason"] for problem in result["left_out"]] == [
        "'ann' and 'bob' have answered it; 'cid' would be a third"
    ]
    second = store.second(round.query(0))
    assert second is not None
    assert second.annotator == "bob"


def test_an_answer_that_comes_in_between_is_listed(
    round: Round, store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: object, **__: object) -> None:
        raise AnswerError("It has the answers of two people.")

    monkeypatch.setattr(store, "save", taken)
    result = _save(_reading(round, {}), store)
    assert (result["saved"], result["left_out"][0]["reason"]) == (0, "It has the answers of two people.")
    assert "two people" in Path(result["problems_file"]).read_text()


def test_all_that_does_not_fit_is_in_a_table_and_nothing_is_imported(
    round: Round, store: AnswerStore, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    export_regions(round, store, "png", folder, margin=0, guesses=True)
    _paint(folder, 0, np.full((10, 15), 3, np.uint8))
    next((folder / "labels").glob("r001-000001-*.png")).write_bytes(b"\x89PNG\r\n\x1a\nno")
    write_mask(folder / "labels" / "cat.png", np.zeros((1, 1), np.uint8), PALETTE)
    write_mask(folder / "labels" / "r002-000000.png", np.zeros((1, 1), np.uint8), PALETTE)
    write_mask(folder / "labels" / "r001-000000-ffffffff.png", np.zeros((1, 1), np.uint8), PALETTE)
    with pytest.raises(DataError, match=r"2 answers in .* cannot be taken") as caught:
        import_answers(round, store, folder)
    assert _lines(round) == 0
    table = round.run.logs / "label-import.csv"
    assert str(table) in caught.value.remedy
    rows = list(csv.reader(table.read_text().splitlines()))
    assert rows[0] == ["what", "where", "query", "reason"]
    assert [(row[0], row[2], row[3].partition(" (")[0]) for row in rows[1:]] == [
        ("not imported at all", "r001-000000", "class id 3 at 150 pixels"),
        ("not imported at all", "r001-000001", rows[2][3].partition(" (")[0]),
        ("left out", "", "no region asked for has this name"),
        ("left out", "r001-000000", rows[4][3]),
        ("left out", "r002-000000", "round 1 asks for no region r002-000000"),
    ]
    assert "export ffffffff" in rows[4][3]


def test_an_earlier_table_of_problems_goes(round: Round, store: AnswerStore) -> None:
    reading = Reading(round)
    with reading.item("cat.png"):
        reading.picture("cat.png")
    reading.picture("r001-000000")
    table = Path(_save(reading, store)["problems_file"])
    assert table.exists()
    assert _save(_reading(round, {}), store)["problems_file"] is None
    assert not table.exists()


def test_what_was_exported_and_did_not_come_back_is_counted(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    export_regions(round, store, "png", tmp_path / "out", guesses=True)
    next((tmp_path / "out" / "labels").glob("r001-000001-*.png")).unlink()
    result = import_answers(round, store, tmp_path / "out")
    assert (result["saved"], result["missing"], _answered(store)) == (3, 1, [0, 2, 3])


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_file_of_another_run(with_manifest: bool, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    other = make_round(tmp_path / "other", seed=1)
    export_regions(other, AnswerStore(other), "png", tmp_path / "out", guesses=True)
    if not with_manifest:
        (tmp_path / "out" / "queries.json").unlink()
    reason = "was exported for another run" if with_manifest else "holds no answer to a region of cycle 1"
    with pytest.raises(DataError, match=reason):
        import_answers(round, store, tmp_path / "out")
    assert _lines(round) == 0


def test_a_file_of_another_cycle(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    other = make_round(tmp_path / "other", cycle=2)
    export_regions(other, AnswerStore(other), "png", tmp_path / "out", guesses=True)
    with pytest.raises(DataError, match="was exported for cycle 2, this run asks for cycle 1"):
        import_answers(round, store, tmp_path / "out")


@pytest.mark.parametrize("content", ["{", "[]", '{"round": 1}', "[" * 100_000])
def test_a_damaged_manifest_is_named(content: str, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    export_regions(round, store, "png", tmp_path / "out", guesses=True)
    (tmp_path / "out" / "queries.json").write_text(content)
    with pytest.raises(DataError, match=r"queries\.json is not the manifest"):
        import_answers(round, store, tmp_path / "out")


def test_an_unknown_format(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="is of no known format"):
        import_answers(round, store, tmp_path / "notes.txt")


# ------------------------------------------------------------------------------------------- classes, and PNG itself


def test_ids_are_those_of_the_classes_that_were_exported(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    """A class was added after the export, and somebody sorted the file's classes: names decide."""
    export_regions(round, store, "png", tmp_path / "out", margin=0)
    store.add_class("bicycle")
    classes = [{"id": 4, "name": "road"}, {"id": 0, "name": "sky"}, {"id": 7, "name": "car"}]
    (tmp_path / "out" / "classes.json").write_text(json.dumps({"classes": classes}))
    _paint(tmp_path / "out", 0, np.full((10, 15), [0] * 5 + [4] * 5 + [7] * 5, np.uint8))
    import_answers(round, store, tmp_path / "out")
    answer = store.first(round.query(0))
    assert answer is not None
    assert store.labels(answer)[0].tolist() == [2] * 5 + [0] * 5 + [1] * 5


def test_without_a_list_of_classes_those_of_the_export_hold(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    export_regions(round, store, "png", tmp_path / "out", margin=0)
    (tmp_path / "out" / "classes.json").unlink()
    store.add_class("bicycle")
    _paint(tmp_path / "out", 0, np.full((10, 15), 3, np.uint8))
    with pytest.raises(DataError, match=r"class id 3 at 150 pixels \(known: 0, 1, 2"):
        import_answers(round, store, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "hint"), [("Road", "but 'road' is: names must agree in case"), ("boat", r"\(road, car, sky\)")]
)
def test_unknown_class_names(name: str, hint: str, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    export_regions(round, store, "png", tmp_path / "out", margin=0, guesses=True)
    (tmp_path / "out" / "classes.json").write_text(json.dumps({"classes": [{"id": i, "name": name} for i in range(3)]}))
    with pytest.raises(DataError, match=f"class '{name}' is not one of this run's.*{hint}"):
        import_answers(round, store, tmp_path / "out")
    assert _lines(round) == 0


@pytest.mark.parametrize("content", ["{", "[]", '{"classes": [1]}', '{"classes": [{"id": "x", "name": "road"}]}'])
def test_a_damaged_list_of_classes(content: str, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    export_regions(round, store, "png", tmp_path / "out", guesses=True)
    (tmp_path / "out" / "classes.json").write_text(content)
    with pytest.raises(DataError, match=r"classes\.json is not the list of classes"):
        import_answers(round, store, tmp_path / "out")


def test_a_script_answers_by_the_ids_of_the_queries(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    """No export: a folder of pictures of the regions alone."""
    (tmp_path / "mine").mkdir()
    for query in round.queries[:2]:
        write_mask(tmp_path / "mine" / f"{query.id}.png", np.full(query.shape, 1, np.uint8), PALETTE)
    result = import_answers(round, store, tmp_path / "mine", annotator="script")
    assert (result["saved"], result["missing"], _answered(store)) == (2, 0, [0, 1])


@pytest.mark.parametrize(
    ("texts", "reason"),
    [({"annotator": "a" * 200}, "annotator"), ({"source": "\x1b[31m"}, "source"), ({"updated": "a\nb"}, "updated")],
)
def test_texts_that_the_store_would_refuse_are_found_before_anything_is_saved(
    texts: dict[str, str], reason: str, round: Round, store: AnswerStore
) -> None:
    with pytest.raises(DataError, match=f"its {reason} "):
        _save(_reading(round, {"number": 1}, texts), store)
    assert _lines(round) == 0


def test_a_label_that_is_no_class_is_refused(round: Round) -> None:
    reading = _reading(round, {"id": 3})
    assert [problem.reason for problem in reading.faults] == ["class id 3 at 150 pixels; this run has 3 classes"]


def test_exports_of_one_round_are_told_apart(round: Round, store: AnswerStore, tmp_path: Path) -> None:
    """Crops of two margins have the same queries and other places in the image."""
    for margin in (0, 5):
        export_regions(round, store, "png", tmp_path / f"{margin}", margin=margin, guesses=True)
        import_answers(round, store, tmp_path / f"{margin}")
        for query in round.queries:
            answer, guess_HW = store.first(query), round.guess(query)
            assert answer is not None
            assert guess_HW is not None
            np.testing.assert_array_equal(store.labels(answer), guess_HW)
    keys = {path.name[-12:-4] for margin in (0, 5) for path in (tmp_path / f"{margin}" / "labels").iterdir()}
    sizes: list[Picture] = []
    for key in keys:
        manifest = recall(round, key)
        assert manifest is not None
        sizes.append(manifest.pictures[0])
    assert {picture.size for picture in sizes} == {(10, 15), (20, 25)}
