"""Whoever finds the best mapping of a problem: the built-in mapper, the real Timeloop, AccelForge.

Each back end is a module with ``solve(problem, arch, objective) -> Solution``, ``missing() -> str | None``
and ``INSTALL``, how to get what is missing.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from mmsim.arch.model import Arch
from mmsim.backends import builtin
from mmsim.errors import InputError
from mmsim.problem import Problem
from mmsim.solution import Objective, Solution

NAMES = ("builtin", "timeloop", "accelforge")


def backend(name: str) -> ModuleType:
    """The module of that back end; raises `InputError` for a name that is none."""
    if name not in NAMES:
        raise InputError(f"unknown back end {name!r}: one of {', '.join(NAMES)}")
    return import_module(f"mmsim.backends.{name}")


def solve(
    problem: Problem, arch: Arch, objective: Objective = "edp", *, name: str = "builtin", limit_s: float | None = None
) -> Solution:
    """`problem` on `arch`, solved by the back end called `name`.

    Vector and movement problems, which no other back end knows, always go to the built-in one. After
    `limit_s` seconds they answer with their best so far; AccelForge, which has none, with `InputError`.
    """
    if problem.kind != "mac" or name == "builtin":
        return builtin.solve(problem, arch, objective, time_s=limit_s)
    limit = {} if limit_s is None else {"timeout_s": limit_s}
    solution: Solution = backend(name).solve(problem, arch, objective, **limit)
    return solution
