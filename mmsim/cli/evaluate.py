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
@click.argument("arch_name", metavar="ARCH")
@click.argument("problem_file", metavar="PROBLEM", type=FILE)
@click.argument("mapping_file", metavar="MAPPING", type=FILE)
@click.option("--ert", type=FILE, help="Accelergy's energy table, in place of own figures and models.")
@click.option("--art", type=FILE, help="Accelergy's area table.")
@json_option
@output_option
def command(
    arch_name: str,
    problem_file: Path,
    mapping_file: Path,
    ert: Path | None,
    art: Path | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Cycles, energy and accesses of one mapping, counted as timeloop-model counts them.

    ARCH is a built-in architecture's name, a file of mmsim's own, or a Timeloop v0.4 file; PROBLEM
    and MAPPING are Timeloop v0.4 files (``problem:`` and ``mapping:``). Reads, fills and updates are
    words of one instance.
    """
    from mmsim.nest import mapping_file as mappings
    from mmsim.nest import problem_file as problems
    from mmsim.nest.answer import as_dict
    from mmsim.nest.evaluate import evaluate

    arch = architecture(arch_name, ert, art)
    problem = problems.read(problem_file, word_bits=arch.compute.word_bits)
    found = evaluate(arch, problem, mappings.read(mapping_file, arch, problem))
    answer(as_dict(found, arch), lambda: show_evaluation(found, arch), as_json=as_json, output=output)


def architecture(name: str, ert: Path | None, art: Path | None) -> Arch:
    """The architecture with energies: of the table given, else its own, else of the component models."""
    from mmsim import files
    from mmsim.arch import load
    from mmsim.arch.tables import read_art, read_ert, with_tables
    from mmsim.energy import compound, filled
    from mmsim.errors import InputError

    arch = load(name)
    if ert is None:
        own = compound.parse(files.read_yaml(name), file=name) if name.endswith((".yaml", ".yml")) else None
        try:
            arch = filled(arch, own)
        except InputError as error:
            raise InputError(f"{error.message}; or give --ert", file=name, field=error.field) from None
    return with_tables(arch, read_ert(ert) if ert else None, read_art(art) if art else None, file=str(ert))


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
                f"{access.reads:,}",
                f"{access.fills:,}",
                f"{access.updates:,}",
                si(access.energy_pj * 1e-12, "J"),
                f"{100 * cost.throttling:.4g} %",
            )
            for name, cost in found.levels.items()
            for space, access in cost.data_spaces.items()
        ],
    )
