"""The search over per-stage accelerators: fronts against all products, energies that follow sizes, the verb."""

from __future__ import annotations

import itertools
import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsim import cli, schedule
from mmsim.arch import load
from mmsim.energy import rescaled, tables
from mmsim.errors import InputError
from mmsim.explore import Exploration, assigned, design_space, explore, record
from mmsim.explore.front import front, most_candidates
from mmsim.layer_dump import dump
from mmsim.nest.solve import solve
from mmsim.run import run
from tests.toy import toy

TINY = """
name: tiny
clock_hz: 100e6
technology_nm: 45
sources: {clock_hz: "chosen", technology_nm: "chosen"}
levels:
  - {name: DRAM, kind: DRAM, word_bits: 16, bandwidth_bytes_per_s: 1e9, attributes: {type: LPDDR4}, source: chosen}
  - name: glb
    kind: SRAM
    word_bits: 16
    size_bytes: 16 * 2**10
    energy_pj: {read: 10, write: 20, leak: 1}
    source: {word_bits: chosen, size_bytes: chosen, energy_pj: measured}
  - {name: PE, kind: fanout, meshX: 4, source: chosen}
  - {name: mac, kind: intmac, word_bits: 16, area_um2: 1000, source: chosen}
"""
TIMELOOP = """
architecture:
  version: 0.4
  nodes:
  - !Container {name: chip, attributes: {technology: 45nm, datawidth: 16}}
  - !Component {name: DRAM, class: DRAM, attributes: {width: 64, type: LPDDR4}}
  - !Component {name: glb, class: SRAM, attributes: {depth: 1024, width: 64}}
  - !Container {name: PE, spatial: {meshX: 4}}
  - !Component {name: mac, class: intmac}
variables: {global_cycle_seconds: 1e-9}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


# --- the front ---


def test_two_stages_on_two_accelerators_by_hand() -> None:
    """A is quick at the first stage and B at the second; B is the larger. Energies differ by stage."""
    stages = np.array([[[1.0, 4.0], [3.0, 2.0]], [[5.0, 5.0], [2.0, 1.0]]])  # (stage, accelerator, latency and energy)
    area = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    choices, totals = front(stages, area)
    # A then B: 1 + 2 s, 4 + 1 J in 3 mm2; B alone: 3 + 2 s, 2 + 1 J in 2; A alone: 1 + 5 s, 4 + 5 J in 1; B then A is
    # worse than B alone in everything
    assert choices.tolist() == [[0, 1], [1, 1], [0, 0]]
    assert totals.tolist() == [[3, 5, 3], [5, 3, 2], [6, 9, 1]]
    assert front(stages, area, area_limit=2)[0].tolist() == [[1, 1], [0, 0]]


def test_what_is_paid_once_counts_once() -> None:
    """A GPU's overhead of 4 s is paid when any stage runs on it, not per stage."""
    stages = np.array([[[9.0, 1.0], [1.0, 9.0]]] * 2)
    _, totals = front(stages, np.array([[0.0, 0.0, 1.0], [4.0, 0.0, 1.0]]))
    assert totals.tolist() == [[6, 18, 1], [14, 10, 2], [18, 2, 1]]


def all_products(stages: Any, once: Any, limit: float) -> list[tuple[float, ...]]:
    """The slow twin: the totals of every assignment, then those that no other matches."""
    totals = set()
    for choice in itertools.product(range(stages.shape[1]), repeat=len(stages)):
        sums = np.sum([stages[s, c] for s, c in enumerate(choice)], axis=0)
        paid = np.sum([once[c] for c in set(choice)], axis=0)
        if paid[2] <= limit:
            totals.add((float(sums[0] + paid[0]), float(sums[1] + paid[1]), float(paid[2])))
    return sorted(
        a for a in totals if not any(b != a and all(x <= y for x, y in zip(b, a, strict=True)) for b in totals)
    )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_front_is_that_of_all_products(data: st.DataObject) -> None:
    """Whole numbers, so that sums are exact and ties are common."""
    accelerators, depth = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    figure = st.integers(0, 9)
    table = st.lists(st.lists(st.tuples(figure, figure), min_size=accelerators, max_size=accelerators),
                     min_size=depth, max_size=depth)  # fmt: skip
    stages = np.array(data.draw(table), float)
    paid = st.lists(st.tuples(st.sampled_from([0, 0, 3]), st.sampled_from([0, 0, 2]), st.integers(0, 6)),
                    min_size=accelerators, max_size=accelerators)  # fmt: skip
    once = np.array(data.draw(paid), float)
    limit = data.draw(st.sampled_from([math.inf, 8.0, 3.0]))
    choices, totals = front(stages, once, limit)
    assert [tuple(row) for row in totals.tolist()] == all_products(stages, once, limit)
    for choice, total in zip(choices, totals, strict=True):
        used = once[list(set(choice.tolist()))].sum(axis=0)
        assert total[:2].tolist() == (stages[np.arange(depth), choice].sum(axis=0) + used[:2]).tolist()
        assert total[2] == used[2]


