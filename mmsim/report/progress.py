"""Progress of long work: a bar on standard error for people, silence for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar of `total` steps; call what it gives, with a word on what was done, after each step."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, **_on_terminal(total > 1)) as shown:
        task = shown.add_task("", total=total)
        yield lambda done: shown.update(task, advance=1, description=done)


@contextmanager
def counter(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar whose length is learnt on the way; call what it gives with (done, of)."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, **_on_terminal()) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, of: shown.update(task, completed=done, total=of)


def _on_terminal(wanted: bool = True) -> dict[str, Any]:
    """Shown on standard error while it is a terminal, and gone when done."""
    from rich.console import Console

    console = Console(stderr=True)
    return {"console": console, "transient": True, "disable": not (wanted and console.is_terminal)}
