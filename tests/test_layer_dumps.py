"""The committed layer dumps are what the workloads give today (write them anew with `mmsim dump --all`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsim import dumps, files, layer_dump
from mmsim.cli.dump import _sources
from mmsim.report import graphs
from mmsim.workloads import names

FOLDER = Path(__file__).parents[1] / "layer_dumps"


def same_files(written: Path, committed: Path) -> None:
    found = {p.relative_to(written) for p in written.rglob("*") if p.is_file()}
    assert found == {p.relative_to(committed) for p in committed.rglob("*") if p.is_file()}
    for name in sorted(found):
        assert (written / name).read_text() == (committed / name).read_text(), name


@pytest.mark.parametrize(
    "workload", [pytest.param(name, marks=() if name == "av_mnist" else pytest.mark.slow) for name in names()]
)
def test_dumps_are_regenerated(tmp_path: Path, workload: str) -> None:
    traced = [source.graph() for source in _sources(workload, None, None)[workload]]
    dumps.write(traced, tmp_path, graphs.csv)
    same_files(tmp_path, FOLDER / workload)


@pytest.mark.slow
def test_readme_says_what_the_dumps_hold() -> None:
    text = (FOLDER / "README.md").read_text()
    for path in sorted(FOLDER.glob("*/*.json")):
        for row in dumps.summary(layer_dump.load(path)):
            assert " | ".join(f"{value:,}" if isinstance(value, int) else value for value in row[:4]) in text


def test_every_dump_is_a_dump() -> None:
    for path in sorted(FOLDER.glob("*/*.json")):
        assert files.read_json(path)["format"] == layer_dump.FORMAT, path
    assert len(list(FOLDER.glob("*/*.json"))) >= 60
