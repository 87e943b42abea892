"""The commands and their options, frozen (`tests/cli/test_surface.py`). Each is a thin call of what does the work.

Heavy modules are imported inside the commands: `s4al --help` has to answer at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import typer
from typer.core import TyperGroup

from s4al import __version__
from s4al.cli import label
from s4al.cli.messages import guarded, main_process
from s4al.cli.options import AsJson, Cycle, Device, RunFolder
from s4al.cli.output import answer, watching
from s4al.errors import ConfigError

# As in config.py, which takes too long to import for `--help`; a test compares them.
Engine = Literal["auto", "ort", "trt", "torch"]
Metric = Literal[
    "entropy", "least_confidence", "margin", "flip_entropy", "bald", "difficulty", "difficulty_entropy", "label_doubt"
]
Strategy = Literal["per-image", "global", "balanced", "class-quota", "class-confidence", "k-centre", "random"]

MetricOption = Annotated[
    Metric | None,
    typer.Option("--metric", metavar="M", help=f"{', '.join(get_args(Metric))}.", show_default=False),
]


class _Commands(TyperGroup):
    """In the order of the work; typer puts groups of commands first."""

    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: (name == "report", name == "label"))


app = typer.Typer(
    name="s4al",
    cls=_Commands,
    help="Label regions, not images: semi-supervised active learning for semantic segmentation.",
    epilog="First steps: s4al train runs/demo --preset demo",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code. With `--json` stdout gets exactly one object, also when it fails."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]

    def command() -> None:
        group = typer.main.get_command(app)
        with group.make_context("s4al", arguments) as context:
            group.invoke(context)
        sys.stdout.flush()

    words = [word for word in arguments if not word.startswith("-")]
    code, problem = guarded(command, f"running s4al {words[0] if words else ''}".strip())
    if problem is not None and "--json" in arguments and main_process():
        print(json.dumps({"error": problem}))
    return code


def _version(wanted: bool) -> None:
    if wanted:
        print(f"s4al {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit(2)


@app.command()
def train(
    root: RunFolder,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="SECTION.KEY=VALUE", help="Settings, such as trainer.lr=0.02.", show_default=False),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where the settings start; see s4al presets.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file with settings, instead.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The data set's folder (data.root).", show_default=False)
    ] = None,
    cycles: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many trainings in all (run.cycles).", show_default=False)
    ] = None,
    engine: Annotated[
        Engine | None, typer.Option(help="What scores the pool (scorer.engine).", show_default=False)
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Make a run or go on with it: every cycle from training to labels."""
    from s4al.cli import views
    from s4al.cli.cycle import run_cycles

    if preset and config:
        raise ConfigError("--preset and --config were both given.", remedy="Give one of them.")
    with watching(as_json) as watch:
        result = run_cycles(
            root,
            preset=preset,
            config_file=config,
            data=data,
            cycles=cycles,
            engine=engine,
            device=device,
            overrides=tuple(overrides or ()),
            watch=watch,
        )
    answer(result, views.training, as_json)


@app.command()
def check(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder of images, with masks or without.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="SECTION.KEY=VALUE", help="Settings, as for train.", show_default=False),
    ] = None,
    every_file: Annotated[bool, typer.Option("--all", help="Read every file, not a sample.")] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Look at a folder of images: layout, classes, masks, faults, and how to start."""
    from s4al.cli.check import check_folder
    from s4al.cli.check_view import check as show
    from s4al.cli.progress import RichWatch

    with RichWatch() as watch:
        result = check_folder(data, every_file=every_file, overrides=overrides or (), device=device, watch=watch)
    answer(result, show, as_json)


@app.command()
def status(
    root: RunFolder,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show it live; Ctrl-C ends that.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how far a run is and what comes next; changes nothing."""
    from s4al.cli import views
    from s4al.cli.status import read_status

    if watch and as_json:
        raise ConfigError("--watch and --json were both given.", remedy="Give one of them.")
    if watch:
        from rich.console import Console

        from s4al.cli.live import watch_status

        watch_status(root, Console(highlight=False))
    else:
        answer(read_status(root), views.status, as_json)


