"""mmsim map: the best mapping of one problem on one architecture, with a proof or the gap that is left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsim.cli.output import answer, json_option, output_option

if TYPE_CHECKING:
    from mmsim.arch import Arch
    from mmsim.nest.search import Result
    from mmsim.problem import Problem

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("inputs", metavar="ARCH PROBLEM", nargs=-1, required=True)
@click.option("--ert", type=FILE, help="Accelergy's energy table, in place of the architecture's own energies.")
@click.option("--art", type=FILE, help="Accelergy's area table.")
@click.option(
    "--objective",
    default="edp",
    show_default=True,
    help="edp, energy, latency, or several in order of importance: latency,energy.",
)
@click.option("--time", "time_s", type=click.FloatRange(min=0), help="Stop after so many seconds of CPU time.")
@click.option("--mappings", type=click.IntRange(min=1), help="Stop after looking at so many mappings.")
@json_option
@output_option
def command(
    inputs: tuple[str, ...],
    ert: Path | None,
    art: Path | None,
    objective: str,
    time_s: float | None,
    mappings: int | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """The best mapping of a problem: tile shapes, loop orders, spatial unrolling and bypass.

    ARCH is a built-in architecture's name, a file of mmsim's own, or a Timeloop v0.4 file; PROBLEM is
    a Timeloop v0.4 file; one file may hold both, or many files parts of them. The answer says whether
    it is proven optimal; where the budget ended the search, it gives a bound that no mapping can beat.
    Only --time makes the answer depend on the machine.
    """
    from mmsim.cli.inputs import read
    from mmsim.nest.search import best_mapping

    parts = read(inputs, ert, art)
    arch = parts.architecture()
    problem = parts.problem(arch)
    found = best_mapping(problem, arch, objective, time_s=time_s, mappings=mappings)
    answer(_as_dict(found, arch, problem), lambda: _show(found, arch), as_json=as_json, output=output)


def _as_dict(found: Result, arch: Arch, problem: Problem) -> dict[str, Any]:
    """The fields of ``mmsim evaluate``, the mapping, and how good it is."""
    from mmsim.nest.answer import as_dict
    from mmsim.nest.mapping_file import to_timeloop

    return {
        **as_dict(found.evaluation, arch),
        "mapping": to_timeloop(found.mapping, arch, problem),
        "objective": list(found.objective),
        "proof": found.proof,
        "lower_bound": found.lower_bound,
        "cpu_seconds": found.cpu_seconds,
        "judged_mappings": found.judged_mappings,
    }


def _show(found: Result, arch: Arch) -> None:
    """The evaluation's tables, then the mapping, one line a level."""
    from mmsim.cli.evaluate import show_evaluation
    from mmsim.nest.mapping import to_text

    show_evaluation(found.evaluation, arch)
    for line in to_text(found.mapping).split(" | "):
        click.echo(f"  {line}")
    metric = found.objective[0]
    proof = (
        "optimal in its mapspace"
        if found.proof == "optimal"
        else f"no mapping is below {found.lower_bound:.4g} {metric}"
    )
    click.echo(f"{proof}; {found.judged_mappings:,} mappings judged in {found.cpu_seconds:.2f} s")
