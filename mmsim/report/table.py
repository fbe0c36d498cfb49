"""Tables for people: aligned columns, figures in engineering units, quiet colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmsim.size import Size


def show(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, note: str = "", total: bool = False
) -> None:
    """Print a table; the first column and columns of text are left-aligned, figures right-aligned.

    `total` sets the last row apart.
    """
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    body = [[str(cell) for cell in row] for row in rows]
    table = Table(
        title=title,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        caption=note or None,
        caption_justify="left",
    )
    for index, name in enumerate(columns):
        numeric = index > 0 and all(_is_figure(row[index]) for row in body)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for number, row in enumerate(body):
        table.add_row(*row, end_section=total and number == len(body) - 2)
    console = Console(soft_wrap=False)
    whole = Measurement.get(console, console.options.update(max_width=MOST), table).maximum
    if not console.is_terminal:  # a pipe or a file has no width: never fold there
        console = Console(width=whole)
    elif whole > console.width:  # gaps are given up before words are broken
        table.padding, table.show_edge = 0, False
    console.on_broken_pipe = _left  # type: ignore[method-assign]
    console.print(table)


def _left() -> None:
    """Rich would exit with 1: it is no fault that the reader of a table has seen enough."""
    raise BrokenPipeError


MOST = 100_000
"""Characters of a line in a pipe or a file."""


_PREFIXES = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "u"),
    (1e-9, "n"),
    (1e-12, "p"),
    (1e-15, "f"),
    (1e-18, "a"),
)


def si(value: float | Size | None, unit: str = "", digits: int = 4) -> str:
    """A figure with an SI prefix: ``si(0.0123, "s")`` is ``12.3 ms``; symbolic sizes stay as they are.

    >>> si(11_993_032), si(0.00123, "s"), si(0)
    ('11.99 M', '1.23 ms', '0')
    """
    if value is None:
        return "-"
    if not isinstance(value, int | float):
        return str(value)
    if value == 0:
        return f"0 {unit}".rstrip()
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor * (1 - 0.5 * 10**-digits):
            return f"{value / factor:.{digits}g} {prefix.strip()}{unit}".rstrip()
    return f"{value:.{digits}g} {unit}".rstrip()


def percent(share: float) -> str:
    """``0.123`` -> ``12.3 %``."""
    return f"{100 * share:.1f} %"


def _is_figure(cell: str) -> bool:
    return not cell or cell[0].isdigit() or (cell[0] in "-+<" and len(cell) < 24)
