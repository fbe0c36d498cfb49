"""mmsim crosscheck: the installed back ends side by side on a network."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from mmsim.cli.output import answer, json_option, output_option
from mmsim.cli.source import Source, batch_option, concrete, source_options

if TYPE_CHECKING:
    from mmsim.crosscheck import Answer, Crosscheck, Row


@click.command()
@source_options
@click.option("--arch", "architecture", required=True, metavar="NAME|FILE")
@click.option("--backend", "names", multiple=True, help="builtin, timeloop or accelforge (default: all installed).")
@batch_option
@click.option("--dtype", help="Numeric format of weights and activations (default: the network's own).")
@click.option("--objective", type=click.Choice(["latency", "energy", "edp"]), default="edp", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Only this many problems, those with the most work.")
@click.option(
    "--time", "limit_s", type=click.FloatRange(min=0), default=120, show_default=True,
    help="Seconds for one problem of one back end; AccelForge takes minutes for a convolution.",
)  # fmt: skip
@json_option
@output_option
def command(
    source: Source,
    architecture: str,
    names: tuple[str, ...],
    batch: int | None,
    dtype: str | None,
    objective: str,
    limit: int | None,
    limit_s: float,
    as_json: bool,
    output: Path | None,
) -> None:
    """Cycles, energy, EDP and seconds of every back end on the multiply-accumulate layers of NETWORK.

    All are given the same problems, architecture and energies; each judges its own mappings by its
    own model. `mmsim doctor` says which back ends are installed.
    """
    from mmsim.arch import load
    from mmsim.crosscheck import crosscheck, mac_problems
    from mmsim.report import progress

    arch = load(architecture)
    graph = concrete(source.graph(batch or 1), batch)
    graph = graph.cast(dtype) if dtype is not None else graph
    problems = mac_problems(graph, limit)
    with progress.bar("crosscheck", len(problems)) as step:
        found = crosscheck(problems, arch, cast(Any, objective), names=names or None, limit_s=limit_s, progress=step)
    answer(record(found, graph.workload), lambda: _tables(found), as_json=as_json, output=output)


def record(found: Crosscheck, workload: str) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "workload": workload,
        "architecture": found.arch.name,
        "objective": found.objective,
        "totals": {
            total.backend: {
                "latency_s": total.latency_s,
                "cycles": round(total.latency_s / found.arch.cycle_s),
                "energy_j": total.energy_j,
                "edp_js": total.edp,
                "seconds": total.seconds,
                "solved": total.solved,
                "edp_ratio": total.edp_ratio if math.isfinite(total.edp_ratio) else None,
            }
            for total in found.totals
        },
        "problems": [
            {
                "family": row.problem.family,
                "dims": row.problem.shape,
                "uses": row.uses,
                "answers": {answer.backend: _answer(answer, found) for answer in row.answers},
            }
            for row in found.rows
        ],
    }


def _answer(answer: Answer, found: Crosscheck) -> dict[str, Any]:
    if answer.solution is None:
        return {"error": answer.error, "seconds": answer.seconds}
    return {
        "latency_s": answer.solution.latency_s,
        "cycles": round(answer.solution.latency_s / found.arch.cycle_s),
        "energy_j": answer.solution.energy_j,
        "edp_js": answer.solution.edp,
        "utilization": answer.solution.utilization,
        "proof": answer.solution.proof,
        "detail": answer.solution.detail,
        "seconds": answer.seconds,
    }


def _tables(found: Crosscheck) -> None:
    from mmsim.report.table import show, si

    def cells(row: Row, answer: Answer) -> list[str]:
        shape = " ".join(f"{dim}{size}" for dim, size in row.problem.shape.items() if size > 1)
        if answer.solution is None:
            return [
                row.problem.family,
                shape,
                answer.backend,
                "-",
                "-",
                "-",
                "-",
                f"{answer.seconds:.2f}",
                answer.error,
            ]
        solution = answer.solution
        return [
            row.problem.family,
            shape,
            answer.backend,
            f"{round(solution.latency_s / found.arch.cycle_s):,}",
            si(solution.energy_j, "J"),
            f"{solution.edp:.4g}",
            f"{100 * solution.utilization:.1f} %",
            f"{answer.seconds:.2f}",
            solution.proof,
        ]

    show(
        f"Back ends on {found.arch.name}, objective {found.objective}",
        ("family", "shape", "back end", "cycles", "energy", "EDP [J s]", "utilization", "seconds", "proof, or why not"),
        [cells(row, answer) for row in found.rows for answer in row.answers],
    )
    solved = sum(row.comparable for row in found.rows)
    first = found.backends[0]
    show(
        f"Sums over the {solved} of {len(found.rows)} problems that all solved, as often as used",
        ("back end", "solved", "cycles", "energy", "EDP [J s]", "seconds", f"EDP beside {first}'s, where both solved"),
        [
            (
                t.backend,
                f"{t.solved}",
                f"{round(t.latency_s / found.arch.cycle_s):,}",
                si(t.energy_j, "J"),
                f"{t.edp:.4g}",
                f"{t.seconds:.2f}",
                f"{t.edp_ratio:.3f} x" if math.isfinite(t.edp_ratio) else "-",
            )
            for t in found.totals
        ],
    )
