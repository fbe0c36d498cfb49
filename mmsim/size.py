"""Sizes that may depend on the batch: integers, and polynomials such as ``64*B + 1``.

A traced network has one dump for every batch size, so a dimension is either an ``int`` or a
`Polynomial` in named symbols (``B`` is the batch). Arithmetic between the two gives an ``int``
again as soon as nothing symbolic is left:

>>> B = symbol("B")
>>> 3 * B + B * 4, (B + 1) - B
(Polynomial('7*B'), 1)
>>> at(64 * B + 1, B=40)
2561
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, TypeAlias, overload

from mmsim.errors import InputError

if TYPE_CHECKING:
    import sympy

Monomial: TypeAlias = tuple[tuple[str, int], ...]  # ((symbol, power), ...), sorted; () is the constant

MAX_TEXT = 4096  # a size is a line of text; anything longer is not one
MAX_POWER = 16


class Polynomial:
    """A polynomial with rational coefficients in named sizes; immutable, hashable, never constant.

    Build one with `symbol` or `parse`; arithmetic falls back to ``int`` when the symbols cancel.
    """

    __slots__ = ("_hash", "terms")
    terms: tuple[tuple[Monomial, Fraction], ...]

    def __init__(self, terms: Mapping[Monomial, Fraction]) -> None:
        self.terms = tuple(sorted(terms.items(), key=_display_order))
        self._hash = hash(self.terms)

    def __add__(self, other: Size | Fraction) -> Size:
        return _normal(_merge(_terms(self), _terms(other), 1))

    def __sub__(self, other: Size) -> Size:
        return _normal(_merge(_terms(self), _terms(other), -1))

    def __rsub__(self, other: int) -> Size:
        return _normal(_merge(_terms(other), _terms(self), -1))

    def __mul__(self, other: Size | Fraction) -> Size:
        out: dict[Monomial, Fraction] = {}
        for left, a in self.terms:
            for right, b in _terms(other).items():
                key = _times(left, right)
                out[key] = out.get(key, Fraction(0)) + a * b
        return _normal(out)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Size:
        return self * -1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polynomial) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            sign = "-" if coefficient < 0 else "+"
            body = _term_text(monomial, abs(coefficient))
            text += f" {sign} {body}" if text else (f"-{body}" if sign == "-" else body)
        return text

    def __repr__(self) -> str:
        return f"Polynomial({str(self)!r})"

    @property
    def symbols(self) -> frozenset[str]:
        """The names this size depends on."""
        return frozenset(name for monomial, _ in self.terms for name, _ in monomial)

    def at(self, **sizes: Size) -> Size:
        """The size with some symbols given; symbols not named stay."""
        total: Size | Fraction = Fraction(0)
        for monomial, coefficient in self.terms:
            term: Size | Fraction = coefficient
            for name, power in monomial:
                factor = sizes.get(name)
                base: Size = symbol(name) if factor is None else factor
                for _ in range(power):
                    term = base * term
            total = term + total if isinstance(term, Polynomial) else _add(total, term)
        if isinstance(total, Polynomial):
            return total
        return _integer(Fraction(total), str(self))

    def sympy(self) -> sympy.Expr:
        """The same polynomial as a sympy expression, for algebra beyond sums and products."""
        import sympy

        return sympy.Add(
            *(
                sympy.Rational(c.numerator, c.denominator)
                * sympy.Mul(*(sympy.Symbol(n, integer=True, positive=True) ** p for n, p in m))
                for m, c in self.terms
            )
        )


Size: TypeAlias = int | Polynomial


def symbol(name: str) -> Polynomial:
    """The size called `name`, for example the batch ``B``."""
    return Polynomial({((name, 1),): Fraction(1)})


def polynomial(terms: Mapping[Monomial, Fraction]) -> Size:
    """The size with these terms; an ``int`` when only the constant is left.

    Raises `InputError` for a constant that is not whole.
    """
    return _normal(dict(terms))


@overload
def at(size: int, **sizes: Size) -> int: ...
@overload
def at(size: Polynomial, **sizes: Size) -> Size: ...
def at(size: Size, **sizes: Size) -> Size:
    """`size` with the named symbols replaced; an ``int`` passes through."""
    return size.at(**sizes) if isinstance(size, Polynomial) else size


def concrete(size: Size) -> int:
    """`size` as an ``int``; raises `InputError` naming the symbols that are still open."""
    if isinstance(size, Polynomial):
        names = ", ".join(sorted(size.symbols))
        raise InputError(f"size {size} is symbolic: give a value for {names}")
    return size


def symbols(sizes: Iterable[Size]) -> frozenset[str]:
    """All names that any of `sizes` depends on."""
    return frozenset(n for s in sizes if isinstance(s, Polynomial) for n in s.symbols)


def product(sizes: Iterable[Size]) -> Size:
    """The product of `sizes`; 1 for none."""
    one: Size = 1
    return reduce(lambda a, b: a * b, sizes, one)


def total(sizes: Iterable[Size]) -> Size:
    """The sum of `sizes`; 0 for none."""
    zero: Size = 0
    return reduce(lambda a, b: a + b, sizes, zero)


_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_]\w*)|(\*\*|[-+*/]))")


@lru_cache(maxsize=65536)
def parse(text: str) -> Size:
    """Read a size as it stands in files: sums of products such as ``1/2*L**2 + 64*B - 1``.

    Only integers, ``/`` between integers, symbols, ``*``, ``**`` and signs are understood, so text
    from others is data. Raises `InputError` on anything else.
    """
    if len(text) > MAX_TEXT:
        raise InputError(f"size text of {len(text)} characters (at most {MAX_TEXT})")
    tokens = _tokens(text)
    out: dict[Monomial, Fraction] = {}
    position = 0
    while position < len(tokens):
        sign = 1
        if tokens[position] in ("+", "-"):
            sign = -1 if tokens[position] == "-" else 1
            position += 1
        elif position:
            raise InputError(f"not a size: {text!r}")
        monomial, coefficient, position = _parse_term(tokens, position, text)
        out[monomial] = out.get(monomial, Fraction(0)) + sign * coefficient
    if not tokens:
        raise InputError("not a size: empty text")
    return _normal(out)


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    position = 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise InputError(f"not a size: {text!r}")
        tokens.append(match.group().strip())
        position = match.end()
    return tokens


def _parse_term(tokens: list[str], position: int, text: str) -> tuple[Monomial, Fraction, int]:
    coefficient = Fraction(1)
    monomial: Monomial = ()
    while True:
        if position >= len(tokens):
            raise InputError(f"not a size: {text!r}")
        token = tokens[position]
        position += 1
        if token.isdigit():
            coefficient *= int(token)
        elif token[0].isalpha() or token[0] == "_":
            power = 1
            if tokens[position : position + 1] == ["**"]:
                power_text = tokens[position + 1] if position + 1 < len(tokens) else ""
                if not power_text.isdigit() or not 0 < int(power_text) <= MAX_POWER:
                    raise InputError(f"not a size: {text!r}")
                power = int(power_text)
                position += 2
            monomial = _times(monomial, ((token, power),))
        else:
            raise InputError(f"not a size: {text!r}")
        while tokens[position : position + 1] == ["/"]:
            divisor = tokens[position + 1] if position + 1 < len(tokens) else ""
            if not divisor.isdigit() or int(divisor) == 0:
                raise InputError(f"not a size: {text!r}")
            coefficient /= int(divisor)
            position += 2
        if tokens[position : position + 1] != ["*"]:
            return monomial, coefficient, position
        position += 1


def _terms(value: Size | Fraction) -> dict[Monomial, Fraction]:
    if isinstance(value, Polynomial):
        return dict(value.terms)
    return {(): Fraction(value)}


def _merge(a: dict[Monomial, Fraction], b: dict[Monomial, Fraction], sign: int) -> dict[Monomial, Fraction]:
    out = dict(a)
    for monomial, coefficient in b.items():
        out[monomial] = out.get(monomial, Fraction(0)) + sign * coefficient
    return out


def _times(a: Monomial, b: Monomial) -> Monomial:
    powers = dict(a)
    for name, power in b:
        powers[name] = powers.get(name, 0) + power
    return tuple(sorted(powers.items()))


def _normal(terms: dict[Monomial, Fraction]) -> Size:
    kept = {m: c for m, c in terms.items() if c}
    if any(kept_monomial for kept_monomial in kept):
        return Polynomial(kept)
    return _integer(kept.get((), Fraction(0)), "constant")


def _add(a: Size | Fraction, b: Size | Fraction) -> Size | Fraction:
    if isinstance(a, Polynomial):
        return a + b
    if isinstance(b, Polynomial):
        return b + a
    return Fraction(a) + Fraction(b)


def _integer(value: Fraction, what: str) -> int:
    if value.denominator != 1:
        raise InputError(f"{what} is {value}, not a whole number")
    return value.numerator


def _display_order(item: tuple[Monomial, Fraction]) -> tuple[int, Monomial]:
    monomial, _ = item
    return -sum(power for _, power in monomial), monomial


def _term_text(monomial: Monomial, coefficient: Fraction) -> str:
    factors = [f"{name}**{power}" if power > 1 else name for name, power in monomial]
    if coefficient != 1 or not factors:
        factors.insert(0, str(coefficient))
    return "*".join(factors)
