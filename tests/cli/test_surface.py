"""The command line is frozen: scripts depend on it. Change this text only together with architecture.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
import typer
from typer import Context
from typer.core import TyperGroup

from s4al import config
from s4al.annotate.exchange.all import FORMATS
from s4al.cli import app as surface
from s4al.cli import label
from s4al.cli.app import run

# name: arguments, then options. `...` may be repeated, `!` has to be given, `=x` is the default.
GOLDEN = """\
s4al --version
train RUN! SECTION.KEY=VALUE... --preset NAME --config FILE --data DIR --cycles N --engine --device D=auto --json
check DATA! SECTION.KEY=VALUE... --all --device D=auto --json
status RUN! --watch --json
score RUN! --cycle N --engine --images DIR --out DIR --metric M --device D=auto --ray ADDRESS --json
predict RUN! --images DIR! --out DIR --cycle N --engine --device D=auto --overlays=True --json
select RUN! --cycle N --strategy --metric M --regions-per-image K --budget-pixels N --json
export RUN! --cycle N --format=onnx --precision --out FILE --json
profile RUN! --engine E... --images N --json
presets NAME
doctor --json
label status RUN! --json
label finish RUN! --json
label serve RUN! --host ADDRESS=127.0.0.1 --port N=8765 --blank --overlap F --annotator NAME --open=True
label export RUN! --format! --out PATH --push URL --mode=crop --margin N=64 --only-open --guess --json
label import RUN! PATH! --format --unpainted=ignore --annotator NAME=unknown --json
report RUN...! --out FILE --json
"""


def _describe(parameter) -> str:
    name = parameter.metavar if parameter.param_type_name == "argument" else "/".join(parameter.opts)
    metavar = f" {parameter.metavar}" if parameter.metavar and parameter.param_type_name == "option" else ""
    repeated = "..." if getattr(parameter, "multiple", False) or parameter.nargs == -1 else ""
    default = f"={parameter.default}" if parameter.default not in (None, False) else ""
    return f"{name}{metavar}{default}{repeated}{'!' if parameter.required else ''}"


def _lines(group: TyperGroup, prefix: str = "") -> Iterator[str]:
    """In the order of the help."""
    for name in group.list_commands(Context(group)):
        command = group.commands[name]
        if isinstance(command, TyperGroup):
            yield from _lines(command, f"{prefix}{name} ")
        else:
            yield " ".join([f"{prefix}{name}", *map(_describe, command.params)])


def test_commands_and_options_are_the_frozen_ones() -> None:
    group = typer.main.get_command(surface.app)
    assert isinstance(group, TyperGroup)
    lines = [" ".join(["s4al", *map(_describe, group.params)]), *_lines(group)]
    assert "".join(f"{line}\n" for line in lines) == GOLDEN


def test_choices_are_those_of_the_configuration() -> None:
    assert get_args(surface.Engine) == get_args(config.EngineName)
    assert get_args(surface.Metric) == config.METRICS
    assert get_args(surface.Strategy) == config.STRATEGIES
    assert set(get_args(label.Format)) == set(FORMATS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "run", "--engine", "cuda"],
        ["score", "run", "--metric", "variance"],
        ["select", "run", "--strategy", "best"],
        ["select", "run", "--regions-per-image", "-1"],
        ["export", "run", "--format", "torchscript"],
        ["label", "export", "run", "--format", "gif", "--out", "labels"],
        ["label", "export", "run", "--out", "labels"],
        ["label", "export", "run", "--format", "png", "--out", "labels", "--margin", "-1"],
        ["label", "import", "run"],
        ["label", "import", "run", "labels", "--unpainted", "guess"],
        ["export", "run", "--precision", "int8"],
        ["profile", "run", "--engine", "ort", "--engine", "cuda"],
        ["train", "run", "--cycles", "0"],
        ["score", "run", "--cycle", "-1"],
        ["train", "run", "--sed", "1"],
        ["trian", "run"],
        ["train"],
        ["status", "run", "more"],
        ["label"],
        ["label", "finish"],
        ["label", "stop", "run"],
        [],
    ],
    ids=" ".join,
)
def test_wrong_arguments_end_with_2(arguments: list[str], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "run", "--ray", "127.0.0.1:6379"],
    ],
    ids=" ".join,
)
def test_reserved_names_say_so(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "a later release" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from s4al import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"s4al {__version__}\n"


def _names(line: str) -> list[str]:
    """A command's words, without its arguments and options."""
    return [word for word in line.split() if word.isalpha() and word.islower()]


@pytest.mark.parametrize("command", [[], ["label"], *map(_names, GOLDEN.splitlines()[1:-1])], ids=" ".join)
def test_every_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    captured = capsys.readouterr()
    assert "Usage: s4al" in captured.out
    assert captured.err == ""
