"""The Pareto front of an exploration as a figure: latency against energy, area as colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmsim.explore import Assignment, Exploration, assigned
from mmsim.report import plot
from mmsim.report.explorations import OBJECTIVES
from mmsim.report.table import si


def draw(found: Exploration, path: Path) -> None:
    """Draw all assignments on the front, each candidate as shared by all stages, and the best of both.

    Needs matplotlib; raises `InputError` without it, and when `path` cannot be written.
    """
    figure = plot.figure(figsize=(7.6, 5.4), layout="constrained")
    axes = figure.add_subplot()
    singles = [assigned(dict.fromkeys(found.stages, one)) for one in found.candidates]
    outline: dict[str, Any] = {"facecolor": "none", "marker": "s", "edgecolor": "#8a8f98"}
    axes.scatter(*_points(singles), s=34, linewidth=0.8, label="one accelerator shared by all", **outline)
    area = [one.area_mm2 for one in found.front]
    looks: dict[str, Any] = {"cmap": "viridis_r", "norm": "log" if 0 < min(area) < max(area) else "linear"}
    front = axes.scatter(*_points(found.front), c=area, s=30, linewidth=0, label="Pareto front", zorder=3, **looks)
    for one, name, marker, size in ((found.shared, "best shared", "s", 100), (found.best, "best", "*", 260)):
        label = f"{name}: {si(one.latency_s, 's')}, {si(one.energy_j, 'J')}, {one.area_mm2:.3g} mm²"
        red: dict[str, Any] = {**outline, "marker": marker, "edgecolor": "#c0392b"}
        axes.scatter(*_points([one]), s=size, linewidth=1.3, label=label, zorder=4, **red)
    latency_s, energy_j = _points([*found.front, *singles])
    for axis, name, values, unit in ((axes.xaxis, "latency", latency_s, "s"), (axes.yaxis, "energy", energy_j, "J")):
        _scale(axis, values, unit)
        axis.set_label_text(name)
    if min(area) < max(area):
        bar = figure.colorbar(front, ax=axes, label="area of all accelerators, mm²", pad=0.02)
        _scale(bar.ax.yaxis, area, "", always=True)
        bar.outline.set_visible(False)
    space = f"{len(found.candidates)} accelerators on {len(found.stages)} stages"
    axes.set_title(
        f"{found.graph.name}: {space}, best by {OBJECTIVES[found.objective]}",
        loc="left",
        fontsize="medium",
        fontweight="bold",
    )
    axes.grid(color="0.93", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize="small", frameon=False, loc="outside lower left", ncols=2)
    plot.save(figure, path)


def _points(assignments: Sequence[Assignment]) -> tuple[list[float], list[float]]:
    return [one.latency_s for one in assignments], [one.energy_j for one in assignments]


def _scale(axis: Any, values: Sequence[float], unit: str, *, always: bool = False) -> None:
    """Logarithmic where the values span a factor of five, with ticks at 1, 2 and 5; figures in engineering units."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    if always or 0 < 5 * min(values) < max(values):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(EngFormatter(unit=unit))
