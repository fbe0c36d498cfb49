"""A user's own network: a factory in a module or a file, or a program saved by `torch.export`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmsim.errors import InputError
from mmsim.tracing.weightless import weightless


@dataclass(frozen=True)
class Model:
    """A network with what its factory said about it: example inputs and stages, where it did."""

    name: str
    module: nn.Module
    inputs: Any = None
    stages: Mapping[str, str] | None = None


def load_model(spec: str) -> Model:
    """The network of ``package.module:factory``, ``file.py:factory`` or ``program.pt2``, in eval mode.

    A factory takes no arguments and returns an `nn.Module`, or ``(module, inputs)``, or ``(module, inputs, stages)``
    with inputs and stages as `trace` takes them. Its weights take no memory. The file is run: it is a program.
    Raises `InputError` for a file, a name or a value that is not as described.
    """
    if spec.endswith(".pt2"):
        return _saved_program(Path(spec))
    place, _, factory = spec.rpartition(":")
    if not place:
        raise InputError(f"name the factory that builds the network, as in {spec}:build")
    with _importing_beside(Path(place)) if place.endswith(".py") else nullcontext():
        module = _file(Path(place)) if place.endswith(".py") else _module(place)
        built = getattr(module, factory, None)
        if not callable(built):
            near = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise InputError(f"no factory {factory!r}; it has {', '.join(near[:8]) or 'none'}", file=place)
        return _model(spec, built)


def _model(spec: str, factory: Any) -> Model:
    if isinstance(factory, nn.Module):
        value: Any = factory
    else:
        try:
            value = _built(factory)
        except Exception as error:
            raise InputError(f"the factory raised {type(error).__name__}: {error}", file=spec) from error
    parts = value if isinstance(value, tuple) else (value,)
    if not isinstance(parts[0], nn.Module) or len(parts) > 3:
        raise InputError(f"the factory returned {type(value).__name__}, not an nn.Module", file=spec)
    return Model(spec.rpartition(":")[2], parts[0].eval(), *parts[1:])


def _built(factory: Callable[[], Any]) -> Any:
    """What the factory returns; its weights take memory only where it reads their values (pruning, quantising)."""
    try:
        with weightless(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # inputs drawn by the factory are the same every time
            return factory()
    except (RuntimeError, TypeError) as error:
        if not re.search(r"\bmeta\b|incompatible tensor type", str(error)):
            raise
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return factory()


def _module(name: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as python -m does: modules beside the user
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"cannot be imported: {error}", file=name) from error


def _file(path: Path) -> Any:
    if not path.is_file():
        raise InputError("no such file", file=str(path))
    spec = importlib.util.spec_from_file_location(_free_name(path), path)
    if spec is None or spec.loader is None:
        raise InputError("is not a Python file", file=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"raised {type(error).__name__}: {error}", file=str(path)) from error
    return module


@contextmanager
def _importing_beside(path: Path) -> Iterator[None]:
    """What stands beside a file can be imported, as with ``python FILE``."""
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _free_name(path: Path) -> str:
    """The file's stem; another name where a module that others import is called so, such as ``random`` or ``rich``."""
    elsewhere = [place for place in sys.path if Path(place).resolve() != path.parent.resolve()]
    taken = path.stem in sys.stdlib_module_names or PathFinder.find_spec(path.stem, elsewhere) is not None
    return f"_{path.stem}" if taken else path.stem


def _saved_program(path: Path) -> Model:
    if not path.is_file():
        raise InputError("no such file", file=str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch 2.11 warns of its own read-only buffer
            program = torch.export.load(path)
    except Exception as error:
        raise InputError(f"is not a saved torch.export program: {error}", file=str(path)) from error
    args, kwargs = program.example_inputs or ((), {})
    return Model(path.stem, program.module(), kwargs or tuple(args))
