"""mmsim energy: the energy and area tables of an architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmsim.cli.output import answer, json_option


@click.command()
@click.argument("inputs", metavar="ARCH", nargs=-1, required=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Write ERT.yaml and ART.yaml here as well."
)
@json_option
def command(inputs: tuple[str, ...], output: Path | None, as_json: bool) -> None:
    """pJ per action and area of every component of ARCH: its own figures, and component models for the rest.

    A Timeloop v0.4 architecture may come in several files: compound components, variables, tables of
    its own. A memory's read, write and update are one access to a row of `width` bits, leak is per
    cycle; the tables are Accelergy's energy and area reference tables (ERT, ART).
    """
    from mmsim import files
    from mmsim.cli.inputs import read
    from mmsim.emit import accelergy

    parts = read(inputs, None, None)
    arch = parts.machine()
    energy, area = parts.tables(arch)
    ert, art = {"ERT": accelergy.ert(arch, energy)}, {"ART": accelergy.art(arch, area)}
    if output is not None:
        files.write_yaml(output / "ERT.yaml", ert)
        files.write_yaml(output / "ART.yaml", art)
    value: dict[str, Any] = {"architecture": arch.name, "energy_pj": energy, "area_um2": area}

    def table() -> None:
        from mmsim.report.table import show, si

        whole_mm2 = sum(area[name] * arch.instances(name) for name in area) * 1e-6
        actions = list(dict.fromkeys(action for table in energy.values() for action in table))
        show(
            f"{arch.name}: energy per action, area of one instance",
            ("component", "instances", *actions, "area"),
            [
                (
                    name,
                    f"{arch.instances(name):,}",
                    *(si(table[action] * 1e-12, "J") if action in table else "-" for action in actions),
                    f"{area[name]:,.0f} um^2" if area[name] else "-",
                )
                for name, table in energy.items()
            ],
            note=f"area in all {whole_mm2:.4g} mm^2, DRAM and wires apart; how far the models are off: docs/energy.md",
        )

    answer(value, table, as_json=as_json)
