"""A network as a folder of Timeloop files: one problem file per distinct shape, and an index of who uses it.

::

    OUT/index.yaml      every problem of the network: its file or why it has none, its stages and layers, how often
    OUT/arch.yaml       the architecture, with its constraints
    OUT/ERT.yaml        pJ per action of each component; OUT/ART.yaml its area
    OUT/mapper.yaml     how timeloop-mapper shall search
    OUT/problems/*.yaml one per distinct shape
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsim import files
from mmsim.arch.model import Arch
from mmsim.emit import accelergy, timeloop
from mmsim.problem import Problem
from mmsim.size import concrete
from mmsim.solution import Objective

if TYPE_CHECKING:
    from mmsim.graph import Graph
    from mmsim.layer import Layer

INDEX_NOTE = """Every problem of the network. Energy and cycles of the network are the sum over problems of
(one run of `file`) x `instances` x the `count` of each use; problems without a file are not Timeloop's to count."""


def emit_graph(graph: Graph, arch: Arch, folder: str | Path, objective: Objective = "edp") -> Path:
    """Write `graph` for `arch` into `folder`; returns the index file.

    Raises `InputError` while a size of the graph is symbolic, and for an architecture that Timeloop
    can't be told.
    """
    folder = Path(folder)
    emit_arch(arch, folder)
    files.write_yaml(folder / "mapper.yaml", {"mapper": timeloop.mapper(objective)})
    names = _Names()
    rows = []
    for problem, layers in graph.distinct_problems().items():
        row, spec = _row(problem, layers, names)
        if spec is not None:
            files.write_yaml(files.inside(folder, row["file"]), {"problem": spec})
        rows.append(row)
    head = {"workload": graph.workload, "variant": graph.variant, "architecture": arch.name}
    return files.write_yaml(folder / "index.yaml", {**head, "problems": rows}, header=INDEX_NOTE)


def emit_arch(arch: Arch, folder: Path) -> None:
    """Write the architecture and, where it has them, its energy and area tables."""
    files.write_yaml(folder / "arch.yaml", {"architecture": timeloop.architecture(arch)}, header=arch.description)
    if arch.energy_pj:
        files.write_yaml(folder / "ERT.yaml", {"ERT": accelergy.ert(arch, arch.energy_pj)})
    if arch.area_um2:
        files.write_yaml(folder / "ART.yaml", {"ART": accelergy.art(arch, arch.area_um2)})


class _Names:
    """File names by content: equal files share one, different ones that read alike are numbered."""

    def __init__(self) -> None:
        self._by_text: dict[str, str] = {}
        self._used: Counter[str] = Counter()

    def __call__(self, problem: Problem, spec: dict[str, Any]) -> str:
        text = files.to_yaml(spec)
        if text not in self._by_text:
            sizes = "_".join(f"{dim}{size}" for dim, size in problem.shape.items() if size > 1)
            stem = "_".join(part for part in (problem.family or "problem", sizes) if part)
            self._used[stem] += 1
            number = f"__{self._used[stem]}" if self._used[stem] > 1 else ""
            self._by_text[text] = f"problems/{stem}{number}.yaml"
        return self._by_text[text]


def _row(problem: Problem, layers: tuple[Layer, ...], names: _Names) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A problem's line in the index, and its Timeloop file's content unless Timeloop can't take it."""
    reason = timeloop.refusal(problem)
    spec = None if reason else timeloop.problem(problem)
    row: dict[str, Any] = {"file": names(problem, spec)} if spec else {"file": None, "why": reason}
    row |= {
        "kind": problem.kind,
        "family": problem.family,
        "dims": problem.shape,
        "bits": {space.name: space.bits for space in problem.data_spaces},
        "instances": concrete(problem.instances),
        "operations": problem.operations,
        "compulsory_bytes": problem.compulsory_bytes,
    }
    if spec is None:
        row["data_spaces"] = [
            {
                "name": space.name,
                "projection": [[[dim, coefficient] for dim, coefficient in rank] for rank in space.projection],
                **({"read_write": True} if space.is_output else {}),
            }
            for space in problem.data_spaces
        ]
    by_stage: dict[str, list[str]] = {}
    for layer in layers:
        by_stage.setdefault(str(layer.stage), []).append(layer.name)
    row["uses"] = [{"stage": stage, "count": len(named), "layers": named} for stage, named in by_stage.items()]
    return row, spec
