"""mmsim evaluate: what one mapping of one problem costs, as timeloop-model counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsim.cli.output import answer, json_option, output_option

if TYPE_CHECKING:
    from mmsim.arch import Arch
    from mmsim.nest.evaluate import Evaluation

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("inputs", metavar="ARCH PROBLEM MAPPING", nargs=-1, required=True)
@click.option("--ert", type=FILE, help="Accelergy's energy table, in place of own figures and models.")
@click.option("--art", type=FILE, help="Accelergy's area table.")
@json_option
@output_option
def command(
    inputs: tuple[str, ...],
    ert: Path | None,
    art: Path | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Cycles, energy and accesses of one mapping, counted as timeloop-model counts them.

    ARCH is a built-in architecture's name, a file of mmsim's own, or a Timeloop v0.4 file; PROBLEM
    and MAPPING are Timeloop v0.4 files (``problem:`` and ``mapping:``). As with timeloop-model, one
    file may hold all of it, or many files parts of it, in any order. Reads, fills and updates are
    words of one instance.
    """
    from mmsim.cli.inputs import read
    from mmsim.nest.answer import as_dict
    from mmsim.nest.evaluate import evaluate

    parts = read(inputs, ert, art)
    arch = parts.architecture()
    problem = parts.problem(arch)
    found = evaluate(arch, problem, parts.mapping(arch, problem))
    answer(as_dict(found, arch), lambda: show_evaluation(found, arch), as_json=as_json, output=output)


def show_evaluation(found: Evaluation, arch: Arch) -> None:
    """Print an evaluation as tables; the verb ``map`` prints its best mapping the same way."""
    from mmsim.arch.tables import area_um2
    from mmsim.report.table import show, si

    show(
        arch.name,
        ("", "value"),
        [
            ("cycles", f"{found.cycles:,}"),
            ("time", si(found.cycles * arch.cycle_s, "s")),
            ("utilization", f"{100 * found.utilization:.2f} %"),
            ("bound by", found.bound),
            ("computes", f"{found.computes:,}"),
            ("energy", si(found.energy_pj * 1e-12, "J")),
            ("EDP", f"{found.edp:.4g} pJ cycles"),
            *([("area", f"{area_um2(arch) * 1e-6:.4g} mm^2")] if arch.area_um2 else []),
        ],
    )
    show(
        "Words of one instance",
        ("level", "data space", "instances", "capacity", "reads", "fills", "updates", "energy", "bandwidth served"),
        [
            (
                name,
                space,
                access.utilized_instances,
                f"{access.utilized_capacity:,}",
                f"{round(access.reads, 2):,}",
                f"{round(access.fills, 2):,}",
                f"{round(access.updates, 2):,}",
                si(access.energy_pj * 1e-12, "J"),
                f"{100 * cost.throttling:.4g} %",
            )
            for name, cost in found.levels.items()
            for space, access in cost.data_spaces.items()
        ],
    )
