"""Files in and out: bounded safe reading of JSON and YAML, schema checks at the door, atomic writing."""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mmsim import templates
from mmsim.errors import InputError

MAX_BYTES = 256 * 2**20  # a layer dump of a 10,000-layer network is 10 MB
MAX_DEPTH = 64
MAX_NODES = 2_000_000  # after YAML aliases are expanded: refuses the billion-laughs file
MAX_YAML = 2**22  # characters, and
MAX_YAML_NODES = 200_000  # values as written: what takes a second or two to read, and a hundred times what people have

WIDTH = 160  # of a line of JSON

T = TypeVar("T")


def read_text(path: str | Path) -> str:
    """The text of a file. Raises `InputError` when it is missing, too large or not UTF-8."""
    path = Path(path)
    try:
        with path.open("rb") as file:  # a device or a pipe does not say how much it holds
            read = file.read(MAX_BYTES + 1)
        if len(read) > MAX_BYTES:
            raise InputError(f"larger than {MAX_BYTES} bytes", file=str(path))
        return io.StringIO(read.decode("utf-8"), newline=None).read()
    except FileNotFoundError:
        raise InputError("no such file", file=str(path)) from None
    except IsADirectoryError:
        raise InputError("is a folder, not a file", file=str(path)) from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text", file=str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(path)) from None


def read_json(path: str | Path) -> Any:
    """The plain values of a JSON file."""
    text = read_text(path)
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InputError(f"not JSON: {error}", file=str(path)) from None
    except RecursionError:
        raise InputError("nested too deeply", file=str(path)) from None


def read_yaml(path: str | Path) -> Any:
    """The plain values of a YAML file; tags on mappings (``!Component``) are kept under the key ``"!"``.

    The templates of people's Timeloop files are filled in first (see `mmsim.templates`).
    """
    text = read_text(path)
    if templates.is_template(text):
        text = templates.fill(text, str(path), read_text)
    return parse_yaml(text, file=str(path))


def parse_yaml(text: str, *, file: str) -> Any:
    """As `read_yaml`, from text; `file` is named in errors."""
    import yaml

    from mmsim._yaml import SafeLoader

    if len(text) > MAX_YAML:
        raise InputError(f"more than {MAX_YAML} characters of YAML", file=file)
    try:
        _check_extent(text, file)
        value = yaml.load(text, Loader=SafeLoader)  # noqa: S506 - a subclass of yaml's safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"not YAML: {error.problem or error.context}{where}", file=file) from None
    except InputError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"not YAML: {str(error).splitlines()[0]}", file=file) from None
    except RecursionError:
        raise InputError("nested too deeply", file=file) from None
    check_bounds(value, file=file)
    return value


def _check_extent(text: str, file: str) -> None:
    """Refuse deep nesting and too many values before they are built: libyaml recurses in C and would crash."""
    import yaml

    from mmsim._yaml import SafeLoader

    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=SafeLoader)):
        if count > MAX_YAML_NODES:
            raise InputError(f"more than {MAX_YAML_NODES} values", file=file)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise InputError(f"nested deeper than {MAX_DEPTH}", file=file)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def check_bounds(value: Any, *, file: str) -> None:
    """Refuse values nested deeper than `MAX_DEPTH` or with more than `MAX_NODES` parts, aliases expanded."""
    try:
        count, depth = _extent(value, {})
    except RecursionError:
        raise InputError("nested too deeply", file=file) from None
    if depth > MAX_DEPTH:
        raise InputError(f"nested deeper than {MAX_DEPTH}", file=file)
    if count > MAX_NODES:
        raise InputError(f"more than {MAX_NODES} values", file=file)


def _extent(value: Any, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """(parts, depth) of plain values; what an alias repeats is looked at once."""
    if not isinstance(value, (dict, list)):
        return 1, 0
    if id(value) not in known:
        inside = [_extent(part, known) for part in (value.values() if isinstance(value, dict) else value)]
        known[id(value)] = 1 + sum(count for count, _ in inside), 1 + max((depth for _, depth in inside), default=0)
    return known[id(value)]


def check(value: Any, schema: type[T], *, file: str) -> T:
    """`value` as an instance of `schema` (a msgspec Struct); raises `InputError` with the field's path.

    The path is written as it would be typed: ``levels.1.size_bytes``.
    """
    try:
        return msgspec.convert(value, schema)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `")
        raise InputError(message, file=file, field=_field_path(where.rstrip("`"))) from None
    except RecursionError:
        raise InputError("nested too deeply", file=file) from None


def _field_path(path: str) -> str | None:
    """``$.levels[1].size_bytes`` -> ``levels.1.size_bytes``."""
    return re.sub(r"\[(\.\.\.|\d+)\]", r".\1", path.removeprefix("$")).lstrip(".") or None


def write_text(path: str | Path, text: str) -> Path:
    """Write a file whole or not at all: beside it first, then renamed over it. A device is written as it is."""
    path = Path(path)
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):  # /dev/stdout, a pipe; a folder fails here
            path.write_text(text, encoding="utf-8")
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(path)) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            out.write(text)
        os.chmod(beside, 0o666 & ~_umask())
        os.replace(beside, path)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f"cannot be written: {error.strerror}", file=str(path)) from None
        raise
    return path


def write_json(path: str | Path, value: Any) -> Path:
    """Write plain values as JSON, atomically."""
    return write_text(path, to_json(value) + "\n")


def write_yaml(path: str | Path, value: Any, *, header: str = "") -> Path:
    """Write plain values as YAML in the order given, atomically; `header` is a comment put on top."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    return write_text(path, comment + to_yaml(value))


def to_json(value: Any) -> str:
    """JSON that a person can read: what fits on a line stands on one, the rest is indented.

    Raises `ValueError` for figures that are no numbers, which JSON lacks.
    """
    return "".join(_json_parts(value, ""))


def _json_parts(value: Any, indent: str) -> Iterator[str]:
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if len(indent) + len(line) <= WIDTH or not isinstance(value, (dict, list, tuple)):
        yield line
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    inner = indent + "  "
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    separator = opening
    for key, part in parts:
        yield f"{separator}\n{inner}"
        if isinstance(value, dict):
            yield f"{json.dumps(str(key), ensure_ascii=False)}: "
        yield from _json_parts(part, inner)
        separator = ","
    yield f"\n{indent}{closing}"


def to_yaml(value: Any) -> str:
    """YAML in the order given; mappings with the key ``"!"`` are written with that tag."""
    import yaml

    from mmsim._yaml import SafeDumper

    return yaml.dump(value, Dumper=SafeDumper, sort_keys=False, default_flow_style=None, width=120)


def inside(folder: str | Path, name: str) -> Path:
    """`folder`/`name`, refused when `name` would lead out of `folder`."""
    folder = Path(folder)
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{name!r} leads out of the output folder", file=str(folder))
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def plain(value: Any) -> Any:
    """`value` with tuples as lists and mappings as dicts, ready for JSON or YAML."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value
