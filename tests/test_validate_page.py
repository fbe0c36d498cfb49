"""docs/validation.md says what benchmarks/validation.json says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mmsim import files

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_is_written_from_the_committed_figures() -> None:
    file = ROOT / "benchmarks" / "validation.py"
    found = importlib.util.spec_from_file_location("validation_page", file)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    page = module.page(files.read_json(ROOT / "benchmarks" / "validation.json"))
    assert page == (ROOT / "docs" / "validation.md").read_text()
