"""`s4al label`: people answer what a run asks. Each command is a thin call of what does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from s4al.cli.options import AsJson, RunFolder
from s4al.cli.output import answer

# As in annotate/exchange/all.py, which takes too long to import for `--help`; a test compares them.
Format = Literal["label-studio", "cvat", "cvat-mask", "coco-panoptic", "coco", "labelme", "yolo", "png"]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="What wrote it; found out if not given.", show_default=False)
]

app = typer.Typer(
    name="label",
    help="People label what a run asks for: in the browser, or in the tool they have.",
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit(2)


@app.command()
def status(root: RunFolder, as_json: AsJson = False) -> None:
    """Say how far the labelling is, who did what, and how far people agree; changes nothing."""
    from s4al.cli import label_status

    answer(label_status.read(root), label_status.show, as_json)


@app.command()
def finish(root: RunFolder, as_json: AsJson = False) -> None:
    """Commit the answers that are there; the other regions go back to the pool."""
    from s4al.cli import label_status

    answer(label_status.finish(root), label_status.show_finished, as_json)


@app.command()
def serve(
    root: RunFolder,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; others than this machine reach 0.0.0.0.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")] = 8765,
    blank: Annotated[bool, typer.Option("--blank", help="Start from nothing, not from the network's guess.")] = False,
    overlap: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, metavar="F", help="Share asked of a second person.", show_default=False),
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who labels; your login if not given.", show_default=False)
    ] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Serve the page on which people label what the run asks for, until Ctrl-C."""
    from s4al.cli.label_serve import serve_page

    serve_page(root, host=host, port=port, blank=blank, overlap=overlap, annotator=annotator, open_page=open_page)


@app.command()
def export(
    root: RunFolder,
    format: Annotated[Format, typer.Option(help="Of the tool that people have.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A new folder, or a new file ending in .zip.", show_default=False),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A running Label Studio to put it in, instead; its token is in LABEL_STUDIO_API_KEY.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        Literal["crop", "full"], typer.Option(help="A picture a region with what is around it, or whole images.")
    ] = "crop",
    margin: Annotated[int, typer.Option(min=0, metavar="N", help="Pixels around the region of a crop.")] = 64,
    only_open: Annotated[bool, typer.Option("--only-open", help="Without what is answered or skipped.")] = False,
    guess: Annotated[
        bool | None,
        typer.Option(
            help="Draw the network's guess already; only where the tool can tell it from an answer if not given.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hand the asked regions to another labelling tool."""
    from s4al.cli import label_exchange

    result = label_exchange.export(
        root, format, out=out, push=push, mode=mode, margin=margin, only_open=only_open, guesses=guess
    )
    answer(result, label_exchange.show_export, as_json)


@app.command("import")
def import_(
    root: RunFolder,
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="What the tool exported; or the URL of a project of Label Studio."),
    ],
    format: FormatOption = None,
    unpainted: Annotated[
        Literal["ignore", "error", "prediction"],
        typer.Option(help="What pixels become that nobody painted: not decided, an error, or the network's guess."),
    ] = "ignore",
    annotator: Annotated[
        str, typer.Option(metavar="NAME", help="Who answered, where the file does not say.")
    ] = "unknown",
    as_json: AsJson = False,
) -> None:
    """Take answers from another labelling tool; the same file again changes nothing."""
    from s4al.cli import label_exchange

    result = label_exchange.import_answers(root, path, format=format, unpainted=unpainted, annotator=annotator)
    answer(result, label_exchange.show_import, as_json)
