"""Installed back ends side by side on the same problems and architecture: latency, energy, EDP and seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mmsim import backends
from mmsim.arch.model import Arch
from mmsim.energy import filled
from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.problem import Problem
from mmsim.size import concrete
from mmsim.solution import Objective, Solution

Progress = Callable[[str], None]
"""Called after each problem with its family."""


@dataclass(frozen=True)
class Answer:
    """What one back end says of one problem: a solution, or why there is none; `seconds` of wall time it took."""

    backend: str
    solution: Solution | None
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Row:
    """One problem, how often the network uses it, and every back end's answer."""

    problem: Problem
    uses: int
    answers: tuple[Answer, ...]

    @property
    def comparable(self) -> bool:
        """Whether every back end has an answer."""
        return all(answer.solution is not None for answer in self.answers)


@dataclass(frozen=True)
class Total:
    """Sums of one back end over the problems that every back end solved, each as often as it is used.

    It `solved` so many problems. On those that the first back end solved too, the sums' energy-delay
    product is `edp_ratio` times the first one's.
    """

    backend: str
    latency_s: float
    energy_j: float
    seconds: float
    solved: int
    edp_ratio: float

    @property
    def edp(self) -> float:
        """Energy-delay product in J s."""
        return self.energy_j * self.latency_s


@dataclass(frozen=True)
class Crosscheck:
    """A network's multiply-accumulate problems on an architecture, solved by several back ends."""

    arch: Arch
    objective: Objective
    backends: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def totals(self) -> tuple[Total, ...]:
        """One for each back end."""
        return tuple(self._total(index, name) for index, name in enumerate(self.backends))

    def _total(self, index: int, name: str) -> Total:
        comparable = [row for row in self.rows if row.comparable]
        both = [row for row in self.rows if row.answers[0].solution and row.answers[index].solution]
        latency_s, energy_j = self._sums(index, comparable)
        return Total(
            backend=name,
            latency_s=latency_s,
            energy_j=energy_j,
            seconds=sum(row.answers[index].seconds for row in comparable),
            solved=sum(row.answers[index].solution is not None for row in self.rows),
            edp_ratio=math.prod(self._sums(index, both)) / math.prod(self._sums(0, both)) if both else math.nan,
        )

    def _sums(self, index: int, rows: Sequence[Row]) -> tuple[float, float]:
        """Latency and energy of one back end over some problems, each as often as it is used."""
        solved = [(row.uses, solution) for row in rows if (solution := row.answers[index].solution)]
        return sum(uses * one.latency_s for uses, one in solved), sum(uses * one.energy_j for uses, one in solved)


def installed() -> tuple[str, ...]:
    """The back ends that can run here."""
    return tuple(name for name in backends.NAMES if backends.backend(name).missing() is None)


def crosscheck(
    problems: Mapping[Problem, int],
    arch: Arch,
    objective: Objective = "edp",
    *,
    names: Sequence[str] | None = None,
    limit_s: float | None = None,
    progress: Progress = lambda family: None,
) -> Crosscheck:
    """Let every installed back end (or those named) solve `problems`, given with how often each is used.

    All work with the same energies: those of `arch`, filled in from the built-in models. A back end
    that fails on a problem, or needs more than `limit_s` seconds, says so in its answer. Raises
    `InputError` for one that is not installed.
    """
    chosen = tuple(names) if names else installed()
    for name in chosen:
        module = backends.backend(name)
        if reason := module.missing():
            raise InputError(f"back end {name}: {reason}; {module.INSTALL}")
    arch = filled(arch)
    rows = []
    for problem, uses in problems.items():
        answers = tuple(_ask(name, problem, arch, objective, limit_s) for name in chosen)
        rows.append(Row(problem, uses, answers))
        progress(problem.family)
    return Crosscheck(arch, objective, chosen, tuple(rows))


def mac_problems(graph: Graph, limit: int | None = None) -> dict[Problem, int]:
    """The distinct multiply-accumulate problems of `graph`, those with the most work first, and their uses."""
    found: Mapping[Problem, tuple[Layer, ...]] = graph.distinct_problems()
    counted = {problem: len(layers) for problem, layers in found.items() if problem.kind == "mac"}
    work = sorted(counted, key=lambda problem: -concrete(problem.macs) * counted[problem])
    return {problem: counted[problem] for problem in work[:limit]}


def _ask(name: str, problem: Problem, arch: Arch, objective: Objective, limit_s: float | None) -> Answer:
    start = time.perf_counter()
    try:
        solution = backends.solve(problem, arch, objective, name=name, limit_s=limit_s)
    except InputError as error:
        return Answer(name, None, time.perf_counter() - start, str(error).removeprefix(f"{name}_job: "))
    return Answer(name, solution, time.perf_counter() - start)
