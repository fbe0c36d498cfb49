"""The search over per-stage accelerators: a design space, every candidate's figures, and the exact Pareto front."""

from __future__ import annotations

from mmsim.explore.search import Assignment, Evaluated, Exploration, assigned, explore, gain, record
from mmsim.explore.space import Candidate, design_space

__all__ = [
    "Assignment",
    "Candidate",
    "Evaluated",
    "Exploration",
    "assigned",
    "design_space",
    "explore",
    "gain",
    "record",
]
