"""Architecture files: our own format, Timeloop v0.4, and what is wrong with a file said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmsim import files
from mmsim.arch import builtin_names, catalogue, load, spec, tables, timeloop
from mmsim.arch.arithmetic import number
from mmsim.arch.constraints import parse_constraints
from mmsim.arch.model import Fanout, LoopConstraints, Storage
from mmsim.errors import InputError

OWN = """
name: tiny
clock_hz: 200e6
technology_nm: 65
sources: {clock_hz: a paper, technology_nm: a paper}
levels:
  - {name: DRAM, kind: DRAM, word_bits: 16, row_bits: 64, bandwidth_bytes_per_s: 6.4e9, source: a sheet}
  - name: glb
    kind: SRAM
    word_bits: 16
    size_bytes: 108 * 2**10
    energy_pj: {read: 6, write: 6}
    area_um2: 1e5
    source: {word_bits: a paper, size_bytes: a paper, energy_pj: a paper, area_um2: a guess}
  - {name: PE, kind: fanout, meshX: 14, meshY: 12, source: a paper}
  - {name: mac, kind: intmac, word_bits: 16, source: a paper}
"""

TIMELOOP = """
variables: {version: 0.4, words: 2 * kilo, kilo: 2**10}
architecture:
  version: 0.4
  nodes:
  - !Container
    name: system
    attributes: {global_cycle_seconds: 2.0e-9, technology: "65nm", datawidth: 16, network_fill_latency: 3}
  - !Component
    name: DRAM
    class: DRAM
    attributes: {type: LPDDR4, width: 64, shared_bandwidth: 8}
  - !Component
    name: glb
    class: smartbuffer_SRAM
    attributes: {depth: words, width: 4 * datawidth, bandwidth: 8, multiple_buffering: 2, min_utilization: 0.1}
  - !Container
    name: PE
    spatial: {meshX: 4, meshY: kilo // 512}
    constraints: {spatial: {factors: [C=1, M<=4], permutation: [M, C], split: 1, no_link_transfer: [Inputs]}}
  - !Parallel
    nodes:
    - !Component
      name: weights
      class: regfile
      attributes: {depth: 8, width: 16}
      constraints: {dataspace: {keep_only: [Weights]}}
    - !Component
      name: others
      class: regfile
      attributes: {depth: 8, width: 32, cluster_size: 2}
      constraints: {dataspace: {keep: [Inputs, Outputs]}, temporal: {factors_only: [K=0]}}
  - !Component {name: mac, class: intmac}
constraints:
  targets:
  - {target: glb, type: temporal, permutation: [N, M, C]}
"""


def own(change: str = "", to: str = "") -> Any:
    assert change in OWN
    return files.parse_yaml(OWN.replace(change, to) if change else OWN, file="tiny.yaml")


def timeloop_file(change: str = "", to: str = "") -> Any:
    assert change in TIMELOOP
    return files.parse_yaml(TIMELOOP.replace(change, to) if change else TIMELOOP, file="t.yaml")


def test_own_format_in_words_and_cycles() -> None:
    arch = spec.parse(own(), file="tiny.yaml")
    dram, glb = arch.storages
    assert (dram.block_size, dram.shared_words_per_cycle) == (4, 6.4e9 / 2 / 200e6)
    assert (glb.capacity_words, glb.source.split("; ")[1]) == (108 * 512, "size_bytes: a paper")
    assert arch.fanouts == (Fanout("PE", 14, 12, source="a paper"),)
    assert (arch.cycle_s, arch.technology_nm, arch.instances("mac")) == (5e-9, 65, 168)
    assert arch.energy_pj == {"glb": {"read": 6, "write": 6}}
    assert arch.area_um2 == {"glb": 1e5}


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_architecture_loads_and_is_named_as_its_file(name: str) -> None:
    arch = load(name)
    assert arch.name == name
    assert arch.description
    assert all(node.source for node in arch.nodes)
    assert arch in catalogue()


def test_eyeriss_is_as_published() -> None:
    arch = load("eyeriss_like")
    assert arch.instances("mac") == 168
    words = {node.name: node.capacity_words for node in arch.storages}
    assert (words["ifmap_spad"], words["weights_spad"], words["psum_spad"]) == (12, 224, 24)
    mac = arch.energy_pj["mac"]["compute"]
    assert arch.energy_pj["DRAM"]["read"] / 4 == pytest.approx(200 * mac)  # four words a row
    assert arch.energy_pj["glb"]["read"] / 4 == pytest.approx(6 * mac)


def test_tpu_is_as_published() -> None:
    arch = load("tpu_like")
    assert arch.instances("mac") == 65536
    peak = 2 * arch.instances("mac") / arch.cycle_s
    assert peak == pytest.approx(92e12, rel=0.01)  # "92 TOPS", the paper's abstract
    assert arch.vector is not None
    assert arch.vector.ops_per_cycle == 256


def test_unknown_name_lists_near_ones() -> None:
    with pytest.raises(InputError, match="did you mean eyeriss_like"):
        load("eyeris")


@pytest.mark.parametrize(
    ("change", "to", "said"),
    [
        ("108 * 2**10", "-1", "levels.1.size_bytes: must be positive, is -1"),
        ("108 * 2**10", ".nan", "levels.1.size_bytes: expected a finite number"),
        ("108 * 2**10", "[1]", "levels.1.size_bytes: Expected"),
        ("108 * 2**10", "many", "levels.1.size_bytes: unknown name 'many'"),
        ("108 * 2**10", "9**9**9", "levels.1.size_bytes: power too large"),
        ("size_bytes: 108 * 2**10", "size_byte: 1", "unknown field `size_byte`"),
        ("name: glb", "name: DRAM", "levels.1.name: 'DRAM' stands twice"),
        ("kind: SRAM", "kind: sram", "levels.1.kind: 'sram' is not one of fanout, DRAM"),
        ("area_um2: a guess", "size: x", "levels.1.source: no source for area_um2"),
        ("meshX: 14", "meshX: 1.5", "levels.2.meshX: must be a whole number"),
        ("meshX: 14", "meshX: 14, size_bytes: 4", "levels.2.size_bytes: a level of kind 'fanout' has no such field"),
        ("row_bits: 64", "row_bits: 24", "levels.0.row_bits: 24 is not a multiple of 16 bits"),
        ("clock_hz: 200e6", "clock_hz: 0", "clock_hz: must be positive"),
        ("{clock_hz: a paper,", "{", "sources: no source for clock_hz"),
        ("kind: intmac", "kind: DRAM", "levels: the last level must be a compute"),
        ("word_bits: 16, source: a paper}", "source: a paper}", "levels.3.word_bits: missing"),
        (
            "source: a paper}\n  - {name: mac",
            "source: a paper, constraints: {keeps: 1}}\n  - {name: mac",
            "constraints.keeps",
        ),
    ],
)
def test_own_format_refused_with_file_and_field(change: str, to: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        spec.parse(own(change, to), file="tiny.yaml")
    text = str(caught.value)
    assert text.startswith("tiny.yaml: ")
    assert said in text
    assert "\n" not in text


def test_timeloop_file_becomes_levels() -> None:
    arch = timeloop.parse(timeloop_file(), file="dir/t.arch.yaml")
    assert [node.name for node in arch.nodes] == ["DRAM", "glb", "PE", "weights", "others", "mac"]
    dram, glb, weights, others = arch.storages
    assert (dram.word_bits, dram.block_size, dram.capacity_words) == (16, 4, None)
    assert (glb.capacity_words, glb.read_words_per_cycle, glb.write_words_per_cycle) == (2048 * 4, 4, 4)
    assert (glb.multiple_buffering, glb.constraints.min_utilization) == (2, 0.1)
    assert glb.constraints.temporal.permutation == ("N", "M", "C")
    assert glb.fill_latency_cycles == 3  # inherited from the container
    fanout = arch.fanouts[0]
    assert (fanout.mesh_x, fanout.mesh_y, fanout.constraints.no_link_transfer) == (4, 2, ("Inputs",))
    assert fanout.constraints.spatial == LoopConstraints((("C", "=", 1), ("M", "<=", 4)), ("M", "C"), 1)
    assert (weights.constraints.keep, weights.constraints.bypass) == (("Weights",), ("*",))
    assert (others.constraints.keep, others.constraints.bypass) == (("Inputs", "Outputs"), ("*",))
    assert (others.block_size, others.cluster_size, others.capacity_words) == (1, 2, 8)
    assert others.constraints.temporal.factors == (("K", "=", 0), ("*", "=", 1))
    assert (arch.name, arch.cycle_s, arch.technology_nm) == ("t", 2e-9, 65)


def test_variables_are_names_and_no_attributes() -> None:
    changed = timeloop_file(
        "variables: {version: 0.4,", "variables: {version: 0.4, width: 128, read_bandwidth: 3, kind: HBM2, depth: 5,"
    )
    changed["architecture"]["nodes"][1]["attributes"] = {"width": "width // 2", "type": "kind", "depth": "depth + 1"}
    dram, glb = timeloop.parse(changed, file="t.yaml").storages[:2]
    assert (dram.block_size, dram.capacity_words, dram.attributes["type"]) == (4, 24, "HBM2")
    assert (dram.read_words_per_cycle, glb.read_words_per_cycle) == (None, 4)


@pytest.mark.parametrize(
    ("change", "to", "said"),
    [
        ("version: 0.4\n  nodes", "version: 0.3\n  nodes", "architecture.version: only version 0.4 is read"),
        ("!Parallel", "!Paralel", "architecture.nodes.4: unknown tag !Paralel"),
        ("class: DRAM", "class: DRRAM_", "architecture.nodes.1.class: 'DRRAM_' holds none of DRAM"),
        ("class: intmac", "class: XY_NoC", "network components (XY_NoC) are not supported"),
        ("width: 64,", "width: 60,", "attributes.width: 60 is not a multiple of 16 bits"),
        ("depth: words", "depth: wrods", "attributes.depth: unknown name 'wrods'"),
        ("depth: words", "depth: depth", "attributes.depth: unknown name 'depth'"),
        ("depth: words", "depth: -4", "attributes.depth: must be a whole number of at least 0"),
        ("depth: words", "depth: .inf", "attributes.depth: expected a finite number"),
        ("depth: words", "depth: [1]", "attributes.depth: expected a number, got list"),
        ("depth: words", "depth: 4, sizeKB: 1", "give only one of depth and sizeKB"),
        ("depth: words", "depth: __import__('os').getpid()", "attributes.depth: only numbers, names"),
        ("meshX: 4", "meshX: 0", "spatial.meshX: must be a whole number of at least 1"),
        ("meshX: 4", "meshZ: 4", "spatial.meshZ: not supported"),
        ("name: glb", "name: DRAM", "the name 'DRAM' stands twice"),
        (
            "shared_bandwidth: 8",
            "metadata_datawidth: 8",
            "attributes.metadata_datawidth: metadata storage is not supported",
        ),
        ("name: PE\n", "name: PE\n    sparse_optimizations: {}\n", "sparse_optimizations: not supported (sparse"),
        ("factors: [C=1, M<=4]", "factors: [C~1]", "constraints.spatial.factors: 'C~1' is not a factor"),
        ("factors: [C=1, M<=4]", f"factors: ['C{' ' * 200_000}x']", "is not a factor"),
        ("keep_only: [Weights]", "keep: [Weights], bypass: [Weights]", "'Weights' is both kept and bypassed"),
        ("target: glb", "target: glob", "constraints.targets.0.target: unknown target 'glob'"),
        ("  - !Component {name: mac, class: intmac}\n", "", "the last node, and no other, must be a compute"),
        ("nodes:\n  - !Container", "node:\n  - !Container", "architecture.node: not supported"),
        ('technology: "65nm"', "technology: tiny", "technology: expected a size such as 45nm"),
        ("variables: {", "jinja: 1\nvariables: {", "jinja: not supported"),
    ],
)
def test_timeloop_file_refused_with_file_and_field(change: str, to: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        timeloop.parse(timeloop_file(change, to), file="t.yaml")
    text = str(caught.value)
    assert text.startswith("t.yaml: ")
    assert said in text
    assert "\n" not in text


HOSTILE = [
    "",
    "3",
    "[]",
    "architecture:",
    "architecture: []",
    "architecture: {nodes: {}}",
    "architecture: {nodes: [3]}",
    "architecture: {nodes: [!Component]}",
    "architecture: {nodes: [!Component {name: 3}]}",
    "architecture: {nodes: [!Hierarchical {nodes: [!Container {name: a, attributes: 4}]}]}",
    "levels: 3",
    "levels: [[]]",
    "levels: [{name: a}]",
    "{",
    "a: &a [*a]",
    "a: &a {b: *a}",
    "? [1, 2]\n: 3",
    "architecture: {nodes: " + "[" * 80 + "]" * 80 + "}",
    "architecture: {nodes: [!!python/object/apply:os.system [ls]]}",
    "a: b: c",
    "architecture: {version: 0.4, nodes: [!Container {name: x, 3: 4}]}",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("reader", [load, tables.read_ert, tables.read_art])
def test_hostile_files_give_one_line(reader: Any, text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        reader(path)
    assert "x.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", range(10, len(TIMELOOP), 97))
def test_files_cut_short_give_one_line_or_an_architecture(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(TIMELOOP[:cut])
    with pytest.raises(InputError) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_energy_tables() -> None:
    arch = spec.parse(own(), file="tiny.yaml")
    ert = files.parse_yaml(
        """
ERT:
  version: 0.4
  tables:
  - {name: "system.DRAM[1..1]", actions: [{name: read, arguments: {}, energy: 5}, {name: read, energy: 7}]}
  - {name: "system.PE.glb", actions: [{name: read, energy: 1e1}]}
  - {name: "mac[1..168]", actions: [{name: compute, energy: 1}]}
  - {name: wire, actions: []}
ART: {tables: [{name: "system.glb[1..1]", area: 10}, {name: "x.mac[1..168]", area: 2}]}
""",
        file="e.yaml",
    )
    energy = tables.parse_ert(ert, file="e.yaml")
    arch = tables.with_tables(arch, energy, tables.parse_art(ert, file="e.yaml"))
    assert arch.energy_pj == {"DRAM": {"read": 7}, "glb": {"read": 10}, "mac": {"compute": 1}}
    assert tables.area_um2(arch) == 10 + 168 * 2
    with pytest.raises(InputError, match="no entry for 'mac'"):
        tables.with_tables(arch, {"DRAM": {}, "glb": {}})


def test_a_gate_is_a_level_by_name() -> None:
    """``has_power_gating`` alone changes nothing: Timeloop's front end writes no gate for it."""
    arch = timeloop.parse(timeloop_file("type: LPDDR4", "type: LPDDR4, has_power_gating: true"), file="t.yaml")
    assert {node.power_gated_at for node in arch.storages} == {""}
    arch = timeloop.parse(timeloop_file("min_utilization: 0.1", "power_gated_at: DRAM"), file="t.yaml")
    assert "DRAM" in {node.power_gated_at for node in arch.storages}
    with pytest.raises(InputError, match="unknown level 'L7'"):
        timeloop.parse(timeloop_file("min_utilization: 0.1", "power_gated_at: L7"), file="t.yaml")


def test_attributes_and_nodes_are_bounded() -> None:
    many = ", ".join(f"a{i}: a{i + 1} + 1" for i in range(300))
    with pytest.raises(InputError, match=r"architecture\.nodes\.1\.attributes: more than 256"):
        timeloop.parse(timeloop_file("type: LPDDR4", f"type: LPDDR4, {many}"), file="t.yaml")
    nodes = [{"!": "Component", "name": f"m{i}", "class": "SRAM", "attributes": {"datawidth": 8}} for i in range(200)]
    with pytest.raises(InputError, match=r"architecture\.nodes: more than 128"):
        timeloop.parse({"architecture": {"nodes": nodes}}, file="t.yaml")


def test_the_spatial_constraints_of_timeloops_tutorial() -> None:
    """``maximize_dims`` is kept for who searches; the tutorial's split stands behind every dimension."""
    spatial = {"maximize_dims": [["M", "C"]], "split": "len(spec.problem.instance)"}
    found = parse_constraints({"spatial": spatial}, "c").spatial
    assert found.maximize == (("M", "C"),) and found.split == 999
    with pytest.raises(InputError, match=r"c\.spatial\.maximize_dims: expected lists of dimensions"):
        parse_constraints({"spatial": {"maximize_dims": "M"}}, "c")


def test_top_level_keys_by_their_parts() -> None:
    """As the front end reads them: a key with ``ignore`` is left out, a longer one with ``components`` is that one."""
    assert timeloop.keyed({"compound_components": 1, "map_constraints": 2, "base_ignore": 3}) == {
        "components": 1,
        "constraints": 2,
    }
    with pytest.raises(InputError, match="compound_components: components stands twice"):
        timeloop.keyed({"components": 1, "compound_components": 2})
    with pytest.raises(InputError, match="sparse: not supported"):
        timeloop.keyed({"sparse": 1})


def test_vector_access_energy_goes_before_the_table() -> None:
    arch = timeloop.parse(timeloop_file("type: LPDDR4", "type: LPDDR4, vector_access_energy: 12"), file="t.yaml")
    names = [node.name for node in arch.nodes if not isinstance(node, Fanout)]
    arch = tables.with_tables(arch, {name: {"read": 1.0, "compute": 1.0} for name in names})
    assert arch.energy_pj["DRAM"] == {"read": 12, "write": 12, "update": 12}
    assert arch.energy_pj["glb"] == {"read": 1, "compute": 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e9", 1e9),
        ("2 * (3 + 4)", 14),
        ("-7 // 2", -4),
        ("ceil(7 / 2)", 4),
        ("min(3, 2) + max(1, 4)", 6),
        ("2**10", 1024),
    ],
)
def test_arithmetic(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "()", "1 +", "a.b", "a[0]", "[1]", "'x'", "True", "lambda: 1", "1 if 1 else 2", "1/0", "(-8)**0.5", "f(1)",
     "2**2**2**2**2", "1 << 3", "'a' * 10**9", "x" * 600, "9" * 450, "(" * 200 + ")" * 200, "sqrt(-1)", "log2(0)"],
)  # fmt: skip
def test_what_is_not_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        number(text)


def test_names_of_storages_only() -> None:
    assert all(isinstance(node, Storage) for node in load("eyeriss_like").storages)


@pytest.mark.parametrize(
    "text", [OWN.replace("meshX: 14", "meshX: 2**63"), TIMELOOP.replace("meshX: 4,", "meshX: 2**63,")]
)
def test_more_instances_than_any_machine_has(tmp_path: Path, text: str) -> None:
    path = tmp_path / "huge.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"PE\.meshX x meshY: more than 2147483648 instances"):
        load(path)
