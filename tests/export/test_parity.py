"""The gate between the trained network and the exported one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from s4al.config import ExportConfig, Pooling
from s4al.errors import EngineError
from s4al.export.parity import Parity, check_parity, measure_parity, overlap, report
from s4al.export.stage import probe_rows
from s4al.kernels import region_scores
from s4al.scorer.engines.cpu_engines import TorchEngine
from tests.small_models import random_images, small_card, small_engine, small_scoring_network

LIMITS = ExportConfig()


class Shifted:
    """An engine whose logits are off by something."""

    name, provider, batch_size, threads = "shifted", "numpy", 1, 1

    def __init__(self, offset: NDArray[np.float32] | float) -> None:
        self._engine, self._offset = small_engine(1), offset
        self.card = small_card()

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = self._engine.run(image_NHWC)
        return np.ascontiguousarray(logits + self._offset, np.float32)


def measure(candidate: object, images: int = 3) -> Parity:
    return measure_parity(small_engine(1), candidate, random_images(images), metric="entropy", top_k=4)  # type: ignore[arg-type]


def test_an_engine_agrees_with_itself() -> None:
    assert measure(small_engine(1)) == Parity(3, 0.0, 0.0, 1.0, 1.0)


def test_onnx_runtime_passes_against_torch() -> None:
    reference = TorchEngine(small_scoring_network, small_card(), batch_size=1, threads=1)
    parity = measure_parity(reference, small_engine(1), random_images(4), metric="margin", top_k=4)
    check_parity(parity, LIMITS, "The exported model")
    assert parity.max_logit_difference < 1e-3


def test_the_same_shift_of_all_classes_is_seen_in_the_logits_only() -> None:
    parity = measure(Shifted(0.5))
    assert parity.max_logit_difference == pytest.approx(0.5, abs=1e-3)
    assert parity.max_entropy_error < 1e-5
    assert parity.topk_overlap == 1.0


@pytest.mark.parametrize("pooling", ["mean", "max", "top-tenth"])
def test_what_is_compared_is_pooled_as_the_pool_is(pooling: Pooling) -> None:
    image, other = random_images(1), small_engine(1, seed=1)
    parity = measure_parity(small_engine(1), other, image, metric="entropy", pooling=pooling, top_k=4)
    entropy = [
        region_scores(engine.run(image), **small_card().geometry, pooling=pooling).entropy_NR
        for engine in (small_engine(1), other)
    ]
    assert parity.max_entropy_error == pytest.approx(np.abs(entropy[0] - entropy[1]).max(), rel=1e-6)


def test_another_network_fails_with_the_figures() -> None:
    parity = measure_parity(small_engine(1), small_engine(1, seed=1), random_images(3), metric="entropy", top_k=4)
    with pytest.raises(EngineError) as caught:
        check_parity(parity, LIMITS, "The exported model")
    message = str(caught.value)
    assert caught.value.exit_code == 6
    assert f"region entropy differs by {parity.max_entropy_error:.4g} (at most 0.002)" in message
    assert f"label agreement {parity.label_agreement:.4g} (at least 0.999)" in message
    assert "Nothing was exported." in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_figures_that_are_no_numbers_fail(value: float) -> None:
    offset = np.zeros((1, 3, 12, 16), np.float32)
    offset[0, 1, 5, 5] = value
    with pytest.raises(EngineError, match="region entropy differs by nan"):
        check_parity(measure(Shifted(offset)), LIMITS, "The exported model")


@pytest.mark.parametrize(
    ("parity", "passes"),
    [
        (Parity(1, 9.0, 2e-3, 0.999, 0.98), True),  # on the limits, whatever the logits
        (Parity(1, 0.0, 2.1e-3, 1.0, 1.0), False),
        (Parity(1, 0.0, 0.0, 0.9989, 1.0), False),
        (Parity(1, 0.0, 0.0, 1.0, 0.979), False),
    ],
)
def test_each_limit_holds_by_itself(parity: Parity, passes: bool) -> None:
    if passes:
        check_parity(parity, LIMITS, "x")
    else:
        with pytest.raises(EngineError):
            check_parity(parity, LIMITS, "x")


def test_overlap_by_hand() -> None:
    first, second = np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([5.0, 1.0, 3.5, 4.0, 0.0])
    assert overlap(first, second, 1) == 1.0
    assert overlap(first, second, 2) == 0.5  # {0, 1} and {0, 3}
    assert overlap(first, second, 3) == pytest.approx(2 / 3)  # {0, 1, 2} and {0, 3, 2}
    assert overlap(first, second, 99) == 1.0
    assert overlap(first, second, 0) == 1.0


def test_the_report_rounds_and_names_the_images() -> None:
    found = report(Parity(2, 0.00123456, 1.23456e-7, 0.99987654, 1.0), LIMITS, ["a", "b"], small_engine(1))
    assert found["measured"] == {
        "images": 2,
        "max_logit_difference": 0.0012346,
        "max_entropy_error": 1.2346e-7,
        "label_agreement": 0.99988,
        "topk_overlap": 1.0,
    }
    assert found["image_ids"] == ["a", "b"]


@pytest.mark.parametrize(
    ("count", "wanted", "expected"), [(10, 4, [0, 3, 6, 9]), (3, 16, [0, 1, 2]), (1, 16, [0]), (100, 2, [0, 99])]
)
def test_probe_images_are_spread_evenly(count: int, wanted: int, expected: list[int]) -> None:
    assert probe_rows(count, wanted).tolist() == expected
