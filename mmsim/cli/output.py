"""How every verb answers: a table for people on standard output, or JSON, and files written whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mmsim import files

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write the JSON to this file as well."
)


def plot_option(what: str) -> Callable[[F], F]:
    """``--plot FILE``, refused before any work where nothing can be drawn."""

    def checked(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
        if path is not None:
            from mmsim.report import plot

            plot.check(path)
        return path

    return click.option(
        "--plot", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), callback=checked,
        help=f"Draw {what} (PNG, PDF or SVG).",
    )  # fmt: skip


def answer(value: dict[str, Any], show: Callable[[], None], *, as_json: bool, output: Path | None = None) -> None:
    """Write `value` to `output` if given; then print it as JSON, or call `show` to print tables.

    It is printed also where it cannot be written: it may have taken hours.
    """
    try:
        if output is not None:
            files.write_json(output, value)
    finally:
        if as_json:
            click.echo(files.to_json(value))
        else:
            show()
