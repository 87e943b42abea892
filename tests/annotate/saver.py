"""A process that answers as fast as it can until it is killed, and says after each answer that it is saved.

It has everything imported and forks one child for each attempt. A line in is how many answers the child begins, and
how many seconds later it is killed. A line out is what it did: [["begin" | "saved", number, annotator, seed], ...],
where "begin" comes before the call of `save` and "saved" after its return.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
from PIL import Image

from s4al.annotate.queries import Query, Round
from s4al.annotate.store import AnswerStore
from s4al.run.state import Run

PRELOADED = (pyarrow.parquet,)
NAMES = ("ann", "bob")


def labels_of(query: Query, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, query.shape, np.uint8)


def answer_until_killed(store: AnswerStore, seed: int, told: int) -> None:
    rng = random.Random(seed)
    while True:
        number, annotator, look = rng.randrange(len(store.round.queries)), rng.choice(NAMES), rng.randrange(10**6)
        query = store.round.query(number)
        os.write(told, (json.dumps(["begin", number, annotator, look]) + "\n").encode())
        store.save(query, labels_of(query, look), annotator=annotator, seconds=1.0, tool="test")
        os.write(told, (json.dumps(["saved", number, annotator, look]) + "\n").encode())


def attempt(root: Path, begins: int, delay_s: float, seed: int) -> list[list]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            answer_until_killed(AnswerStore(Round.open(Run.open(root))), seed, writing)
        finally:
            os._exit(1)
    os.close(writing)
    done = []
    with os.fdopen(reading) as pipe:
        while sum(word == "begin" for word, *_ in done) < begins:
            done.append(json.loads(pipe.readline()))
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
        done += [json.loads(line) for line in pipe]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return done


if __name__ == "__main__":
    Image.preinit()  # or every child would import Pillow's formats
    print("ready", flush=True)
    for index, line in enumerate(sys.stdin):
        begins, delay_s = line.split()
        print(json.dumps(attempt(Path(sys.argv[1]), int(begins), float(delay_s), index)), flush=True)