@app.command()
def score(
    root: RunFolder,
    cycle: Cycle = None,
    engine: Annotated[Engine | None, typer.Option(help="Instead of the run's.", show_default=False)] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Score this folder, not the run's pool.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the scores go.", show_default=False)] = None,
    metric: MetricOption = None,
    device: Device = "auto",
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Ray cluster (a later release).", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score every region of the pool, or of a folder of images."""
    if ray is not None:
        raise _later("--ray")
    from s4al.cli import stages, views

    with watching(as_json) as watch:
        result = stages.score(
            root, cycle=cycle, engine=engine, images=images, out=out, metric=metric, device=device, watch=watch
        )
    answer(result, views.scoring, as_json)


@app.command()
def predict(
    root: RunFolder,
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="The images: every one below this folder.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the masks go; in the run if not given.", show_default=False),
    ] = None,
    cycle: Cycle = None,
    engine: Annotated[Engine | None, typer.Option(help="Instead of the run's.", show_default=False)] = None,
    device: Device = "auto",
    overlays: Annotated[bool, typer.Option(help="Pictures of the masks over the images, for people.")] = True,
    as_json: AsJson = False,
) -> None:
    """Write the masks of a folder of images, with overlays and a table of what is in them."""
    from s4al.cli import stages, views

    with watching(as_json) as watch:
        result = stages.predict(
            root, images=images, out=out, cycle=cycle, engine=engine, device=device, overlays=overlays, watch=watch
        )
    answer(result, views.prediction, as_json)


@app.command()
def select(
    root: RunFolder,
    cycle: Cycle = None,
    strategy: Annotated[Strategy | None, typer.Option(help="Instead of the run's.", show_default=False)] = None,
    metric: MetricOption = None,
    regions_per_image: Annotated[
        int | None, typer.Option(min=0, metavar="K", help="Instead of the run's.", show_default=False)
    ] = None,
    budget_pixels: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Instead of the run's.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose the regions that are worth labelling next."""
    from s4al.cli import stages, views

    with watching(as_json) as watch:
        result = stages.select(
            root,
            cycle=cycle,
            strategy=strategy,
            metric=metric,
            regions_per_image=regions_per_image,
            budget_pixels=budget_pixels,
            watch=watch,
        )
    answer(result, views.selection, as_json)


@app.command()
def export(
    root: RunFolder,
    cycle: Cycle = None,
    format: Annotated[
        Literal["onnx", "trt"], typer.Option(help="A file, or a TensorRT plan for this machine alone.")
    ] = "onnx",
    precision: Annotated[
        Literal["fp32", "fp16"] | None,
        typer.Option(help="Of weights and logits; fp32 for onnx, fp16 for trt if not given.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the file goes.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Write the network as one file or TensorRT plan, checked against the original."""
    from s4al.cli import stages, views

    with watching(as_json) as watch:
        result = stages.export(root, cycle=cycle, format=format, precision=precision, out=out, watch=watch)
    answer(result, views.exported, as_json)


def _known_engines(names: list[str] | None) -> list[str] | None:
    """Typer checks a choice, but not a list of them."""
    for name in names or ():
        if name not in get_args(Engine):
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(map(repr, get_args(Engine)))}.")
    return names


@app.command()
def profile(
    root: RunFolder,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="E",
            callback=_known_engines,
            help="auto, ort, trt or torch; may be repeated; all that work if not given.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many images of the pool.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure scoring stage by stage, beside the published loop."""
    from s4al.cli import profile_view, stages

    engines = cast("list[Engine]", engine or [])
    with watching(as_json) as watch:
        result = stages.profile(root, engines=engines, images=images, watch=watch)
    answer(result, profile_view.profile, as_json)


@app.command()
def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print this one as TOML, every key.", show_default=False)
    ] = None,
) -> None:
    """List the presets, or print one as TOML to start from."""
    from s4al import config
    from s4al.cli import views
    from s4al.cli.new_run import keys_from_data
    from s4al.presets import NOTES

    if name is None:
        answer({"presets": NOTES}, views.presets, as_json=False)
    else:
        print(config.dump(config.resolve(name), keys_from_data(name)))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check what this machine has and what is missing."""
    from s4al.cli.doctor import examine, show

    result = examine()
    answer(result, show, as_json)
    if not result["ok"]:
        raise typer.Exit(6)


_RESERVED = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


app.add_typer(label.app)


@app.command()
def report(
    roots: Annotated[list[Path], typer.Argument(metavar="RUN", help="Runs; the first in detail.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The HTML file; in the first run if not given.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page that shows a run, or compares several."""
    from s4al.cli import reporting, views

    answer(reporting.report(roots, out), views.report, as_json)


def _later(name: str) -> ConfigError:
    return ConfigError(f"{name} comes in a later release; s4al {__version__} does not have it.")
