from __future__ import annotations

from s4al.trainer.draw import Key, Stream, draw_rows
from s4al.trainer.learners.unlabelled.replay import Replay

PARTS = [[Stream([90, 91], 2)], [Stream(range(30), 4)]]


def make(**settings):
    return Replay(PARTS, **{"seed": 1, "cycle": 1, "size": 10, "fill_from": 5, "draw_from": 8, **settings})


def unlabelled(step):
    return [slot.row for slot in draw_rows(PARTS, Key(1, 1, step))[-1]]


def test_nothing_comes_out_before_its_time_and_then_a_batch_every_step():
    replay = make()
    drawn = [replay.draw(step) for step in range(20)]
    assert drawn[:8] == [[]] * 8
    assert all(len(rows) == 4 for rows in drawn[8:])


def test_what_comes_out_went_in_before():
    replay = make(size=50, draw_from=6)
    seen: list[int] = []
    for step in range(5, 30):
        drawn = replay.draw(step)
        for row in drawn:
            seen.remove(row)  # every image comes out as often as it went in at most
        seen += unlabelled(step)
    assert len(seen) == 4 * 25 - 4 * 24  # the buffer never overflowed


def test_a_resumed_training_draws_the_same():
    straight = make()
    expected = [straight.draw(step) for step in range(40)]
    resumed = make()
    assert [resumed.draw(step) for step in (33, 34, 35)] == expected[33:36]
    assert [resumed.draw(step) for step in (12, 13)] == expected[12:14]  # and backwards


def test_a_full_buffer_forgets():
    replay = make(size=4, draw_from=10**9)
    for step in range(5, 50):
        replay.draw(step)
    assert len(replay._buffer) == 4


def test_too_few_images_give_none():
    assert make(size=3).draw(20) == []