def test_a_larger_instance_agrees_with_all_products() -> None:
    """Seven accelerators of which the fast are large, four stages: 2,401 assignments."""
    random = np.random.default_rng(0)
    speed = np.arange(1.0, 8.0)
    work = random.integers(1, 20, 4)[:, None]
    stages = np.stack([work * 840 // speed, work * (speed + random.integers(0, 4, (4, 7)))], axis=2)
    once = np.column_stack([0 * speed, 0 * speed, speed + random.integers(0, 3, 7)])
    assert [tuple(row) for row in front(stages, once)[1].tolist()] == all_products(stages, once, math.inf)


def test_too_many_sets_of_accelerators_are_cut_by_size() -> None:
    assert most_candidates(12, 4) == 4 and most_candidates(3, 7) == 3 and most_candidates(1, 5) == 1
    assert most_candidates(100, 4) == 3  # 3.9 million sets of four
    assert most_candidates(1000, 4) == 2


# --- the design space ---


def test_every_combination_stands_once_and_as_the_file_would_say_it(tiny: str) -> None:
    fields = {"PE.meshX": ["2", "8"], "glb.size_bytes": ["8*2**10", "32*2**10"], "clock_hz": ["200e6"]}
    found = design_space([tiny], fields)
    assert found[0].name == "tiny PE.meshX=2 glb.size_bytes=8*2**10 clock_hz=200e6"
    assert [(one.arch.fanouts[0].mesh_x, one.arch.storages[1].capacity_words) for one in found] == [
        (2, 4096), (2, 16384), (8, 4096), (8, 16384),
    ]  # fmt: skip
    assert {one.arch.cycle_s for one in found} == {1 / 200e6}
    assert "size_bytes: varied" in found[0].arch.storages[1].source  # no longer the source of the file's figure
    assert found[0].arch.sources["clock_hz"] == "varied" and found[0].arch.fanouts[0].source == "meshX varied"


def test_an_architecture_without_that_level_stays_as_it_is(tiny: str) -> None:
    names = [one.name for one in design_space([tiny, "tpu_like"], {"PE.meshX": ["2", "8"]})]
    assert names == ["tiny PE.meshX=2", "tiny PE.meshX=8", "tpu_like"]


def test_fields_of_timeloop_files(tmp_path: Path) -> None:
    path = tmp_path / "array.yaml"
    path.write_text(TIMELOOP)
    found = design_space([str(path)], {"glb.attributes.depth": ["512"], "PE.spatial.meshX": ["2"],
                                       "variables.global_cycle_seconds": ["2e-9"]})  # fmt: skip
    arch = found[0].arch
    assert arch.storages[1].capacity_words == 512 * 4 and arch.fanouts[0].mesh_x == 2 and arch.cycle_s == 2e-9


def test_text_may_be_varied_too(tiny: str) -> None:
    cheap, dear = design_space([tiny], {"DRAM.attributes.type": ["HBM2", "DDR3"]})
    assert cheap.arch.energy_pj["DRAM"]["read"] < dear.arch.energy_pj["DRAM"]["read"]


def test_stated_energies_follow_the_models_ratio(tiny: str) -> None:
    """The file states the buffer's energies at 16 KiB; at 64 KiB they are that times model(64) / model(16)."""
    base = load(tiny)
    same, large = design_space([tiny], {"glb.size_bytes": ["16*2**10", "64*2**10"]})
    assert same.arch.energy_pj["glb"]["read"] == 10 and same.rescaled == ()
    own = {name: energy for name, energy in base.energy_pj.items() if name != "glb"}
    modelled = [tables(type(base)(**{**vars(arch), "energy_pj": own}))[0]["glb"] for arch in (base, large.arch)]
    for action, stated in (("read", 10), ("write", 20), ("leak", 1)):
        expected = stated * modelled[1][action] / modelled[0][action]
        assert large.arch.energy_pj["glb"][action] == pytest.approx(expected) and expected > stated
    assert large.arch.energy_pj["glb"]["update"] == large.arch.energy_pj["glb"]["write"]
    assert large.rescaled == ("glb",)
    assert large.arch.energy_pj["mac"] == same.arch.energy_pj["mac"]
    assert large.arch.area_um2["glb"] > 3 * same.arch.area_um2["glb"]  # not stated: the model's own


def test_an_energy_that_is_varied_itself_stays(tiny: str) -> None:
    (one,) = design_space([tiny], {"glb.size_bytes": ["64*2**10"], "glb.energy_pj.read": ["11"]})
    assert one.arch.energy_pj["glb"]["read"] == 11 and one.arch.energy_pj["glb"]["write"] > 20


def test_the_clock_changes_leakage_per_cycle_alone_and_the_node_changes_all(tiny: str) -> None:
    base = load(tiny)
    (slow,), (small,) = (design_space([tiny], {f: [v]}) for f, v in (("clock_hz", "50e6"), ("technology_nm", "22")))
    assert slow.arch.energy_pj["glb"] == pytest.approx({"read": 10, "write": 20, "leak": 2, "update": 20})
    assert small.arch.energy_pj["glb"]["read"] < 10 and small.arch.area_um2["mac"] < base.area_um2["mac"]
    tpu = load("tpu_like")
    shrunk, _ = rescaled(type(tpu)(**{**vars(tpu), "technology_nm": 14.0}), tpu)
    assert shrunk.vector is not None and tpu.vector is not None
    assert 0 < shrunk.vector.energy_pj_per_op < tpu.vector.energy_pj_per_op  # type: ignore[operator]


REFUSED: dict[str, tuple[dict[str, list[str]], str]] = {
    "level": ({"glub.size_bytes": ["1"]}, "no architecture has 'glub'; levels are DRAM, glb, PE, mac"),
    "field": ({"glb.sise_bytes": ["1"]}, "tiny.yaml: levels.1: Object contains unknown field `sise_bytes`"),
    "attribute": ({"DRAM.attributes.typ": ["DDR3"]}, "tiny.yaml: DRAM.attributes.typ: no such field; it has type"),
    "all levels": ({"levels": ["1"]}, "tiny.yaml: levels: Expected `array`, got `int` (with levels=1)"),
    "table": ({"glb.energy_pj": ["1"]}, "tiny.yaml: levels.1.energy_pj: Expected `object`, got `int`"),
    "text of a text": ({"name.x": ["1"]}, "tiny.yaml: name.x: no such field"),
    "level alone": ({"glb": ["1"]}, "tiny.yaml: glb: no such field"),
    "value": ({"PE.meshX": ["0"]}, "tiny.yaml: levels.2.meshX: must be at least 1, is 0 (with PE.meshX=0)"),
    "text": ({"glb.size_bytes": ["64*2**1O"]}, "tiny.yaml: levels.1.size_bytes: not arithmetic: '64*2**1O'"),
    "no such memory type": ({"DRAM.attributes.type": ["DDR9"]}, "tiny.yaml: DRAM: unknown DRAM type 'DDR9'"),
    "too many": ({"PE.meshX": [str(i) for i in range(1, 1002)]}, "--vary: 1001 accelerators, more than 1000"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_fields_and_values_are_named(tiny: str, what: str) -> None:
    fields, message = REFUSED[what]
    with pytest.raises(InputError) as error:
        design_space([tiny], fields)
    assert message in str(error.value)


# --- the whole search ---


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Exploration:
    path = tmp_path_factory.mktemp("arch") / "tiny.yaml"
    path.write_text(TINY)
    fields = {"PE.meshX": ["2", "8"], "DRAM.bandwidth_bytes_per_s": ["1e8", "1e9"], "glb.size_bytes": ["4096", "65536"]}
    return explore(toy().at(B=4), design_space([str(path), "rtx_2080_ti"], fields), mappings=300)


def test_figures_are_those_of_run(searched: Exploration) -> None:
    """A GPU's by its kernel library, what launches it counted once however many stages it serves."""
    for one in searched.candidates:
        alone = assigned(dict.fromkeys(searched.stages, one))
        done = run(searched.graph, one.candidate.arch, objective="edp", solve=partial(solve, mappings=300))
        assert alone.latency_s == pytest.approx(done.latency_s, rel=1e-12)
        assert alone.energy_j == pytest.approx(done.energy_j, rel=1e-12)
        assert one.overhead_s == done.overhead_s and (one.overhead_s > 0) == (one.candidate.base == "rtx_2080_ti")
        assert set(one.stages) == {"encoder:image", "encoder:text", "fusion", "head"}


def test_answers_are_the_best_of_all_assignments(searched: Exploration) -> None:
    by_hand = [
        assigned(dict(zip(searched.stages, choice, strict=True)))
        for choice in itertools.product(searched.candidates, repeat=len(searched.stages))
    ]
    assert searched.best.edp_js == pytest.approx(min(one.edp_js for one in by_hand))
    small = [one for one in by_hand if one.area_mm2 <= searched.shared.area_mm2]
    assert searched.within_shared.edp_js == pytest.approx(min(one.edp_js for one in small))
    singles = [assigned(dict.fromkeys(searched.stages, one)) for one in searched.candidates]
    assert searched.shared == min(singles, key=lambda one: one.edp_js)
    assert searched.best.edp_js <= searched.within_shared.edp_js <= searched.shared.edp_js
    for stage, name in searched.alone.accelerators.items():
        product = {one.name: one.stages[stage].latency_s * one.stages[stage].energy_j for one in searched.candidates}
        assert product[name] == min(product.values())


def test_side_by_side(searched: Exploration) -> None:
    """On one accelerator everything waits; encoders on two overlap as `schedule.concurrent` has it."""
    first, second = (one for one in searched.candidates if not one.overhead_s and "meshX=2" in one.name and
                     "e_bytes=4096" in one.name)  # fmt: skip
    assert searched.side_by_side_s(searched.shared) == pytest.approx(searched.shared.latency_s)
    apart = assigned({**dict.fromkeys(searched.stages, first), "encoder:text": second})
    latencies = {
        layer.id: (second if str(layer.stage) == "encoder:text" else first).layers_s[layer.id]
        for layer in searched.graph.layers
    }
    ends = max(span.end_s for span in schedule.concurrent(searched.graph, latencies))
    assert searched.side_by_side_s(apart) == pytest.approx(ends) and ends < apart.latency_s


def test_an_area_limit_holds_for_all_accelerators_together(searched: Exploration) -> None:
    candidates = [one.candidate for one in searched.candidates]
    limit = 1.01 * searched.shared.area_mm2
    found = explore(searched.graph, candidates, mappings=300, area_limit_mm2=limit)
    assert all(one.area_mm2 <= limit for one in (found.shared, found.best, found.within_shared, *found.front))
    within = [one for one in searched.front if one.area_mm2 <= limit]
    assert found.front == tuple(within)
    assert set(found.left_out) == {one.name for one in searched.candidates if one.area_mm2 > limit} != set()
    with pytest.raises(InputError, match=r"no accelerator is left: .*: larger, 0\."):
        explore(searched.graph, candidates[:1], mappings=300, area_limit_mm2=1e-3)


def test_a_machine_that_a_layer_does_not_fit_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    kept = "size_bytes: 16 * 2**10\n    constraints: {dataspace: {keep: [Weights, Inputs, Outputs]}}"
    path.write_text(TINY.replace("size_bytes: 16 * 2**10", kept))
    found = explore(toy().at(B=1), design_space([str(path)], {"glb.size_bytes": ["4", "4096"]}), mappings=100)
    assert [one.name for one in found.candidates] == ["tiny glb.size_bytes=4096"]
    assert "glb" in found.left_out["tiny glb.size_bytes=4"]


# --- the verb ---


def mmsim(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mmsim", *arguments])
    return cli._run()


@pytest.fixture
def arguments(tiny: str, tmp_path: Path) -> list[str]:
    vary = ["--vary", "PE.meshX=2,8", "--vary", "DRAM.bandwidth_bytes_per_s=1e8,1e9"]
    network = str(dump(toy(), tmp_path / "toy.json"))
    return ["explore", network, "--arch", tiny, *vary, "--batch", "4", "--mappings", "300"]


def test_contract_and_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], tmp_path: Path
) -> None:
    written, plot = tmp_path / "out.json", tmp_path / "front.png"
    assert mmsim(monkeypatch, *arguments, "--json", "-o", str(written), "--plot", str(plot)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(written.read_text()) and plot.read_bytes().startswith(b"\x89PNG")
    assert {key: found[key] for key in ("workload", "variant", "batch", "dtype", "mappings", "objective")} == {
        "workload": "toy", "variant": "concat", "batch": 4, "dtype": "as traced", "mappings": 300, "objective": "edp",
    }  # fmt: skip
    assert found["stages"] == ["encoder:image", "encoder:text", "fusion", "head"]
    assert found["area_limit_mm2"] is found["most_accelerators"] is None and found["left_out"] == {}
    names = [one["name"] for one in found["candidates"]]
    assert names[0] == "tiny PE.meshX=2 DRAM.bandwidth_bytes_per_s=1e8" and len(names) == 4
    one = found["candidates"][0]
    assert one["architecture"] == "tiny" and one["varied"] == {"PE.meshX": "2", "DRAM.bandwidth_bytes_per_s": "1e8"}
    assert set(one) == {
        "name", "architecture", "varied", "rescaled", "latency_s", "energy_j", "edp_js", "area_mm2", "overhead_s",
        "overhead_j", "proven_share", "by_stage",
    }  # fmt: skip
    assert set(one["by_stage"]["head"]) == {"latency_s", "energy_j", "bound"}
    totals = {"accelerators", "latency_s", "energy_j", "edp_js", "area_mm2"}
    assert all(set(row) == totals and set(row["accelerators"].values()) <= set(names) for row in found["front"])
    for key in ("shared", "within_shared_area", "best", "alone"):
        assert set(found[key]) == totals | {"side_by_side_s"}
        assert found[key]["side_by_side_s"] <= found[key]["latency_s"] * (1 + 1e-9)
    assert found["gain"]["edp"] == pytest.approx(found["shared"]["edp_js"] / found["best"]["edp_js"])
    assert found["gain"]["edp"] >= 1


def test_tables(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert mmsim(monkeypatch, *arguments, "--vary", "glb.size_bytes=4096") == 0
    printed = capsys.readouterr().out
    assert "toy concat, batch 4: 4 x tiny glb.size_bytes=4096, each shared by all stages" in printed
    assert "the stated figures of glb follow what was varied" in printed
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.strip()}
    assert rows["encoder:text"][-1] in "1234" and rows["stage"][:3] == ["stage", "share", "shared"]


BAD: dict[str, tuple[list[str], str]] = {
    "no values": (["--vary", "PE.meshX"], "--vary: 'PE.meshX' is not NAME=VALUE"),
    "no value": (["--vary", "PE.meshY=1,,2"], "--vary PE.meshY: a value is missing or stands twice"),
    "twice": (["--vary", "PE.meshY=1,1"], "--vary PE.meshY: a value is missing or stands twice"),
    "same field twice": (["--vary", "PE.meshX=1"], "--vary: 'PE.meshX' is given twice"),
    "unknown level": (["--vary", "PF.meshX=1"], "--vary PF.meshX: no architecture has 'PF'"),
    "unknown architecture": (["--arch", "eyeris"], "did you mean eyeriss_like"),
    "area": (
        ["--area-mm2", "1e-9"],
        "no accelerator is left: tiny PE.meshX=2 DRAM.bandwidth_bytes_per_s=1e8: larger, 0.0",
    ),
    "same name": (["--arch", "TINY"], "--arch: 2 architectures are called tiny"),
    "jobs": (["--jobs", "0"], "--jobs"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], what: str
) -> None:
    added, message = BAD[what]
    assert mmsim(monkeypatch, *arguments, *(arguments[3] if item == "TINY" else item for item in added)) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and printed.out == ""


def test_the_answer_is_the_same_for_any_number_of_jobs(tiny: str) -> None:
    candidates = design_space([tiny], {"PE.meshX": ["2", "8"]})
    one, two = (explore(toy().at(B=2), candidates, mappings=100, jobs=jobs) for jobs in (1, 2))
    assert record(one) == record(two)
