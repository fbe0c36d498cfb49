"""The catalogue that `mmsim list` reads is what the workloads declare (accept anew with --update-golden)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsim import files
from mmsim.workloads import get, names

CATALOGUE = Path(__file__).parents[1] / "workloads" / "catalogue.json"


def test_catalogue(request: pytest.FixtureRequest) -> None:
    declared = {
        name: {
            "title": workload.title,
            "domain": workload.domain,
            "task": workload.task,
            "fusions": list(workload.fusions),
            "modalities": list(workload.modalities),
            "knobs": dict(workload.knobs),
            "variants": list(workload.variants()),
        }
        for name, workload in ((name, get(name)) for name in names())
    }
    if request.config.getoption("--update-golden"):
        files.write_json(CATALOGUE, declared)
    assert files.read_json(CATALOGUE) == declared
    assert len(declared) == 9
