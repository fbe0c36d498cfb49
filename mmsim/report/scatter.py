"""Predicted over measured, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmsim.errors import InputError


def scatter(points: Sequence[tuple[float, float]], title: str, path: Path) -> None:
    """Draw (measured, predicted) pairs in seconds, with the diagonal and +-25 %; needs matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("drawing needs matplotlib: pip install 'mmsim[plot]'") from None
    figure = Figure(figsize=(5, 5))
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="measured (s)", ylabel="predicted (s)", title=title)
    measured = [x for x, _ in points]
    axes.scatter(measured, [y for _, y in points], s=4, alpha=0.5)
    ends = (min(measured), max(measured))
    for factor, style in ((1.0, "-"), (1.25, ":"), (0.8, ":")):
        axes.plot(ends, tuple(factor * end for end in ends), style, color="0.4", linewidth=1)
    figure.tight_layout()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be written: {error}", file=str(path)) from None
