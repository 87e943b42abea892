"""What a round gives to those who show it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al.annotate.colours import alike
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.config import resolve
from s4al.errors import AnswerError, DataError, ImageError, RunStateError
from s4al.run.asking import guess_file
from s4al.run.state import Run
from tests.annotate.rounds import COLOURS, NAMES, REGIONS, make_round


def test_queries_are_what_was_asked_in_the_order_of_their_ranks(tmp_path: Path) -> None:
    round = make_round(tmp_path)
    assert [(query.image, (query.y0, query.x0, query.y1, query.x1)) for query in round.queries] == list(REGIONS)
    query = round.query("r001-000002")
    assert query is round.query(2)
    assert (query.number, query.rank, query.purpose, query.reason) == (2, 2, "train", "entropy")
    assert (query.shape, query.pixels, query.score) == ((7, 9), 63, pytest.approx(1 / 3))
    assert (round.cycle, round.class_names) == (1, list(NAMES))
    assert (round.palette == COLOURS).all()


def test_the_image_is_the_original_and_has_to_be_the_one_the_run_began_with(tmp_path: Path) -> None:
    round = make_round(tmp_path)
    query = round.query(2)
    path = tmp_path / "data" / "sub dir" / "b é.png"
    with Image.open(path) as picture:
        pixels = np.asarray(picture).copy()
    assert (round.image(query) == pixels).all()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    with pytest.raises(DataError, match=r"b é\.png changed since this run began"):
        round.image(query)
    path.unlink()
    with pytest.raises(ImageError, match=r"b é\.png: cannot be read"):
        round.image(query)
    path.symlink_to(path)
    with pytest.raises(ImageError, match=r"b é\.png: "):
        round.image(query)


def test_guess_and_uncertainty_are_of_the_region(tmp_path: Path) -> None:
    round = make_round(tmp_path)
    for query in round.queries:
        guess, uncertainty = round.guess(query), round.uncertainty(query)
        assert guess is not None and uncertainty is not None
        assert (guess.shape, guess.dtype, uncertainty.shape) == (query.shape, np.uint8, query.shape)
        assert guess.max() < len(NAMES)
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(guess_file(round.folder, 0))
    with pytest.raises(RunStateError, match=r"0\.png is 4 x 3, its region 15 x 10"):
        round.guess(round.query(0))
    guess_file(round.folder, 1).write_bytes(b"no picture")
    with pytest.raises(RunStateError, match=r"1\.png"):
        round.guess(round.query(1))


def test_before_there_is_a_network_there_is_no_guess(tmp_path: Path) -> None:
    round = make_round(tmp_path, cycle=0)
    assert (round.cycle, round.query(0).id) == (0, "r000-000000")
    assert (round.guess(round.query(0)), round.uncertainty(round.query(0))) == (None, None)


def test_where_nothing_is_asked_the_remedy_says_what_to_do(tmp_path: Path) -> None:
    settings = ("run.full_supervision=false", "run.random_regions=false")
    masks = Run.create(tmp_path / "masks", resolve("demo", None, settings))
    with pytest.raises(RunStateError, match="asks no people") as caught:
        Round.open(masks)
    assert "data.oracle" in caught.value.remedy
    early = Run.create(tmp_path / "e a", resolve("demo", None, (*settings, "data.oracle=people")))
    with pytest.raises(RunStateError, match="asks for no regions yet") as caught:
        Round.open(early)
    assert caught.value.remedy == f"Run: s4al train '{early.root}'."
    done = make_round(tmp_path).run
    done.commit_labels(1, [], [])
    with pytest.raises(RunStateError, match="labels of cycle 1 are committed"):
        Round.open(done)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 2000), (0.1, 200), (0.5, 1000)])
def test_a_share_of_the_regions_is_for_two_and_always_the_same(tmp_path: Path, share: float, expected: int) -> None:
    regions = [(f"i{n}", (0, 0, 1, 1)) for n in range(20)] * 100
    round = make_round(tmp_path, regions=regions, size=(1, 1), guesses=False)
    chosen = [query.number for query in round.queries if round.is_for_two(query, share)]
    assert len(chosen) == pytest.approx(expected, abs=4 * 23)
    assert chosen == [query.number for query in Round.open(round.run).queries if round.is_for_two(query, share)]
    assert not any(round.is_for_two(query) for query in round.queries)  # data.overlap is 0


class TestClasses:
    """Those that people add while they label."""

    def test_a_class_has_the_next_id_for_everybody_at_once(self, tmp_path: Path) -> None:
        round = make_round(tmp_path)
        store, other = AnswerStore(round), AnswerStore(Round.open(round.run))
        assert store.add_class("dog", (1, 2, 3)) == 3
        assert other.add_class("  cat ") == 4
        for each in (store, other, AnswerStore(Round.open(round.run))):
            assert each.round.class_names == [*NAMES, "dog", "cat"]
            assert each.round.palette[3].tolist() == [1, 2, 3]
        query = round.query(3)
        store.save(query, np.full((1, 1), 4, np.uint8), annotator="ann", seconds=1, tool="page")
        assert other.progress().by_class["cat"] == 1

    def test_colours_that_nobody_chose_are_far_apart(self, tmp_path: Path) -> None:
        store = AnswerStore(make_round(tmp_path, names=(), colours=()))
        for number in range(19):
            assert store.add_class(f"class {number}") == number
        assert alike(store.round.palette) == []

    @pytest.mark.parametrize(
        ("name", "colour", "says"),
        [
            ("", None, "name of 1 to 100 characters"),
            ("   ", None, "name of 1 to 100 characters"),
            ("x" * 101, None, "1 to 100 characters, not of 101"),
            ("a\tb", None, "cannot be printed"),
            ("\ud800", None, "cannot be printed"),
            ("ignore", None, "without a class"),
            ("road", None, "'road' exists already"),
            ("Road", None, "'Road' differs from 'road' in case only"),
            ("dog", (128, 64, 128), "would have the colour of 'road'"),
            ("dog", (256, 0, 0), "not three numbers from 0 to 255"),
            ("dog", (0, 0), "not three numbers from 0 to 255"),
        ],
    )
    def test_what_is_no_class_is_refused(self, tmp_path: Path, name, colour, says) -> None:
        store = AnswerStore(make_round(tmp_path))
        with pytest.raises(AnswerError) as caught:
            store.add_class(name, colour)
        assert says in caught.value.what
        assert caught.value.kept == "No class was added."
        assert store.round.class_names == list(NAMES)

    def test_there_are_254_at_most(self, tmp_path: Path) -> None:
        names = [f"class {number}" for number in range(253)]
        store = AnswerStore(make_round(tmp_path, names=names, colours=[(0, 0, number) for number in range(253)]))
        assert store.add_class("last") == 253
        with pytest.raises(AnswerError, match="there can be 254"):
            store.add_class("one too many")

    def test_letters_that_look_the_same_are_the_same(self, tmp_path: Path) -> None:
        store = AnswerStore(make_round(tmp_path))
        store.add_class("caf\u00e9")
        with pytest.raises(AnswerError, match="exists already"):
            store.add_class("cafe\u0301")
