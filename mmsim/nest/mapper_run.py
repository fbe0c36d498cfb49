"""One search as it goes on: the objective, the budget, the best mapping so far, the counters."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import Rows
from mmsim.nest.mapspace import Array

Metric: TypeAlias = Literal["latency", "energy", "edp"]
PATIENCE, PROOF = 300_000, 2_000_000  # mappings judged by a proof before its end is in sight, and at most
TOLERANCE = 1e-12  # of sums in another order


@dataclass
class Run:
    """One search: the objective (the first metric, ties by the next), the budget, the best found, the counters."""

    objective: tuple[Metric, ...]
    time_s: float | None = None
    mappings: int | None = None
    start: float = field(default_factory=time.process_time)
    best: tuple[float, ...] = ()
    found: list[tuple[Plan, Rows, int]] = field(default_factory=list)  # ever better complete mappings
    improved: int = 0  # the number of `found` of which the last was tried to improve
    judged: int = 0  # choices looked at: partial or complete mappings
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
        if len(better):
            first = int(better[self.order(rows.bound[better], rows.cycles[better])[0]])
            self.best = tuple(float(values[first]) for values in self.metrics(rows.bound, rows.cycles))
            self.found.append((plan, rows, first))
