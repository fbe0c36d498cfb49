"""The tables and examples of docs/workloads.md are true."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch

from mmsim import workloads
from tests.workload_counts import count

PAGE = (Path(__file__).parents[1] / "docs" / "workloads.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| [a-z_]+ \|", line)
]
ROWS = [row for row in ROWS if row[0] != "workload"]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row[:2]))
def test_row(row: list[str]) -> None:
    workload, variant, parameters, macs, output, _ = row
    found = count(workload, **workloads.get(workload).variants()[variant])
    assert (parameters, macs) == (f"{found.total.parameters:,}", f"{found.total.macs:,}")
    assert output == " x ".join(map(str, found.output[1:]))


def test_every_variant_has_a_row() -> None:
    there = [(name, variant) for name in workloads.names() for variant in workloads.get(name).variants()]
    assert sorted(tuple(row[:2]) for row in ROWS) == sorted(there)


@pytest.mark.parametrize("number", [0, 1])
def test_examples_run(number: int, tmp_path: Path) -> None:
    """On meta, but for calling the network, which needs its weights."""
    example = re.findall(r"```python\n(.*?)```", PAGE, re.S)[number]
    (tmp_path / "example.py").write_text(re.sub(r"^network\(\)", "network", example, flags=re.M))
    with torch.device("meta"):
        runpy.run_path(str(tmp_path / "example.py"))
