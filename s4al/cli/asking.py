"""What `s4al train` does where people answer: ask, wait, take what they said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s4al.run.state import Run
from s4al.watch import Watch

if TYPE_CHECKING:
    from s4al.data import Pool
    from s4al.run.asking import AskedRegion


def starts_from_nothing(run: Run, pool: Pool) -> bool:
    """Whether people have to be asked before there is a network: nobody has labelled an image yet."""
    return run.config.data.oracle == "people" and not any(row.mask for row in pool.train.rows)


def ask_people(run: Run, cycle: int, pool: Pool, device: str, watch: Watch) -> None:
    """Ask for regions and commit the answers as the cycle's labels, where all are there.

    Raises
    ------
    AnnotationsNeeded : some are not, or nobody has begun.
    DataError, EngineError, NumericsError, RunStateError, StorageError; Interrupted before anything is asked.
    """
    from s4al.annotate.commit import commit_answers
    from s4al.cli.label_status import committed_line
    from s4al.run.asking import read_questions

    if not run.is_committed(cycle, "ask"):
        _ask(run, cycle, pool, device, watch)
        _say_what_is_asked(read_questions(run, cycle), watch)
    watch.note(committed_line(commit_answers(run, pool)))


def check_answered(run: Run) -> None:
    """Say at once that people are waited for, without loading what only a training needs. Raises AnnotationsNeeded."""
    cycle = run.last_cycle("ask")
    if cycle < 0 or run.is_committed(cycle, "labels"):
        return
    from s4al.annotate.commit import answers_needed
    from s4al.annotate.queries import Round
    from s4al.annotate.store import AnswerStore

    round = Round(run, cycle)
    progress = AnswerStore(round).progress()
    if progress.left:
        raise answers_needed(round, progress)


def _ask(run: Run, cycle: int, pool: Pool, device: str, watch: Watch) -> None:
    from s4al.run.asking import commit_questions

    watch.stop_here()
    if cycle == 0:
        commit_questions(run, 0, _first_questions(run, pool, device, watch), ())
        return
    from s4al.export import CycleNetworks
    from s4al.scorer import EngineRequest
    from s4al.scorer.asking import ask_selected

    ask_selected(run, cycle, EngineRequest(device=device, networks=CycleNetworks(run, cycle - 1)), watch=watch)


def _first_questions(run: Run, pool: Pool, device: str, watch: Watch) -> list[AskedRegion]:
    from s4al.data.cache import ImageCache
    from s4al.scorer.acquisition.start import first_questions

    data, model = run.config.data, run.config.model
    with ImageCache.open(run.cache / "train") as cache:
        features = None
        # Where there are no weights features say nothing; other libraries' networks have none of ours to look at.
        if model.weights != "none" and not model.name.startswith("smp:"):
            from s4al.export.start_features import StartFeatures

            watch.note("Choosing regions to start with, by what the pretrained network sees.")
            features = StartFeatures(run, cache, device)
        return first_questions(
            pool.train.rows,
            run.grid,
            start_regions=data.start_regions,
            test_regions=0 if len(pool.test) else data.test_regions,
            seed=run.config.run.seed,
            features=features,
            watch=watch,
        )


def _say_what_is_asked(asked: list[AskedRegion], watch: Watch) -> None:
    tests = sum(region.purpose == "test" for region in asked)
    images = len({region.image for region in asked})
    line = f"Asked: {len(asked):,} regions in {images:,} images"
    if tests:
        line += f", {tests:,} of them drawn at random: they test the network, and it never learns from them"
    watch.note(f"{line}.")
