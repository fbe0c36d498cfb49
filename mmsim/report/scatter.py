"""Predicted over measured, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from mmsim.report import plot

Points: TypeAlias = Sequence[tuple[float, float]]
"""(measured, predicted) in seconds."""


def scatter(
    groups: Mapping[str, Points], title: str, path: Path, *, larger: Mapping[str, Points] | None = None
) -> None:
    """Draw groups of points by name, with the diagonal and +-25 %; needs matplotlib.

    Those that are `larger` (sums of the others, such as stages) are drawn over them.
    """
    figure = plot.figure(figsize=(6, 6))
    from matplotlib.ticker import EngFormatter

    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="measured", ylabel="predicted", title=title)
    for name, points in groups.items():
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, s=6, alpha=0.5, linewidth=0, label=name)
    for (name, points), marker in zip((larger or {}).items(), "so^", strict=False):
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, s=36, marker=marker, facecolor="none", edgecolor="black", label=name)
    measured = [x for points in (*groups.values(), *(larger or {}).values()) for x, _ in points]
    ends = (min(measured), max(measured))
    axes.fill_between(ends, [0.8 * x for x in ends], [1.25 * x for x in ends], color="0.85", zorder=0, label="+-25 %")
    axes.plot(ends, ends, color="0.4", linewidth=1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(EngFormatter(unit="s"))
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color="0.92", linewidth=0.5)
    axes.set_axisbelow(True)
    if len(groups) > 1 or larger:
        axes.legend(fontsize="small", frameon=False, loc="upper left")
    figure.tight_layout()
    plot.save(figure, path)
