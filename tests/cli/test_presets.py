"""`s4al presets`: every preset is listed, and what is printed is a configuration file that gives the same run."""

from __future__ import annotations

import tomllib

import pytest

from s4al import config
from s4al.cli.app import run
from s4al.presets import NOTES, PRESETS


def test_every_preset_is_listed_with_its_note(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert run(["presets"]) == 0
    out = capsys.readouterr().out
    assert PRESETS.keys() == NOTES.keys()
    for name, note in NOTES.items():
        assert any(line.split()[0] == name and all(part in line for part in note) for line in out.splitlines() if line)


@pytest.mark.parametrize("name", PRESETS)
def test_a_printed_preset_is_a_configuration_file(name: str, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["presets", name]) == 0
    path = tmp_path / "my.toml"
    path.write_text(capsys.readouterr().out)
    assert config.load(path) == config.resolve(name) == config.resolve(file=path)


def test_what_the_data_decide_is_no_value_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["presets", "images"]) == 0
    printed = capsys.readouterr().out
    values = tomllib.loads(printed)
    for name in ("data.height", "data.width", "data.classes", "acquisition.region_height", "trainer.epochs"):
        section, key = name.split(".")
        assert key not in values[section] and f"\n# {key}: from the data\n" in printed
    assert values["data"]["max_megapixels"] == 40.0 and values["scenes"]["height"] == 96
    assert run(["presets", "camvid"]) == 0
    assert "height = 360" in capsys.readouterr().out.splitlines()


def test_unknown_preset_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["presets", "camvidsmall"]) == 2
    err = capsys.readouterr().err
    assert "did you mean camvid-small?" in err
    assert "cityscapes" in err


def test_preset_and_config_exclude_each_other(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(tmp_path / "run"), "--preset", "demo", "--config", "my.toml"]) == 2
    assert not (tmp_path / "run").exists()
    assert "Give one of them." in capsys.readouterr().err
