"""Sizes: polynomial arithmetic agrees with plain integers, text survives a round trip, foreign text is data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsim import size
from mmsim.errors import InputError
from mmsim.size import Polynomial, Size, symbol

B, L = symbol("B"), symbol("L")


def sizes(depth: int = 3) -> st.SearchStrategy[Size]:
    leaf = st.one_of(st.integers(-9, 9), st.sampled_from([B, L]))
    return st.recursive(
        leaf, lambda s: st.tuples(s, s, st.sampled_from("+-*")).map(lambda t: _apply(*t)), max_leaves=depth * 2
    )


def _apply(a: Size, b: Size, op: str) -> Size:
    return a + b if op == "+" else a - b if op == "-" else a * b


@given(sizes(), sizes(), st.integers(1, 50), st.integers(1, 50))
def test_arithmetic_agrees_with_integers(a: Size, b: Size, batch: int, length: int) -> None:
    def value(s: Size) -> int:
        return size.concrete(size.at(s, B=batch, L=length))

    assert value(a + b) == value(a) + value(b)
    assert value(a - b) == value(a) - value(b)
    assert value(a * b) == value(a) * value(b)


@given(sizes())
def test_text_round_trip(a: Size) -> None:
    assert size.parse(str(a)) == a


def test_text() -> None:
    assert str(64 * B + 1) == "64*B + 1"
    assert str(B * B * L - 2 * L) == "B**2*L - 2*L"
    assert size.parse("1/2*L**2 + 1/2*L") == size.parse("L*L/2 + L/2")
    assert size.at(size.parse("1/2*L**2 + 1/2*L"), L=7) == 28
    assert B - B == 0 and isinstance(B - B, int)
    assert size.at(B * L, B=3) == 3 * L
    assert str((64 * B + 1).sympy()) == "64*B + 1"


@pytest.mark.parametrize(
    "text",
    ["", "B+", "2B", "(B)", "B**", "B**99", "__import__('os')", "B;L", "1/0", "1.5", "B**-1", "*B", "B L", "9" * 5000],
)
def test_foreign_text_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        size.parse(text)


def test_symbolic_size_is_not_a_number() -> None:
    with pytest.raises(InputError, match="give a value for B"):
        size.concrete(B + 1)
    assert isinstance(B + 1, Polynomial)
