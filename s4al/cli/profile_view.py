"""The table of `s4al profile`."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s4al.text import visible

_BAR = 20


def profile(console: Console, result: dict[str, Any]) -> None:
    """One table an engine: milliseconds an image in each stage, then the rates side by side."""
    for engine in result["engines"]:
        _stages(console, visible(engine["engine"]), engine["stages"])
        if "device_stages" in engine:
            _stages(console, f"{visible(engine['engine'])}, on the GPU, each alone", engine["device_stages"])
    _bounds(console, result)
    console.print()
    _rates(console, result)
    for engine in result["engines"]:
        idle = f"the host's threads computed nothing in {engine['host_idle']:.0%} of their time."
        console.print(Text(f"{visible(engine['engine'])}: {idle}", "dim"))
    if result["decode_ms_per_image"] is not None:
        decode = f"Decoding took {result['decode_ms_per_image']:.1f} ms an image on one thread; a run does it once."
        console.print(Text(decode, "dim"))
    console.print(f"[dim]Peak memory {result['peak_memory_bytes'] / 2**30:.1f} GiB.[/]")
    if result["trace"]:
        console.print(Text(f"Timeline for ui.perfetto.dev: {visible(result['trace'])}", "dim"))


def _stages(console: Console, title: str, stages: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    table.add_column("Stage")
    table.add_column("ms/image", justify="right")
    table.add_column("Share", justify="right")
    table.add_column("")
    for stage in stages:
        bar = "#" * round(_BAR * min(stage["share"], 1.0))
        table.add_row(stage["name"], f"{stage['ms_per_image']:.3f}", f"{stage['share']:.1%}", Text(bar, "cyan"))
    console.print(table)
    console.print()


def _bounds(console: Console, result: dict[str, Any]) -> None:
    """What an image costs at the least, on a machine with the peaks that were measured."""
    peaks = result["peaks"]
    table = Table(box=None, pad_edge=False)
    table.add_column(
        f"At best ({peaks['operations_per_s'] / 1e9:,.0f} GFLOP/s, {peaks['bytes_per_s'] / 1e9:,.0f} GB/s)"
    )
    for name in ("MB/image", "MFLOP/image", "ms/image", "reached"):
        table.add_column(name, justify="right")
    for engine in result["engines"]:
        for bound in engine["bounds"]:
            table.add_row(
                f"{visible(engine['engine'])}: {bound['name']}",
                f"{bound['bytes'] / 1e6:,.1f}",
                f"{bound['operations'] / 1e6:,.0f}",
                f"{bound['bound_ms_per_image']:.2f}",
                f"{bound['share_of_bound']:.0%}",
            )
    console.print(table)


def _rates(console: Console, result: dict[str, Any]) -> None:
    baseline = result["baseline"]["images_per_s"]
    table = Table(box=None, pad_edge=False)
    table.add_column(f"The same {result['images']:,} images")
    table.add_column("images/s", justify="right")
    table.add_column("against published", justify="right")
    table.add_row("published acquisition loop", f"{baseline:,.1f}", "1.0x")
    for engine in result["engines"]:
        name, rate, bare = visible(engine["engine"]), engine["images_per_s"], engine["bare_images_per_s"]
        table.add_row(f"{name}: s4al", f"{rate:,.1f}", Text(f"{rate / baseline:.1f}x", "bold"))
        table.add_row(f"{name}: network alone", f"{bare:,.1f}", Text(f"{bare / baseline:.1f}x", "dim"))
    console.print(table)
