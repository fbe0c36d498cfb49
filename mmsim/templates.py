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
MAX_INCLUDES = 64  # in all
MAX_CHARACTERS = 2**22  # of the text with everything included
MAX_MARK = 200  # characters of one template: what the patterns below look through in no time
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

    Raises `InputError` naming what is not read, and for includes too deep, too many or too long.

    >>> fill("bits: {{bits|default(8)}}", "a.yaml", Path.read_text)
    'bits: 8'
    """
    return _Filler(read).fill(text, file, 0)


class _Filler:
    """Fills in a file and those that it includes; `included` counts them."""

    def __init__(self, read: Callable[[Path], str]) -> None:
        self.read, self.included = read, 0

    def fill(self, text: str, file: str, depth: int) -> str:
        lines: list[str] = []
        shown: list[bool] = []  # whether the text of each open block stays
        for line in text.splitlines():
            filled = line
            if _is_marked(line):
                filled = _MARK.sub(lambda mark: self.filled(mark, shown, file, depth), line)
                if filled == line:
                    raise _refusal(line.strip(), file)
            if all(shown) and (filled or not line):
                lines.append(filled)
        if shown:
            raise InputError("a template's if without endif", file=file)
        result = "\n".join(lines)
        if len(result) > MAX_CHARACTERS:
            raise InputError(f"more than {MAX_CHARACTERS} characters with what it includes", file=file)
        return result

    def filled(self, mark: re.Match[str], shown: list[bool], file: str, depth: int) -> str:
        """What stands in the place of one mark; a block's mark opens or closes the last of `shown`."""
        if len(mark[0]) > MAX_MARK:
            raise _refusal(mark[0], file)
        value, block = mark["value"], mark["block"]
        if value is not None and (match := _DEFAULT.fullmatch(value)):
            return match[2]
        if value is not None and (match := _INCLUDE.fullmatch(value)):
            return self.include(Path(file).parent / match[2], file, depth) if all(shown) else ""
        if block is not None and (match := _IF.fullmatch(block)):
            shown.append(match[1].lower() == "true")
            return ""
        if block is not None and _END.fullmatch(block) and shown:
            shown.pop()
            return ""
        raise _refusal(mark[0], file)

    def include(self, path: Path, file: str, depth: int) -> str:
        self.included += 1
        if depth == MAX_DEPTH or self.included > MAX_INCLUDES:
            raise InputError(f"includes more than {MAX_DEPTH} deep or {MAX_INCLUDES} in all", file=file)
        return self.fill(self.read(path), str(path), depth + 1)


def _refusal(template: str, file: str) -> InputError:
    known = "only include_text('file'), name|default(value) and if name|default(True)"
    return InputError(f"the template {template[:60]!r} is not read: {known}", file=file)
