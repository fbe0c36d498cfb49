"""A row of the op table: the function that says what one layer of that kind costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from mmsim.layer import Layer
from mmsim.problem import Problem

Rule: TypeAlias = Callable[[Layer], tuple[Problem, ...]]
