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


def answer(value: dict[str, Any], show: Callable[[], None], *, as_json: bool, output: Path | None = None) -> None:
    """Write `value` to `output` if given; then print it as JSON, or call `show` to print tables."""
    if output is not None:
        files.write_json(output, value)
    if as_json:
        click.echo(files.to_json(value))
    else:
        show()
