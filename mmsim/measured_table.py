"""Tables of measurements as CSV: rows of figures under known columns; anything damaged gets one clear line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path

from mmsim import files
from mmsim.errors import InputError

MAX_ROWS = 200_000
MAX_SIZE = 2.0**40  # of a figure: far beyond any tensor's edge, and any time in milliseconds; its inverse below any


def rows(path: Path, wanted: Sequence[str], what: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, wanted cells as text) of each row. Blank lines, spaces around names and a byte-order mark pass.

    Raises `InputError` for a table without the columns of `what`, with one twice, with a row of another
    length, with other separators than commas, or with more than `MAX_ROWS` rows.
    """
    reader = csv.reader(io.StringIO(files.read_text(path).removeprefix("\ufeff")))
    try:
        names = [name.strip() for name in next(reader, [])]
        _check_names(names, wanted, what, path)
        for count, cells in enumerate(reader):
            if count >= MAX_ROWS:
                raise InputError(f"more than {MAX_ROWS} rows", file=str(path))
            if not cells:
                continue
            if len(cells) != len(names):
                raise InputError(
                    f"{len(cells)} cells, {len(names)} columns", file=str(path), field=f"line {reader.line_num}"
                )
            yield (
                reader.line_num,
                {name: cell.strip() for name, cell in zip(names, cells, strict=True) if name in wanted},
            )
    except csv.Error as error:
        raise InputError(f"not CSV: {error}", file=str(path), field=f"line {reader.line_num}") from None


def figure(text: str, path: Path, field: str, *, whole: bool = False, zero: bool = False) -> float:
    """A cell as a positive figure; `whole` where it counts something, `zero` where that may be none."""
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"not a number: {text!r}", file=str(path), field=field) from None
    if not isfinite(value) or value > MAX_SIZE or value < 0 or (value == 0 and not zero):
        raise InputError(f"must be a positive number, is {text}", file=str(path), field=field)
    if 0 < value < 1 / MAX_SIZE:
        raise InputError(f"too small: {text}", file=str(path), field=field)
    if whole and value != int(value):
        raise InputError(f"must be a whole number, is {text}", file=str(path), field=field)
    return value


def _check_names(names: list[str], wanted: Sequence[str], what: str, path: Path) -> None:
    absent = [name for name in wanted if name not in names]
    twice = [name for name in wanted if names.count(name) > 1]
    if absent and len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        raise InputError("columns must be separated by commas", file=str(path))
    if absent:
        near = [name for name in names if any(name.split("_")[0] == lost.split("_")[0] for lost in absent)]
        hint = f" (it has {', '.join(near[:3])})" if near else ""
        message = f"a table of {what} needs the columns {', '.join(wanted)}; no {', '.join(absent)}{hint}"
        raise InputError(message, file=str(path))
    if twice:
        raise InputError(f"column {twice[0]} stands twice", file=str(path))
