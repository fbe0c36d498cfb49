"""docs/validation.md says what benchmarks/validation.json says, and that is what the code gives today."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from mmsim import files

ROOT = Path(__file__).resolve().parents[1]
FIGURES = files.read_json(ROOT / "benchmarks" / "validation.json")


@pytest.fixture(scope="module")
def validation() -> ModuleType:
    found = importlib.util.spec_from_file_location("validation_page", ROOT / "benchmarks" / "validation.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_page_is_written_from_the_committed_figures(validation: ModuleType) -> None:
    assert validation.page(FIGURES) == (ROOT / "docs" / "validation.md").read_text()


def test_what_run_prints_is_written_from_the_committed_figures(validation: ModuleType) -> None:
    from mmsim.arch.load import stated_errors

    assert stated_errors() == validation.stated(FIGURES)


def test_the_committed_powers_are_todays() -> None:
    """One row of each device and network, predicted again."""
    import csv

    from benchmarks import power

    table = list(csv.DictReader((ROOT / "benchmarks" / "measured" / "power.csv").read_text().splitlines()))
    chosen = {(row["arch"], row["network"]): number for number, row in enumerate(table)}
    for number in chosen.values():
        known = FIGURES["power"][number]
        assert power.predicted(table[number]) == pytest.approx((known["predicted_w"], known["predicted_j"]))


def test_the_committed_figures_are_todays(validation: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """One table of kernels, one of networks and the paper's statements, predicted again."""
    monkeypatch.setattr(validation, "TABLES", [row for row in validation.TABLES if row[0] == "linear_fp32_t4"])
    (found,) = validation.kernel_figures(validation.MEASURED)
    (known,) = (row for row in FIGURES["kernels"] if (row["op"], row["arch"]) == ("linear", "t4"))
    assert found == {key: pytest.approx(value) for key, value in known.items()}
    entry = next(entry for entry in validation.NETWORKS if entry[2] == "jetson_nano")
    assert validation.paper_figures() == FIGURES["paper"]
    errors, _ = validation.network_errors(entry, validation.MEASURED)
    (known,) = (row for row in FIGURES["networks"] if row["arch"] == "jetson_nano")
    assert errors == {key: pytest.approx(known[key]) for key in errors}


def test_figures_published_elsewhere_name_their_source_and_are_predicted_today() -> None:
    """One network in all its formats again; every row has a source, a network and an architecture of ours."""
    from benchmarks import elsewhere

    known = FIGURES["elsewhere"]
    assert len(known) > 80 and all(row["source"].startswith("https://github.com/") for row in known)
    assert {row["network"] for row in known} == {path.name.split(".")[0] for path in elsewhere.FOLDER.glob("*.json.gz")}
    for row in known:
        if row["network"] == "resnet50" and row["gpu"] != "A100":
            assert elsewhere.predict(row) == pytest.approx(row["predicted_s"])
    larger = [abs(row["predicted_s"] / row["measured_s"] - 1) for row in known if row["batch"] != "1"]
    assert sorted(larger)[len(larger) // 2] < 0.12  # no constant was set on them


def test_published_rates_and_the_clocks_of_tables_are_todays(validation: ModuleType) -> None:
    for name, found in (
        ("published", validation.published_figures()),
        ("clocks", validation.clock_figures(validation.MEASURED)),
        ("states", validation.state_figures(validation.MEASURED)),
        ("reach", validation.reach_figures(validation.MEASURED)),
    ):
        assert found == [{key: pytest.approx(value) for key, value in row.items()} for row in FIGURES[name]]


def test_equal_elements_take_equal_time_on_a_gpu_of_one_clock(validation: ModuleType) -> None:
    """The V100's pointwise rows agree whatever their shape; the A100's disagree the more the more they compute."""
    v100, _, a100 = FIGURES["clocks"]
    assert all(abs(v100[op] - 1) < 0.01 for op in ("add", "div", "pow"))
    assert 1.02 < a100["add"] < a100["div"] < a100["pow"]
    assert abs(a100["many"] - 1) < 0.02  # as few rows, more elements: the other state


def test_two_clocks_explain_what_one_does_not() -> None:
    """Of the A100's rows that compute, one state ran half as fast again; the V100 agrees with its data sheet."""
    states = {(r["arch"], r["op"]): r for r in FIGURES["states"]}
    a100, t4 = states["a100_pcie_40gb", "pow"], states["t4", "ln"]
    for state in (a100, t4):
        assert state["second_mhz"] > 1.4 * state["first_mhz"]
        assert state["two_percent"] < 0.6 * state["one_percent"]
    assert all(abs(states["v100_pcie", op]["second_mhz"] / 1380 - 1) <= 0.1 + 1e-9 for op in ("pow", "softmax", "ln"))


def test_a_smooth_function_of_the_shape_is_found_from_the_other_rows() -> None:
    """A line is exact in any width; what no neighbour tells, such as one row's own noise, stays."""
    import numpy as np

    from benchmarks.reach import from_the_others

    shape = np.linspace(0.0, 10.0, 60)[:, None]
    line = 3 + 2 * shape[:, 0]
    assert from_the_others(shape, line, 0.6) == pytest.approx(line, rel=1e-4)
    spike = np.where(np.arange(60) == 30, 1.0, 0.0)
    assert abs(from_the_others(shape, spike, 0.6)[30]) < 1e-9


def test_reach_is_never_below_the_model_and_a_whole_table_ranks_best() -> None:
    for r in FIGURES["reach"]:
        assert r["reach"] >= r["rank"]
    of = {(r["arch"], r["op"]): r["rank"] for r in FIGURES["reach"]}
    assert min(of["v100_pcie", "all"], of["t4", "all"]) > 0.98


def test_a_fit_starts_where_the_constants_stand() -> None:
    """The fitting script finds every constant that it names."""
    from benchmarks.fit import GROUPS, Constants

    constants = Constants()
    for group in GROUPS.values():
        assert all(constants.get(path) > 0 for path in group.constants)
    constants.set("t4.power.gemm_fma_pj[float32]", 50.0)
    assert constants.arch("t4").device.power.gemm_fma_pj["float32"] == 50.0  # type: ignore[union-attr]
