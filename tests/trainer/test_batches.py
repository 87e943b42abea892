from __future__ import annotations

import numpy as np
import pytest
import torch

from s4al.data.cache import ImageCache
from s4al.trainer.batches import StepBatches, batch_size, load_batches, normalise
from s4al.trainer.draw import Key, Stream
from s4al.trainer.targets import build_targets, open_targets, targets_file
from tests.tiny import labelled_run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    run, pool, _ = labelled_run(tmp_path_factory.mktemp("batches") / "run")
    build_targets(run, 0, pool)
    return run, pool, open_targets(run, 0, pool), ImageCache.open(run.cache / "train")


def make(tiny, cycle=1, share=(0, 1), apart=False):
    run, _, targets, images = tiny
    labelled, unlabelled = Stream(targets.labelled, 2), Stream(targets.rest, 2, strong=True)
    parts = [[labelled], [unlabelled]] if apart else [[labelled, unlabelled] if cycle else [labelled]]
    return StepBatches(images, targets.labels, parts, run.config, cycle, share)


def test_a_step_is_a_pure_function_of_its_number(tiny):
    first, again = make(tiny)[7], make(tiny)[7]
    assert first["rows"] == again["rows"]
    assert torch.equal(first["image"], again["image"]) and torch.equal(first["label"], again["label"])
    assert not torch.equal(first["image"], make(tiny)[8]["image"])
    assert not torch.equal(first["image"], make(tiny, cycle=2)[7]["image"])


def test_labelled_images_come_first_and_cycle_0_has_no_others(tiny):
    labelled = set(tiny[2].labelled)
    rows = [make(tiny)[step]["rows"] for step in range(20)]
    assert all(set(step[:2]) <= labelled and not set(step[2:]) & labelled for step in rows)
    assert len({row for step in rows for row in step[2:]}) > 5  # draws cover the pool
    assert all(set(make(tiny, cycle=0)[step]["rows"]) <= labelled for step in range(5))


def test_two_processes_share_the_batch_of_one(tiny):
    whole, halves = make(tiny)[3], [make(tiny, share=(rank, 2))[3] for rank in (0, 1)]
    assert whole["rows"] == halves[0]["rows"] + halves[1]["rows"]
    assert torch.equal(whole["image"], torch.cat([half["image"] for half in halves]))


def test_parts_are_shared_out_each_for_itself(tiny):
    whole, halves = make(tiny, apart=True)[3], [make(tiny, share=(rank, 2), apart=True)[3] for rank in (0, 1)]
    assert whole["rows"] == make(tiny)[3]["rows"] and whole["counts"] == [2, 2]
    assert [half["rows"] for half in halves] == [whole["rows"][rank::2] for rank in (0, 1)]
    assert all(half["counts"] == [1, 1] for half in halves)
    assert torch.equal(whole["image"][1::2], halves[1]["image"])


def test_hidden_labels_are_not_seen_and_replayed_images_are_a_part_of_their_own(tiny):
    class TwoOfTheSame:
        def draw(self, step):
            return [step, step]

    run, _, targets, images = tiny
    stream = Stream(targets.labelled, 2, hidden=frozenset(targets.labelled))
    batches = StepBatches(images, targets.labels, [[stream]], run.config, 1, replay=TwoOfTheSame())  # type: ignore
    batch = batches[5]
    assert batch["counts"] == [2, 2] and batch["rows"][2:] == [5, 5]
    assert (batch["label"][:2] == 255).all()


def test_unlabelled_images_without_pseudo_labels_are_all_ignore(tiny):
    label = make(tiny)[0]["label"]
    assert (label[2:] == 255).all() and (label[:2] != 255).any()


def test_worker_processes_change_nothing(tiny):
    alone = list(load_batches(make(tiny), 2, 5, workers=0, pin_memory=False))
    helped = list(load_batches(make(tiny), 2, 5, workers=2, pin_memory=False))
    assert [batch["rows"] for batch in alone] == [batch["rows"] for batch in helped]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(alone, helped, strict=True))


def test_batch_sizes(tiny):
    assert batch_size([[Stream([0], 2)]]) == 2
    assert batch_size([[Stream([0], 2), Stream([1], 3)], [Stream([2], 1)]]) == 6


def test_keys_of_different_purposes_differ():
    key = Key(1, 2, 3)
    seeds = [key.network(), key.network(1), key.noise(0), key.noise(1), key.contrast(), Key(1, 2, 4).noise(0)]
    assert len(set(seeds)) == len(seeds)
    assert key.draw().integers(2**63) != key.augment(0).integers(2**63)


def test_normalise_by_hand():
    image = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(normalise(image).flatten().numpy(), expected, rtol=1e-5)
    assert normalise(image).shape == (1, 3, 1, 1)


def test_the_targets_file_counts_as_a_leftover(tiny):
    assert targets_file(tiny[0], 0).name.startswith(".tmp-")
