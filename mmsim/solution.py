"""What an evaluation says of one problem on one architecture: time, energy, traffic and what bounds it."""

from __future__ import annotations

from dataclasses import dataclass
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

    @property
    def edp(self) -> float:
        """Energy-delay product in J s."""
        return self.energy_j * self.latency_s
