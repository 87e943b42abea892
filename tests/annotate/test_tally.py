"""Totals that are kept along the way are those of what counts in the end."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from s4al.annotate.tally import Answer, Entry, Share, Tally
from s4al.data.masks import IGNORE

PEOPLE, QUERIES, NAMES = ("ann", "bob", "cem"), ("r000-000000", "r000-000001"), ["road", "car"]
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["save", "save", "skip", "reopen"]),
        st.sampled_from(QUERIES),
        st.sampled_from(PEOPLE),
        st.integers(0, 9999),
        st.dictionaries(st.sampled_from([0, 1, IGNORE]), st.integers(1, 50), min_size=1),
    ),
    min_size=3,
    max_size=25,
)


def line_of(tally: Tally, deed: str, query: str, who: str, milliseconds: int, pixels: dict[int, int]) -> dict | None:
    """As the store writes it; None for what it refuses, a third answer."""
    if deed == "reopen":
        return {"query": query, "reopened": True}
    first, second = tally.first.get(query), tally.second.get(query)
    is_second = first is not None and not first.answer.skipped and first.answer.annotator != who
    if is_second and second is not None and not second.answer.skipped and second.answer.annotator != who:
        return None
    skipped = deed == "skip"
    answer = Answer(query, who, milliseconds / 1000, "test", "", second=is_second, skipped=skipped)
    return Entry(answer, "" if skipped else f"{query}.png", {} if skipped else pixels).line()


@settings(max_examples=400, deadline=None)
@given(DEEDS)
def test_totals_are_those_of_the_answers_that_count(deeds) -> None:
    tally, log = Tally(), []
    for deed in deeds:
        line = line_of(tally, *deed)
        if line is not None:
            log.append(json.dumps(line))
            tally.add(line)
        check(tally)
    again = Tally()
    for text in log:
        again.add(json.loads(text))
    assert again.progress(2, NAMES) == tally.progress(2, NAMES)


def check(tally: Tally) -> None:
    firsts = [entry for entry in tally.first.values() if not entry.answer.skipped]
    seconds = [entry for entry in tally.second.values() if not entry.answer.skipped]
    classes, shares = Counter[int](), dict[str, Share]()
    for entry in firsts:
        classes.update(entry.pixels)
    for entry in firsts + seconds:
        share = shares.setdefault(entry.answer.annotator, Share())
        share.regions += 1
        share.pixels += sum(entry.pixels.values())
        share.seconds = round(share.seconds + entry.answer.seconds, 3)
    progress = tally.progress(len(QUERIES), NAMES)
    assert (progress.answered, progress.twice) == (len(firsts), len(seconds))
    assert progress.skipped == len(tally.first) - len(firsts)
    assert progress.answered + progress.skipped + progress.left == len(QUERIES)
    assert progress.by_class == {"road": classes[0], "car": classes[1]}
    assert progress.undecided == classes[IGNORE]
    assert progress.pixels == classes.total()
    assert progress.by_annotator == shares
    assert progress.seconds == round(sum(share.seconds for share in shares.values()), 3)
    for query, entry in tally.second.items():  # nobody is the second to himself, nor to nobody
        assert tally.first[query].answer.annotator != entry.answer.annotator
        assert not tally.first[query].answer.second and entry.answer.second
