"""Plain arithmetic in architecture files: ``12 * 2**10`` or ``width // 8 + pad``, with named variables, no ``eval``."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from mmsim.errors import InputError

Number: TypeAlias = int | float

MAX_TEXT = 500
MAX_EXPONENT = 1024
MAX_MAGNITUDE = 10**40  # of a power: far above any size on earth, far below what fills a memory

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "ceil": math.ceil,
    "floor": math.floor,
    "log2": math.log2,
    "sqrt": math.sqrt,
    "round": round,
    "abs": abs,
    "int": int,
    "float": float,
    "min": min,
    "max": max,
    "pow": lambda base, exponent: _power(base, exponent),
}


def number(value: object, variables: Mapping[str, Number] | None = None) -> Number:
    """The finite number that `value`, a number or arithmetic as text, stands for.

    Raises `InputError` for anything else; the caller adds file and field.

    >>> number("16 * 2**10"), number("word // 8 if word > 8 else 1", {"word": 16}), number("1e9")
    (16384, 2, 1000000000.0)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InputError(f"expected a number, got {_short(value)}")
    result = _parse(value, variables or {}) if isinstance(value, str) else value
    if isinstance(result, bool) or not isinstance(result, (int, float)):
        raise InputError(f"expected a number, got {_short(value)}")
    if isinstance(result, float) and not math.isfinite(result):
        raise InputError(f"expected a finite number, got {_short(value)}")
    if abs(result) > MAX_MAGNITUDE:
        raise InputError("number too large")
    return result


def _parse(text: str, variables: Mapping[str, Number]) -> object:
    if len(text) > MAX_TEXT:
        raise InputError(f"expression longer than {MAX_TEXT} characters")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body, variables)
    except InputError:
        raise
    except ZeroDivisionError:
        raise InputError(f"division by zero in {text!r}") from None
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        raise InputError(f"not arithmetic: {_short(text)}") from None


def _value(node: ast.expr, variables: Mapping[str, Number]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            if name not in variables:
                raise InputError(f"unknown name {name!r}")
            return variables[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, variables)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, variables)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, variables), _value(right, variables))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, variables), _value(right, variables))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(arg, variables) for arg in args))
        case ast.IfExp(test=ast.Compare(left=left, ops=[op], comparators=[right]), body=body, orelse=orelse) if (
            type(op) in _COMPARISONS
        ):
            holds = _COMPARISONS[type(op)](_value(left, variables), _value(right, variables))
            return _value(body if holds else orelse, variables)
    known = ", ".join(sorted(_FUNCTIONS))
    raise InputError(f"only numbers, names, + - * / // % **, {known} and x if a < b else y may be used")


def _power(base: Number, exponent: Number) -> Number:
    if abs(exponent) > MAX_EXPONENT or (base and abs(exponent) * abs(math.log(abs(base))) > math.log(MAX_MAGNITUDE)):
        raise InputError("power too large")
    result = base**exponent
    if isinstance(result, complex):
        raise InputError("power of a negative number")
    return result


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str) else type(value).__name__ if value is not None else "nothing"
    return text if len(text) < 60 else text[:57] + "...'"
