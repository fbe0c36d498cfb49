"""What an evaluation says of one problem on one architecture: time, energy, traffic and what bounds it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Objective: TypeAlias = Literal["latency", "energy", "edp"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Words moved at one level for one data space, over all instances and the whole problem."""

    level: str
    data_space: str
    reads: float
    fills: float
    updates: float
    bytes: float
    energy_j: float

    def times(self, count: int) -> Traffic:
        """The traffic of `count` runs."""
        moved = {name: getattr(self, name) * count for name in ("reads", "fills", "updates", "bytes", "energy_j")}
        return replace(self, **moved)


@dataclass(frozen=True)
class Solution:
    """Latency, energy and traffic of one problem (all its instances) on one architecture.

    `bound` is ``compute``, the name of the level whose bandwidth limits, or ``launch``. `proof` says
    how good `mapping` (Timeloop's mapping syntax, as text) is: ``optimal`` in the stated mapspace,
    ``gap`` with `lower_bound` proven, ``model`` where a kernel library, not a mapper, decides.
    """

    latency_s: float
    energy_j: float
    bound: str
    utilization: float
    traffic: tuple[Traffic, ...] = ()
    mapping: str = ""
    proof: Literal["optimal", "gap", "model"] = "model"
    lower_bound: float | None = None
    detail: str = ""

    def times(self, count: int) -> Solution:
        """The same problem run `count` times, one after the other; `lower_bound` stays that of one."""
        if count == 1:
            return self
        return replace(
            self,
            latency_s=self.latency_s * count,
            energy_j=self.energy_j * count,
            traffic=tuple(one.times(count) for one in self.traffic),
        )

    @property
    def edp(self) -> float:
        """Energy-delay product in J s."""
        return self.energy_j * self.latency_s
