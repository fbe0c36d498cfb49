"""The exact Pareto front of assignments: one candidate a stage, costs that add up, some paid once a candidate.

An assignment chooses one of C candidates for each of S stages. Its latency and energy are the sums of its
stages'; what a candidate costs once, however many stages it serves (area, a GPU's launch), is added for
every candidate used. The front holds every assignment that no other matches in latency, energy and area.

For every set of candidates, at most one a stage, the stages' points are added up stage by stage
(Minkowski sum) and what is dominated is dropped at once: with the set's area fixed, a partial
assignment beaten in latency and energy stays beaten whatever follows. A set is passed over where straight
lines below its points (the least weighted sum of every stage) show that what was found with no more area
matches them all. Nothing is lost by either: the front is that of all C**S assignments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

MAX_SETS = 1_000_000  # sets of candidates looked at
CHUNK = 512  # of them at a time
LINES = np.linspace(0, np.pi / 2, 12)  # directions of the lines below a set's points


def front(stages: Floats, once: Floats, area_limit: float = math.inf) -> tuple[Ints, Floats]:
    """(candidate of each stage, totals) of every assignment on the front, by rising latency.

    `stages` is latency and energy of every stage on every candidate (S, C, 2), `once` what a candidate
    adds to latency, energy and area when it is used at all (C, 3). Of equal totals, one with the fewest
    candidates counts. No assignment has more than `most_candidates` different ones.

    Two stages, two candidates of area 10: each stage on its own best, or, in half the area, all on one:

    >>> stages = np.array([[[1.0, 1.0], [3.0, 3.0]], [[4.0, 4.0], [2.0, 2.0]]])
    >>> front(stages, np.array([[0.0, 0.0, 10.0], [0.0, 0.0, 10.0]]))[0].tolist()
    [[0, 1], [0, 0]]
    """
    members = useful(stages, once)
    weights = _weights(stages)
    weighted = stages @ weights.T  # (S, C, lines)
    choices, totals = np.zeros((0, len(stages)), np.intp), np.zeros((0, 3))
    for size in range(1, most_candidates(len(members), len(stages)) + 1):
        for sets, paid in _sets(members, size, once, area_limit):
            least = weighted[:, sets].min(axis=2).sum(axis=0) + paid[:, :2] @ weights.T  # (n, lines)
            gaps = _gaps(totals[totals[:, 2] <= paid[0, 2]], weights)  # (m, lines)
            open_ = (gaps > least[:, None] * (1 - 1e-9)).all(axis=2).any(axis=1)  # 1e-9: sums in another order
            found = [_of_set(stages[:, some]) for some in sets[open_]]
            choices = np.vstack([choices, *(s[chosen] for s, (chosen, _) in zip(sets[open_], found, strict=True))])
            totals = np.vstack([totals, *(p + sums for p, (_, sums) in zip(paid[open_], found, strict=True))])
            kept = undominated(totals)
            choices, totals = choices[kept], totals[kept]
    order = np.lexsort(totals.T[::-1])
    return choices[order], totals[order]


def most_candidates(candidates: int, stages: int) -> int:
    """How many different candidates an assignment may have: one a stage, or fewer where there are too many sets."""
    sets = candidates
    for size in range(2, min(candidates, stages) + 1):
        sets += math.comb(candidates, size)
        if sets > MAX_SETS:
            return size - 1
    return min(candidates, stages)


def undominated(points: Floats) -> Ints:
    """Indices, ascending, of the points (n, k) that no other matches or beats in all k; of equal ones the first."""
    order = np.lexsort(points.T[::-1])  # a point is dominated by one before it alone
    rows = points[order]
    alive = np.ones(len(rows), bool)
    for i in range(len(rows)):
        if alive[i]:
            alive[i + 1 :] &= (rows[i + 1 :] < rows[i]).any(axis=1)
    return np.sort(order[alive])


def useful(stages: Floats, once: Floats) -> Ints:
    """Candidates that no other matches or beats at every stage and in what is paid once: it could stand in for them."""
    return undominated(np.column_stack([*stages, once]))


def _sets(candidates: Ints, size: int, once: Floats, area_limit: float) -> Iterator[tuple[Ints, Floats]]:
    """All sets of that size (n, size) and what each pays once (n, 3), the smallest first, some at a time."""
    sets = np.fromiter(chain.from_iterable(combinations(candidates.tolist(), size)), np.intp).reshape(-1, size)
    paid = once[sets].sum(axis=1)
    order = np.argsort(paid[:, 2], kind="stable")
    order = order[paid[order, 2] <= area_limit]
    for start in range(0, len(order), CHUNK):
        some = order[start : start + CHUNK]
        yield sets[some], paid[some]


def _of_set(stages: Floats) -> tuple[Ints, Floats]:
    """(choices (n, S), sums (n, 3), area 0) on the front of latency and energy, each stage free to choose (S, m, 2)."""
    choices, sums = np.zeros((1, 0), np.intp), np.zeros((1, 2))
    for stage in stages:
        longer = (sums[:, None] + stage).reshape(-1, 2)
        kept = _staircase(longer)
        before, chosen = np.divmod(kept, len(stage))
        choices, sums = np.column_stack([choices[before], chosen]), longer[kept]
    return choices, np.pad(sums, ((0, 0), (0, 1)))


def _staircase(points: Floats) -> Ints:
    """Indices of the undominated points (n, 2), by rising latency; of equal ones the first."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    energy = points[order, 1]
    lower: npt.NDArray[np.bool_] = energy < np.minimum.accumulate(np.append(np.inf, energy))[:-1]
    return order[lower]


def _weights(stages: Floats) -> Floats:
    """Weights of latency and energy (lines, 2): both axes and directions between them, at the scale of the figures."""
    scale = stages.min(axis=1).sum(axis=0)
    weights = np.column_stack([np.cos(LINES), np.sin(LINES)]) / np.where(scale > 0, scale, 1.0)
    weights[0, 1] = weights[-1, 0] = 0.0
    return weights


def _gaps(found: Floats, weights: Floats) -> Floats:
    """Weighted sums (m, lines) at the corners below which nothing was found.

    A point that no found one matches has less latency and less energy than one of these corners, and
    so a smaller weighted sum in every direction.
    """
    steps = found[_staircase(found[:, :2])]
    corners = np.column_stack([np.append(steps[:, 0], np.inf), np.append(np.inf, steps[:, 1])])  # (m, 2)
    terms = corners[:, None] * np.where(weights > 0, weights, 1.0)
    return np.asarray(np.where(weights > 0, terms, 0.0).sum(axis=2))
