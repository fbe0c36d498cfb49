"""An architecture by name or path: the built-in ones, mmsim's own format, and Timeloop v0.4 files."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

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
    return _builtin(name) if name in builtin_names() else parse(*values(name))


def load_all(names: Iterable[str]) -> list[Arch]:
    """Each architecture as `load` gives it. Raises `InputError` where two are called the same: answers go by name."""
    found = [load(name) for name in names]
    for name, times in Counter(arch.name for arch in found).items():
        if times > 1:
            raise InputError(f"{times} architectures are called {name}", field="--arch")
    return found


def values(name_or_path: str | Path) -> tuple[Any, str]:
    """The plain values of an architecture's file, as they are written, and what to call it in errors.

    Raises `InputError` as `load` does.
    """
    name = str(name_or_path)
    if is_path(name):
        return files.read_yaml(name), name
    known = builtin_names()
    if name in known:
        text = (resources.files("mmsim.arch_specs") / f"{name}.yaml").read_text(encoding="utf-8")
        return files.parse_yaml(text, file=f"arch_specs/{name}.yaml"), f"arch_specs/{name}.yaml"
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? Or" if near else f"known are {', '.join(known)}; or"
    raise InputError(f"unknown architecture {name!r}; {hint} give a path to a .yaml file")


def parse(value: object, file: str) -> Arch:
    """The architecture that a file's plain values are, in either format; `InputError` names `file` and field."""
    if spec.is_spec(value):
        return spec.parse(value, file=file)
    if timeloop.is_timeloop(value):
        return timeloop.parse(value, file=file)
    raise InputError("not an architecture: no 'levels' (mmsim) or 'architecture' (Timeloop v0.4)", file=file)


def stated_error(arch: Arch) -> str | None:
    """What is known of the errors of predictions on a built-in GPU, one line; None for one that was changed."""
    known = stated_errors().get(arch.name)
    own = load(arch.name) if known else arch
    return known if (arch.nodes, arch.cycle_s, arch.device) == (own.nodes, own.cycle_s, own.device) else None


@cache
def stated_errors() -> dict[str, str]:
    """The line of every built-in GPU. ``benchmarks/validation.py`` writes them; docs/validation.md has their rows."""
    found: dict[str, str] = json.loads((resources.files("mmsim.arch_specs") / "errors.json").read_text("utf-8"))
    return found


def is_path(name: str) -> bool:
    """Whether an architecture given so is a file, not a built-in one's name."""
    return "/" in name or "\\" in name or name.endswith((".yaml", ".yml"))


@lru_cache(maxsize=64)
def _builtin(name: str) -> Arch:
    return parse(*values(name))
