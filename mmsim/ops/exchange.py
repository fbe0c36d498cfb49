"""The gradients of a product: the same loops, with the factor that is sought and the result in exchanged roles."""

from __future__ import annotations

from dataclasses import replace

from mmsim.problem import DataSpace, Problem

_CLASSES = {(True, True, True): "B", (True, False, True): "M", (False, True, True): "N", (True, True, False): "K"}
"""(in Inputs, in Weights, in Outputs) -> the dimension of a matrix product."""


def exchanged(problem: Problem, target: str) -> Problem:
    """The product that gives the gradient of `target` (``Inputs`` or ``Weights``): it changes places with ``Outputs``.

    A matrix product keeps Timeloop's letters, M N of the result and K summed. Of a convolution the input gradient
    exchanges C and M; the weight gradient keeps the letters, and sums over N, P and Q.
    """
    spaces = {space.name: space for space in problem.data_spaces}
    changed = {**spaces, target: spaces["Outputs"], "Outputs": spaces[target]}
    named = tuple(replace(changed[name], name=name, is_output=name == "Outputs") for name in spaces)
    if problem.family == "matmul":
        letters = {d: _CLASSES[tuple(d in s.dims for s in (named[1], named[0], named[2]))] for d, _ in problem.dims}  # type: ignore[index]
    elif target == "Inputs":
        letters = {"C": "M", "M": "C"}
    else:
        letters = {}
    return _renamed(replace(problem, data_spaces=named, name=f"gradient of {target.lower()}"), letters)


def _renamed(problem: Problem, letters: dict[str, str]) -> Problem:
    """The problem with its dimensions renamed, in the family's usual order."""
    sizes = {letters.get(dim, dim): size for dim, size in problem.dims}
    order = (
        [d for d in ("B", "M", "N", "K") if d in sizes] if problem.family == "matmul" else _conv_order(problem, letters)
    )

    def space(old: DataSpace) -> DataSpace:
        ranks = tuple(tuple((letters.get(dim, dim), c) for dim, c in rank) for rank in old.projection)
        return replace(old, projection=ranks)

    return replace(
        problem,
        dims=tuple((dim, sizes[dim]) for dim in order),
        data_spaces=tuple(space(old) for old in problem.data_spaces),
    )


def _conv_order(problem: Problem, letters: dict[str, str]) -> list[str]:
    dims = {letters.get(dim, dim) for dim, _ in problem.dims}
    return [dim for dim in "GCMRSTNPQO" if dim in dims]
