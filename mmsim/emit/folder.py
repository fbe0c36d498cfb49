"""A network as a folder of Timeloop files: one problem file per distinct shape, and an index of who uses it.

::

    OUT/index.yaml      the files beside it, and every problem of the network: its file or why it has none,
                        its stages and layers, how often
    OUT/arch.yaml       the architecture
    OUT/components.yaml Accelergy's compound components, for those who let Accelergy estimate
    OUT/ERT.yaml        pJ per action of each component; OUT/ART.yaml its area
    OUT/mapper.yaml     how timeloop-mapper shall search
    OUT/problems/*.yaml one per distinct shape, with the architecture's constraints in that problem's terms
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsim import files
from mmsim.arch.model import Arch
from mmsim.emit import accelergy, accelforge, timeloop, zigzag
from mmsim.problem import Problem
from mmsim.size import concrete
from mmsim.solution import Objective

if TYPE_CHECKING:
    from mmsim.graph import Graph
    from mmsim.layer import Layer

INDEX_NOTE = """Every problem of the network. Energy and cycles of the network are the sum over problems of
(one run of `file`) x `instances` x the `count` of each use; problems without a file are not that format's to count."""


_NAME = re.compile(r"(problems/)?\w[\w.-]*\.yaml")


@dataclass(frozen=True)
class Form:
    """A foreign format: why it can't take a problem, what a problem's file holds, and its other files."""

    refusal: Callable[[Problem], str | None]
    problem: Callable[[Problem, Arch | None], dict[str, Any] | list[Any]]
    architecture: Callable[[Arch, Path, Objective], list[Path]]  # writes its other files and says which


def emit_graph(
    graph: Graph, arch: Arch, folder: str | Path, objective: Objective = "edp", *, form: str = "timeloop"
) -> Path:
    """Write `graph` for `arch` into `folder` in a format of `FORMS`; returns the index file.

    What an earlier call wrote there and this one does not is removed; other files stay. Raises
    `InputError` while a size of the graph is symbolic, and for an architecture that the format can't
    be told.
    """
    folder, chosen = Path(folder), FORMS[form]
    before = _listed(folder)
    written = sorted(path.name for path in chosen.architecture(arch, folder, objective))
    head = {"workload": graph.workload, "variant": graph.variant, "architecture": arch.name, "format": form}
    rows = _write_problems(graph, arch, folder, _Names(), chosen)
    index = files.write_yaml(folder / "index.yaml", {**head, "files": written, "problems": rows}, header=INDEX_NOTE)
    for name in before - _listed(folder):
        files.inside(folder, name).unlink(missing_ok=True)
    return index


def _listed(folder: Path) -> set[str]:
    """The files that the index in `folder` names: those that an earlier `emit_graph` wrote."""
    path = folder / "index.yaml"
    index = files.read_yaml(path) if path.exists() else None
    if not isinstance(index, dict) or not isinstance(index.get("problems"), list):
        return set()
    named = [*(index.get("files") or []), *(row.get("file") for row in index["problems"] if isinstance(row, dict))]
    return {name for name in named if isinstance(name, str) and _NAME.fullmatch(name)}


def emit_problems(graphs: Iterable[Graph], folder: str | Path) -> tuple[Path, ...]:
    """Write the problems of some variants of a workload without an architecture; returns an index for each.

    Variants share the files of the shapes that they share: ``problems/*.yaml``, and
    ``VARIANT.problems.yaml`` says which of them a variant uses where.
    """
    folder, names = Path(folder), _Names()
    indices = []
    for graph in graphs:
        head = {"workload": graph.workload, "variant": graph.variant}
        rows = _write_problems(graph, None, folder, names, FORMS["timeloop"])
        path = files.inside(folder, f"{graph.stem}.problems.yaml")
        indices.append(files.write_yaml(path, {**head, "problems": rows}, header=INDEX_NOTE))
    return tuple(indices)


def _write_problems(graph: Graph, arch: Arch | None, folder: Path, names: _Names, form: Form) -> list[dict[str, Any]]:
    rows = []
    for problem, layers in graph.distinct_problems().items():
        row, spec = _row(problem, layers, arch, names, form)
        if spec is not None:
            files.write_yaml(files.inside(folder, row["file"]), spec)
        rows.append(row)
    return rows


def emit_arch(arch: Arch, folder: Path, objective: Objective = "edp") -> list[Path]:
    """Write the architecture for Timeloop and Accelergy: its energy and area tables too, where it has them."""
    architecture = {"architecture": timeloop.architecture(arch)}
    written = [
        files.write_yaml(folder / "arch.yaml", architecture, header=arch.description),
        files.write_yaml(folder / "components.yaml", {"components": accelergy.components(arch)}),
        files.write_yaml(folder / "mapper.yaml", {"mapper": timeloop.mapper(objective)}),
    ]
    if arch.energy_pj:
        written.append(files.write_yaml(folder / "ERT.yaml", {"ERT": accelergy.ert(arch, arch.energy_pj)}))
    if arch.area_um2:
        written.append(files.write_yaml(folder / "ART.yaml", {"ART": accelergy.art(arch, arch.area_um2)}))
    return written


class _Names:
    """File names by content: equal files share one, different ones that read alike are numbered."""

    def __init__(self) -> None:
        self._by_text: dict[str, str] = {}
        self._used: Counter[str] = Counter()

    def __call__(self, problem: Problem, spec: object) -> str:
        text = files.to_yaml(spec)
        if text not in self._by_text:
            sizes = "_".join(f"{dim}{size}" for dim, size in problem.shape.items() if size > 1)
            stem = "_".join(part for part in (problem.family or "problem", sizes) if part)
            self._used[stem] += 1
            number = f"__{self._used[stem]}" if self._used[stem] > 1 else ""
            self._by_text[text] = f"problems/{stem}{number}.yaml"
        return self._by_text[text]


def problem_file(problem: Problem, arch: Arch | None) -> dict[str, Any]:
    """What a problem's file holds: the problem, and the constraints of `arch`, if one is given, on it."""
    out: dict[str, Any] = {"problem": timeloop.problem(problem)}
    if arch is None:
        return out
    constraints = timeloop.constraints(arch, problem)
    return out | ({"constraints": constraints} if constraints["targets"] else {})


def _accelforge_arch(arch: Arch, folder: Path, objective: Objective) -> list[Path]:
    value = {"arch": accelforge.architecture(arch)}
    return [files.write_yaml(folder / "arch.yaml", value, header=arch.description)]


FORMS = {
    "timeloop": Form(timeloop.refusal, problem_file, emit_arch),
    "accelforge": Form(
        accelforge.refusal, lambda problem, _: {"workload": accelforge.workload(problem)}, _accelforge_arch
    ),
    "zigzag": Form(zigzag.refusal, lambda problem, _: [zigzag.layer(problem)], lambda *_: []),
}
"""ZigZag's own hardware files allocate memory ports by hand; only its workload is written."""


def _row(
    problem: Problem, layers: tuple[Layer, ...], arch: Arch | None, names: _Names, form: Form
) -> tuple[dict[str, Any], object]:
    """A problem's line in the index, and its file's content unless the format can't take it."""
    reason = form.refusal(problem)
    spec = None if reason else form.problem(problem, arch)
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
