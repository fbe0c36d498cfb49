"""The committed measurements of one CPU against `host_cpu`: the errors that the pages state, recomputed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import host_cpu
from mmsim import measurement
from mmsim.arch import load
from mmsim.layer_dump import load as load_dump
from mmsim.measurement import Measurement
from mmsim.repeat import MARKS
from mmsim.validate_network import Comparison, compare, record

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "measurements" / "host_cpu").glob("*.json"))


@pytest.fixture(scope="module")
def measured() -> list[Measurement]:
    return [measurement.load(path) for path in FILES]


@pytest.fixture(scope="module")
def found(measured: list[Measurement]) -> list[Comparison]:
    host = load("host_cpu")
    dumps = ROOT / "layer_dumps"
    return [compare(one, load_dump(dumps / one.workload / f"{one.variant}.json"), host) for one in measured]


def test_every_workload_is_there_and_says_how_it_was_made(measured: list[Measurement]) -> None:
    assert len({one.workload for one in measured if one.batch == 1}) == 9
    assert sum(one.batch == 40 for one in measured) >= 6
    for path, one in zip(FILES, measured, strict=True):
        assert path.name == f"{one.workload}.{one.variant}.b{one.batch}.{one.dtype}.{one.mode}.json"
        assert one.command.startswith("mmsim measure ") and one.machine.threads == 1 and one.pace_s
        assert one.macs > 0 and one.notes == []


def test_layers_sum_to_the_networks(measured: list[Measurement]) -> None:
    assert max(abs(one.overhead) for one in measured) <= MARKS


def test_the_errors_that_are_stated(found: list[Comparison]) -> None:
    """The aims: stages within 25 % in the mean, rank correlation above 0.95."""
    every = record(found)["all"]
    assert every["stages"]["mape_percent"] <= 25 and every["stages"]["spearman"] > 0.98
    assert every["networks"]["mape_percent"] <= 15 and every["networks"]["spearman"] > 0.99
    assert every["layers"]["spearman"] > 0.95 and every["layers"]["weighted_percent"] < 25


def test_the_machine_kept_its_pace(found: list[Comparison]) -> None:
    """Arithmetic and dispatch within 15 % of the calibration; data is what the neighbours disturb."""
    for comparison in found:
        assert 0.85 < comparison.pace["arithmetic"] < 1.15 and 0.85 < comparison.pace["dispatch"] < 1.15


def test_claims_come_out_alike(found: list[Comparison]) -> None:
    claims = record(found)["claims"]
    alike = sum(claim["holds_measured"] == claim["holds_predicted"] for claim in claims)
    assert len(claims) >= 20 and alike >= len(claims) - 2


def test_the_pages_hold_todays_tables() -> None:
    """As `python benchmarks/host_cpu.py` writes them."""
    for path, text in host_cpu.pages().items():
        assert text == path.read_text(), path.name
