"""region_scores.cu on the CPU, through the launcher: the same bodies as on a GPU, and proof that they catch bugs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from s4al.kernels import region_scores_cuda
from s4al.kernels.arguments import POOLINGS
from s4al.kernels.launch_plan import SOURCE
from s4al.kernels.region_scores_cuda import region_scores_gpu
from tests.kernels.contract import KernelContract, Score
from tests.kernels.emulator import Emulator

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    return Emulator(tmp_path_factory.mktemp("emulator"))


@pytest.fixture
def score(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Score:
    monkeypatch.setitem(sys.modules, "cupy", emulator)
    return region_scores_gpu


class TestOnTheEmulator(KernelContract):
    pass


BUGS = {
    "no barrier before a patch is replaced": (
        "__syncthreads();  // everyone has done with the previous patch",
        "",
    ),
    "no barrier after a patch is staged": ("__syncthreads();  // the patch is complete", ""),
    "no barrier before the last sum": ("__syncthreads();  // the sums of the warps", "//"),
    "a barrier that some threads skip": (
        "__syncthreads();  // the patch is complete",
        "if (thread < (tile_run_end - tile_run) * tile_columns) __syncthreads();",
    ),
    "patch one row short": (
        "const int bottom = row_taps[run_rows[tile_run_end] - 1].low + 2;",
        "const int bottom = row_taps[run_rows[tile_run_end] - 1].low + 1;",
    ),
    "patch one column short": (
        "const int right = column_taps[tile_x + tile_columns - 1].low + 2;",
        "const int right = column_taps[tile_x + tile_columns - 1].low + 1;",
    ),
    "shuffle over half a warp": ("int distance = WARP / 2;", "int distance = WARP / 4;"),
    "shuffle in some lanes only": (
        "for (int distance = WARP / 2; distance > 0; distance /= 2) {\n",
        "for (int distance = WARP / 2; distance > 0 && thread % WARP < 2 * distance; distance /= 2) {\n",
    ),
    "the largest forgets NaN": ("b > a || b != b ? b : a", "fmaxf(a, b)"),
    "the largest of two from many": (
        "for (int k = 0; k < NUM_SCORES; ++k)\n            scores[",
        "for (int k = 0; k < 2; ++k)\n            scores[",
    ),
    "ties with the bound all counted": ("(wanted - above[k]) * __int_as_float(low[k])", "0.0f"),
    "the tenth rounded down": ("float((int(counted) + 9) / 10)", "fmaxf(float(int(counted) / 10), 1.0f)"),
    "a bound too high": ("if (found[k] > wanted) {", "if (found[k] > wanted + 1.0f) {"),
    "NaN lost in the top tenth": ("means[k] * 0.0f + ", ""),
    "a warp forgotten in the last sum": ("int warp = 1; warp < WARPS;", "int warp = 1; warp < WARPS - 1;"),
    "rows not clamped at the lower edge": ("min(top + i, low_height - 1)", "top + i"),
    "columns not clamped at the right edge": ("min(left + j, low_width - 1)", "left + j"),
    "region not clamped at the right edge": ("min(x_begin + region_width, width)", "x_begin + region_width"),
    "rows of a short run stored too": ("if (p >= rows)", "if (p >= ROWS)"),
    "scores stored one region late": ("scores[3 * num_regions + region]", "scores[3 * num_regions + region + 1]"),
    "ties to the highest class": ("v > best[p] ? c", "v >= best[p] ? c"),
    "second largest is the last that was largest": (
        "second[p] = fmaxf(second[p], fminf(best[p], v));",
        "second[p] = v > best[p] ? best[p] : second[p];",
    ),
    "infinities not poisoned": ("poison += value * 0.0f;", ""),
    "differences not bounded": ("(below < DEEPEST ? DEEPEST : below)", "below"),
    "underflow not caught": ("best[p] < FAR && z[p] == z[p]", "false"),
    "plain sums": ("sum.lost = (total - sum.total) - corrected;", "sum.lost = 0.0f;"),
    "labelled pixels hide NaN": ("counts * (entropy < 0.0f ? 0.0f : entropy)", "(counts ? entropy : 0.0f)"),
    "mean over all pixels where some are excluded": ("exclude_labelled ? fmaxf(sums[3], 1.0f) : area", "area"),
    "histogram after the threshold": (
        "histogram != nullptr && p1 > 0.0f",
        "histogram != nullptr && p1 >= confidence_threshold",
    ),
    "histogram not cleared": ("class_counts[c] = 0;", "if (c) class_counts[c] = 0;"),
}


def run_contract(score: Score) -> None:
    """The bodies of the contract that show what they can with few pixels, in float32 at stride 4 and more."""
    contract = KernelContract()
    for name in ("two classes, strides 3.3 and 2.7", "150 classes", "255 classes, several blocks", "one class"):
        for pooling in POOLINGS:
            contract.test_agrees_with_the_reference(score, name, pooling)
    for pooling in POOLINGS:
        contract.test_agrees_with_the_reference(score, "region larger than the image", pooling)
        contract.test_bad_logits_spoil_exactly_what_they_touch(score, -np.inf, (5, 7), np.float32, True, pooling)
        contract.test_bad_logits_show_where_all_is_labelled(score, pooling)
    contract.test_of_equal_pixels_every_pooling_is_the_same(score)
    contract.test_a_few_uncertain_pixels_are_not_hidden_by_certain_ones(score)
    contract.test_ties_go_to_the_lowest_class(score)
    contract.test_neighbours_that_disagree_by_thousands(score)
    contract.test_logits_as_large_as_they_get(score)
    contract.test_histogram_counts_every_pixel_before_the_threshold(score, "150 classes")
    contract.test_a_sum_over_half_a_million_pixels_loses_nothing(score)


@pytest.fixture
def score_with(score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Score]:
    """Score with another text of the kernel."""

    def replace(source: str) -> Score:
        path = tmp_path / "changed.cu"
        path.write_text(source, encoding="utf-8")
        monkeypatch.setattr(region_scores_cuda, "SOURCE", path)
        return score

    return replace


def test_the_kernel_as_it_is_keeps_the_contract(score: Score) -> None:
    run_contract(score)


@pytest.mark.parametrize("bug", BUGS)
def test_the_contract_catches(bug: str, score_with: Callable[[str], Score]) -> None:
    right, wrong = BUGS[bug]
    source = SOURCE.read_text(encoding="utf-8")
    assert source.count(right) == 1, "the text has changed, and the bug with it"
    score = score_with(source.replace(right, wrong))
    with pytest.raises(AssertionError):
        run_contract(score)
