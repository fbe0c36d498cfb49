"""mmsim list: the workloads with their variants, and the architectures."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from mmsim.cli.output import answer, json_option


@click.command()
@json_option
def command(as_json: bool) -> None:
    """The nine workloads with their fusion variants, modalities and knobs, and the built-in architectures."""
    from mmsim.arch import catalogue

    workloads, architectures = workload_catalogue(), catalogue()
    value = {"workloads": workloads, "architectures": {arch.name: arch.description for arch in architectures}}

    def tables() -> None:
        from mmsim.report.table import show

        show(
            "Workloads (the first fusion is the paper's)",
            ("name", "task", "modalities", "fusions", "knobs"),
            [
                (name, w["task"], *(", ".join(w[key]) for key in ("modalities", "fusions")), _knobs(w["knobs"]))
                for name, w in workloads.items()
            ],
        )
        show("Architectures", ("name", "what it is"), [(arch.name, arch.description) for arch in architectures])

    answer(value, tables, as_json=as_json)


def workload_catalogue() -> dict[str, Any]:
    """What `mmsim.workloads` declares, read from its catalogue file: importing the networks would import torch."""
    from mmsim.files import read_json

    spec = find_spec("mmsim.workloads")
    assert spec is not None and spec.origin is not None  # part of this package
    found: dict[str, Any] = read_json(Path(spec.origin).with_name("catalogue.json"))
    return found


def _knobs(knobs: dict[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in knobs.items())
