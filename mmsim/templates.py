"""The few Jinja templates that people's Timeloop files are written with, filled in; no template language is run.

Nearly every shipped layer shape begins with ``{{include_text('../problem_base.yaml')}}``; architectures
have variables with a default, ``{{datawidth|default(8)}}``, and parts that a variable switches off,
``{% if reg_enabled|default(True) %} ... {% endif %}``. Variables have their defaults here. Anything
else is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mmsim.errors import InputError

MAX_DEPTH = 8  # of files that include files
MAX_CHARACTERS = 2**24  # of the text with everything included
_MARK = re.compile(r"\{\{(?P<value>[^{}]*)\}\}|\{%(?P<block>[^{}]*)%\}")
_INCLUDE = re.compile(r"\s*include_text\(\s*(['\"])([^'\"]+)\1\s*\)\s*")
_DEFAULT = re.compile(r"\s*\w+\s*\|\s*default\(\s*(['\"]?)([^'\"()]*)\1\s*\)\s*")
_IF = re.compile(r"-?\s*if\s+\w+\s*\|\s*default\(\s*(True|False|true|false)\s*\)\s*-?")
_END = re.compile(r"-?\s*endif\s*-?")


def is_template(text: str) -> bool:
    """Whether `text` has a template's marks outside comments."""
    return any(map(_is_marked, text.splitlines()))


def _is_marked(line: str) -> bool:
    return ("{{" in line or "{%" in line) and not line.lstrip().startswith("#")


def fill(text: str, file: str, read: Callable[[Path], str]) -> str:
    """`text` with its templates filled in; `read` gives the text of an included file, named relative to `file`.

    Raises `InputError` naming what is not read, and for includes too deep or too long.

    >>> fill("bits: {{bits|default(8)}}", "a.yaml", Path.read_text)
    'bits: 8'
    """
    left = MAX_CHARACTERS

    def bounded(path: Path) -> str:
        nonlocal left
        included = read(path)
        left -= len(included)
        if left < 0:
            raise InputError(f"more than {MAX_CHARACTERS} characters with what it includes", file=file)
        return included

    return _fill(text, file, bounded, 0)


def _fill(text: str, file: str, read: Callable[[Path], str], depth: int) -> str:
    if depth > MAX_DEPTH:
        raise InputError(f"files included more than {MAX_DEPTH} deep", file=file)
    lines: list[str] = []
    shown: list[bool] = []  # whether the text of each open block stays
    for line in text.splitlines():
        filled = line
        if _is_marked(line):
            filled = _MARK.sub(lambda mark: _filled(mark, shown, file, read, depth), line)
            if filled == line:
                raise InputError(f"the template {line.strip()[:60]!r} is not read: {_KNOWN}", file=file)
        if all(shown) and (filled or not line):
            lines.append(filled)
    if shown:
        raise InputError("a template's if without endif", file=file)
    return "\n".join(lines)


def _filled(mark: re.Match[str], shown: list[bool], file: str, read: Callable[[Path], str], depth: int) -> str:
    """What stands in the place of one mark; a block's mark opens or closes the last of `shown`."""
    value, block = mark["value"], mark["block"]
    if value is not None and (match := _DEFAULT.fullmatch(value)):
        return match[2]
    if value is not None and (match := _INCLUDE.fullmatch(value)):
        path = Path(file).parent / match[2]
        return _fill(read(path), str(path), read, depth + 1) if all(shown) else ""
    if block is not None and (match := _IF.fullmatch(block)):
        shown.append(match[1].lower() == "true")
        return ""
    if block is not None and _END.fullmatch(block) and shown:
        shown.pop()
        return ""
    raise InputError(f"the template {mark[0][:60]!r} is not read: {_KNOWN}", file=file)


_KNOWN = "only include_text('file'), name|default(value) and if name|default(True)"
