"""The op table: what one layer costs, as loop nests. Every op has one of three verdicts, never silence.

*Counted*: a function gives its problems. *Free*: by name, with the reason (a view moves nothing).
*Unknown*: refused, all unknown ops of a network together in one error.
"""

from __future__ import annotations

from mmsim.layer import Layer
from mmsim.problem import Problem


def problems_of(layer: Layer) -> tuple[Problem, ...]:
    """The problems of one layer; empty for a free op. Raises `InputError` for an unknown op."""
    raise NotImplementedError(layer)
