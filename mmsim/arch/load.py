"""An architecture by name or path: the built-in ones, mmsim's own format, and Timeloop v0.4 files."""

from __future__ import annotations

import difflib
import json
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path

from mmsim import files
from mmsim.arch import spec, timeloop
from mmsim.arch.model import Arch
from mmsim.errors import InputError


def builtin_names() -> tuple[str, ...]:
    """The names of the built-in architectures, sorted."""
    folder = resources.files("mmsim.arch_specs")
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))


def catalogue() -> tuple[Arch, ...]:
    """All built-in architectures, sorted by name."""
    return tuple(_builtin(name) for name in builtin_names())


def load(name_or_path: str | Path) -> Arch:
    """The built-in architecture of that name, or the one in the file at that path.

    Raises `InputError` for an unknown name, with the names nearest to it.
    """
    name = str(name_or_path)
    if is_path(name):
        return _read(Path(name))
    known = builtin_names()
    if name in known:
        return _builtin(name)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? Or" if near else f"known are {', '.join(known)}; or"
    raise InputError(f"unknown architecture {name!r}; {hint} give a path to a .yaml file")


@cache
def stated_errors() -> dict[str, str]:
    """What is known of the errors of predictions on built-in GPUs: one line each, by architecture.

    ``benchmarks/validation.py`` writes them; docs/validation.md has the rows behind them.
    """
    found: dict[str, str] = json.loads((resources.files("mmsim.arch_specs") / "errors.json").read_text("utf-8"))
    return found


def is_path(name: str) -> bool:
    """Whether an architecture given so is a file, not a built-in one's name."""
    return "/" in name or "\\" in name or name.endswith((".yaml", ".yml"))


@lru_cache(maxsize=64)
def _builtin(name: str) -> Arch:
    text = (resources.files("mmsim.arch_specs") / f"{name}.yaml").read_text(encoding="utf-8")
    file = f"arch_specs/{name}.yaml"
    return spec.parse(files.parse_yaml(text, file=file), file=file)


def _read(path: Path) -> Arch:
    value = files.read_yaml(path)
    if spec.is_spec(value):
        return spec.parse(value, file=str(path))
    if timeloop.is_timeloop(value):
        return timeloop.parse(value, file=str(path))
    raise InputError("not an architecture: no 'levels' (mmsim) or 'architecture' (Timeloop v0.4)", file=str(path))
