"""One search as it goes on: the objective, the budget, the best mapping so far, the counters."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.nest.evaluate import Evaluation
from mmsim.nest.mapper_answer import judged
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Ints, Rows
from mmsim.nest.mapping import Mapping
from mmsim.nest.mapspace import Array

Metric: TypeAlias = Literal["latency", "energy", "edp"]
PATIENCE, PROOF = 240_000, 2_000_000  # mappings judged by a proof before its end is in sight, and at most
TRIALS, FEW, ORDERS = 60, 2, 60  # mappings that a proof judges one by one; of a large problem; and of one row
AT_FIRST = 1  # of one beam
ROUNDING = 1e-3  # by which whole accesses per instance may exceed the search's fractions of them
TOLERANCE = 1e-12  # of sums in another order


@dataclass(frozen=True)
class Found:
    """A complete mapping: its row, its score, and its mapping and cost where `evaluate` has judged it already."""

    plan: Plan
    rows: Rows
    row: int
    score: tuple[float, ...]
    known: tuple[Mapping, Evaluation] | None = None


@dataclass
class Run:
    """One search: the objective (the first metric, ties by the next), the budget, the best found, the counters."""

    objective: tuple[Metric, ...]
    time_s: float | None = None
    mappings: int | None = None
    start: float = field(default_factory=time.process_time)
    best: tuple[float, ...] = ()
    found: list[Found] = field(default_factory=list)  # ever better complete mappings
    one_by_one: bool = False  # whether complete mappings are judged by `evaluate` before they count
    tried: int = 0  # how many of them a proof has judged so
    improved: int = 0  # the number of `found` of which the last was tried to improve
    judged: int = 0  # choices looked at: partial or complete mappings
    thorough: bool = False  # whether whole accesses matter, so that of equal choices none is dropped
    proving: bool = False
    proof_from: int | None = None  # how many were judged when a proof began that goes on while it promises to end
    done: float = 0.0  # the share of the proof that is done
    over: bool = False  # given up
    left_out: float = np.inf  # the least bound of the first metric among what the budget cut off
    growth: dict[int, tuple[int, int]] = field(default_factory=dict)  # rows and their candidates at each slot

    def __post_init__(self) -> None:
        self.best = (np.inf,) * len(self.objective)

    def metrics(self, energy: Array, cycles: Array) -> list[Array]:
        """The objective's metrics, the first one first."""
        every = {"energy": energy, "latency": cycles, "edp": energy * cycles}
        return [every[metric] for metric in self.objective]

    def wins(self, energy: Array, cycles: Array) -> npt.NDArray[np.bool_]:
        """Whether that would be better than the best found."""
        better = np.zeros(len(energy), dtype=bool)
        equal = np.ones(len(energy), dtype=bool)
        for values, best in zip(self.metrics(energy, cycles), self.best, strict=True):
            better |= equal & (values < best * (1 - TOLERANCE))
            equal &= values <= best * (1 + TOLERANCE)
        return better

    def order(self, energy: Array, cycles: Array) -> npt.NDArray[np.int64]:
        """Positions, the best first."""
        return np.lexsort(self.metrics(energy, cycles)[::-1])

    def spent(self) -> bool:
        """Whether the budget is, once there is a mapping to return."""
        if not self.found or self.over:
            return self.over
        late = self.time_s is not None and time.process_time() - self.start > self.time_s
        enough = self.mappings is not None and self.judged >= self.mappings
        self.over = self.proof_from is not None and self._is_hopeless()
        return late or enough or self.over

    def _is_hopeless(self) -> bool:
        """Whether a proof has too little done for its pains; what comes first takes longest."""
        assert self.proof_from is not None
        pains = self.judged - self.proof_from
        return pains > PATIENCE and self.done < (pains / PROOF) ** 3

    def note(self, slot: int, rows: int, made: int) -> None:
        """Remember how many choices of factors so many rows made."""
        before = self.growth.get(slot, (0, 0))
        self.growth[slot] = (before[0] + rows, before[1] + made)

    def at_once(self, slot: int, candidates: int) -> int:
        """How many rows to go on with at once, judged by how many candidates they have made so far."""
        rows, made = self.growth.get(slot, (1, 100))
        return max(64, candidates * rows // max(made, 1))

    def give_up(self, energy: Array, cycles: Array) -> None:
        """Remember that what these bounds are of was not looked into."""
        open_ = self.wins(energy, cycles)
        least = self.metrics(energy, cycles)[0][open_].min(initial=np.inf)
        self.left_out = min(self.left_out, float(least))

    def record(self, plan: Plan, rows: Rows) -> None:
        """Note the best of complete mappings that are better than the best so far."""
        better = np.flatnonzero(self.wins(rows.bound, rows.cycles))
        better = better[self.order(rows.bound[better], rows.cycles[better])]
        if len(better) and not self.one_by_one:
            row = int(better[0])
            self._note(plan, rows, row, float(rows.bound[row]), float(rows.cycles[row]))
        elif len(better):
            self._record_one_by_one(plan, rows, better)

    def _record_one_by_one(self, plan: Plan, rows: Rows, better: Ints) -> None:
        """The same by the cost that `evaluate` finds, which is no less than the search's."""
        for tried, row in enumerate(better.tolist()):
            rest = better[tried:]
            if not self.wins(rows.bound[rest[:1]], rows.cycles[rest[:1]])[0]:
                return
            most = TRIALS if self.thorough else FEW
            enough = self.tried >= most if self.proving else tried >= AT_FIRST
            if self.found and enough:
                self.give_up(rows.bound[rest], rows.cycles[rest])
                return
            costs, whole = judged(plan, rows, row, ORDERS if self.thorough and self.proving else 1)
            for mapping, cost in costs:
                energy, cycles = np.array([cost.energy_pj]), np.array([float(cost.cycles)])
                if self.wins(energy, cycles)[0]:
                    self._note(plan, rows, row, cost.energy_pj, float(cost.cycles), (mapping, cost))
            self.tried += len(costs) * self.proving
            energy, cycles = rows.bound[rest[:1]], rows.cycles[rest[:1]]
            if not (self.thorough and whole) and self.wins(energy * (1 + ROUNDING), cycles)[0]:
                self.give_up(energy, cycles)  # what was dropped for this one, or taken as equal, may cost less

    def _note(
        self,
        plan: Plan,
        rows: Rows,
        row: int,
        energy: float,
        cycles: float,
        known: tuple[Mapping, Evaluation] | None = None,
    ) -> None:
        self.best = tuple(float(m[0]) for m in self.metrics(np.array([energy]), np.array([cycles])))
        self.found.append(Found(plan, rows, row, self.best, known))
