"""Tables that people read, at 80 columns, with the gaps that real runs have."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from s4al.cli import profile_view, views


def _shown(show: Any, result: dict[str, Any]) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=80, highlight=False), result)
    text = stream.getvalue()
    assert "nan" not in text
    assert "None" not in text
    return text


def _cycle(cycle: int, miou: float, **more: Any) -> dict[str, Any]:
    classes = {"sky": 0.9, "pole[/red]": 0.1 + 0.01 * cycle, "cyclist": None if cycle == 0 else 0.2}
    return {
        "cycle": cycle,
        "labelled_fraction": 0.1 + 0.021 * cycle,
        "labelled_pixels": 1000,
        "regions": 1468 * cycle,
        "miou": miou,
        "per_class_iou": classes,
        "train_s": 83.0,
        "score_images_per_s": 45.4 if cycle == 0 else None,
        "engine": "ort",
        **more,
    }


def _row(text: str, start: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(start)).split()


def test_training() -> None:
    text = _shown(views.training, {"run": "runs/my demo", "cycles": [_cycle(0, 0.315), _cycle(1, 0.361)]})
    assert _row(text, "0 ") == ["0", "10.0", "%", "0", "31.5", "%", "1", "min", "23", "s", "45", "img/s"]
    assert _row(text, "1 ") == ["1", "12.1", "%", "1,468", "36.1", "%", "1", "min", "23", "s"]
    assert _row(text, "pole[/red]") == ["pole[/red]", "10.0", "%", "11.0", "%", "+1.0"]
    assert _row(text, "cyclist") == ["cyclist", "20.0", "%"]
    assert "full" not in text
    assert "s4al status 'runs/my demo'" in text


def test_what_was_tested_on_regions_says_so_everywhere() -> None:
    tested = {"test_regions": 100, "miou_interval": [0.281, 0.352]}
    result = {"run": "r", "cycles": [_cycle(0, 0.315, **tested), _cycle(1, 0.361, **tested)]}
    text = " ".join(_shown(views.training, result).split())
    assert "31.5 % (28.1 to 35.2)" in text and "classes, on 100 random regions, and its 95 % interval." in text
    assert "bought +4.6 points of mIoU on 100 random regions." in text
    assert "On 100 random regions." in text
    assert "test images" not in text
    stages = {"stages": ["labels"], "labelled_fraction": 0.1, "regions": 3, "miou": 0.4}
    about = {"run": "r", "data": "folder", "images": 9, "planned_cycles": 2, "full_supervision_miou": None}
    rest = {"next": "", "in_use_by": "", "unfinished": [], "people": None, "labelling": None, "answer": {}}
    shown = _shown(views.status, {**about, **rest, "cycles": [{"cycle": 0, **stages, **tested}]})
    assert "40.0 % (28.1 to 35.2)" in " ".join(shown.split())
    assert "mIoU on 100 random regions, and its 95 % interval." in shown


def test_nothing_that_could_be_tested() -> None:
    untested = {"test_regions": 0, "miou_interval": None}
    cycles: list[dict[str, Any]] = [{**_cycle(cycle, 0.0, **untested), "miou": None} for cycle in (0, 1)]
    text = _shown(views.training, {"run": "r", "cycles": cycles})
    assert "nothing was labelled to test on" in " ".join(text.split()) and "bought" not in text


def test_classes_that_people_added_have_a_row() -> None:
    cycles = [_cycle(0, 0.3), _cycle(1, 0.3)]
    cycles[1]["per_class_iou"] = {**cycles[1]["per_class_iou"], "lamp": 0.25}
    assert _row(_shown(views.training, {"run": "r", "cycles": cycles}), "lamp") == ["lamp", "25.0", "%"]


def test_share_of_full_supervision_where_it_is_known() -> None:
    text = _shown(views.training, {"run": "r", "cycles": [_cycle(0, 0.2)], "full_supervision_miou": 0.4})
    assert _row(text, "0 ")[4:8] == ["20.0", "%", "50.0", "%"]
    assert "40.0 %" in text


def test_many_cycles_fit() -> None:
    text = _shown(views.training, {"run": "r", "cycles": [_cycle(cycle, 0.3) for cycle in range(12)]})
    assert _row(text, "Class") == ["Class", *(w for c in (0, 8, 9, 10, 11) for w in ("cycle", str(c))), "Gained"]
    assert max(map(len, text.splitlines())) <= 80


def test_scoring() -> None:
    hardest = [{"image": "a[b].png", "region": 12, "least_confidence": 0.81234}]
    result = {"images": 1, "quarantined": 0, "seconds": 0.0, "images_per_s": None, "engine": "ort", "provider": "CPU"}
    more = {"out": "r/cycles/000/score", "metric": "least_confidence", "hardest": hardest}
    text = _shown(views.scoring, result | more)
    assert "1 image in 0 s, scored before\n" in text
    assert "0 images, listed" in text
    assert _row(text, "a[b].png") == ["a[b].png", "12", "0.812"]
    assert _row(_shown(views.scoring, result | more | {"images": 2, "images_per_s": 4.0, "hardest": []}), "Scored")[
        -2:
    ] == [
        "4.0",
        "images/s",
    ]


def test_selection_and_export() -> None:
    result = {"regions": 1, "images": 1, "pixels": 1200, "strategy": "per-image", "metric": "entropy", "out": "r/a b"}
    assert "1 region in 1 image, 1,200 pixels\n" in _shown(views.selection, result)
    parity = {"images": 16, "label_agreement": 0.99987, "max_entropy_error": 0.000012}
    text = _shown(views.exported, {"out": "m.onnx", "bytes": 3 * 2**20, "precision": "fp16", "parity": parity})
    assert "3.0 MiB, fp16" in text
    assert "99.987% of the pixels, region entropy within 1.2e-05 nats" in text


def test_profile() -> None:
    stages = [
        {"name": "read", "ms_per_image": 2.0, "share": 0.05},
        {"name": "network", "ms_per_image": 38.0, "share": 0.95},
    ]
    bound = {"name": "network", "bytes": 2e6, "operations": 3e9, "bound_ms_per_image": 19.0, "share_of_bound": 0.5}
    engine = {
        "engine": "ort",
        "provider": "CPU",
        "images_per_s": 23.0,
        "bare_images_per_s": 25.0,
        "host_idle": 0.07,
        "stages": stages,
        "bounds": [bound],
    }
    result = {
        "images": 128,
        "engines": [engine],
        "baseline": {"images_per_s": 11.5},
        "peaks": {"operations_per_s": 1.5e11, "bytes_per_s": 1e10},
        "peak_memory_bytes": 2**30,
        "decode_ms_per_image": 5.25,
        "trace": "run/logs/[odd]/trace.json",
    }
    text = _shown(profile_view.profile, result)
    assert _row(text, "ort: network ")[-4:] == ["2.0", "3,000", "19.00", "50%"]
    assert "150 GFLOP/s, 10 GB/s" in text
    assert "computed nothing in 7% of their time" in text
    assert "Decoding took 5.2 ms an image" in text
    assert "run/logs/[odd]/trace.json" in text
    assert _row(text, "network ")[:3] == ["network", "38.000", "95.0%"]
    assert _row(text, "ort: s4al")[-2:] == ["23.0", "2.0x"]
    assert _row(text, "ort: network alone")[-2:] == ["25.0", "2.2x"]


def _prediction(classes: dict[str, float], **more: Any) -> dict[str, Any]:
    about = {"run": "runs/mine", "cycle": 2, "images": 3, "quarantined": 0, "seconds": 1.5, "images_per_s": 2.0}
    return {**about, "engine": "ort", "provider": "CPUExecutionProvider", "classes": classes, "out": "masks", **more}


def test_prediction_shows_the_largest_classes_first() -> None:
    text = _shown(views.prediction, _prediction({"sky": 0.25, "pole[/red]": 0.0, "road": 0.7499, "car": 0.0001}))
    assert text.index("road") < text.index("sky")
    assert _row(text, "road") == ["road", "75.0", "%"]
    assert _row(text, "car") == ["car", "<", "0.1", "%"]
    assert _row(text, "Not seen:") == ["Not", "seen:", "pole[/red]"]
    assert "Set aside" not in text


def test_prediction_of_many_classes_is_cut() -> None:
    classes = {f"class {index}": 1 / 120 if index < 120 else 0.0 for index in range(150)}
    text = _shown(views.prediction, _prediction(classes))
    assert _row(text, "100 more") == ["100", "more", "83.3", "%"]
    assert _row(text, "Not seen:") == ["Not", "seen:", "30", "classes"]


def test_prediction_of_bad_images_only() -> None:
    bad = {"images": 0, "quarantined": 4, "images_per_s": 0.0}
    text = _shown(views.prediction, _prediction({"sky": 0.0, "road": 0.0}, **bad))
    assert "Predicted: 0 images in 1.5 s\n" in text
    assert "Set aside: 4 images, listed in quarantine.csv" in text
    assert "Not seen" not in text
