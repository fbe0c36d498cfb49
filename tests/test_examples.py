"""The worked examples in docstrings, of all modules that import no torch."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WITH_TORCH = {"tracing", "measure"}
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "mmsim").rglob("*.py"))
MODULES = [
    ".".join(path.with_suffix("").parts)
    for path in FILES
    if path.parts[1] not in WITH_TORCH and ">>>" in (ROOT / path).read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted and not found.failed
