"""Figures by matplotlib, which is optional: opened here, and written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmsim.errors import InputError


def figure(**how: Any) -> Any:
    """An empty figure without a display; `InputError` where matplotlib is missing."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("drawing needs matplotlib: pip install 'mmsim[plot]'") from None
    return Figure(**how)


def check(path: Path) -> None:
    """Raise `InputError` where matplotlib is missing, or does not write what the name ends in."""
    known = figure().canvas.get_supported_filetypes()
    if path.suffix.lower()[1:] not in known:
        raise InputError(f"must end in .png, .pdf or .svg, not {path.suffix or 'nothing'}", file=str(path))


def save(drawn: Any, path: Path) -> None:
    """Write a figure in the format that the name ends in; `InputError` where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be written: {error}", file=str(path)) from None
