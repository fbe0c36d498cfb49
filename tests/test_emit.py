"""Emitted files: goldens to look at, what Timeloop can't say, one file per distinct shape and an index of its users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mmsim import files
from mmsim.arch import timeloop as timeloop_file
from mmsim.arch.model import Arch, Compute, Storage
from mmsim.emit import accelergy, accelforge, timeloop, zigzag
from mmsim.emit.folder import emit_graph
from mmsim.energy import compound, tables
from mmsim.energy.estimate import Process
from mmsim.energy.tables import attributes
from mmsim.errors import InputError
from mmsim.layer import Layer, Stage, Tensor
from mmsim.problem import DataSpace, Problem
from mmsim.size import symbol
from tests import emit_samples as samples

Golden = Callable[[str, str], None]


@pytest.mark.parametrize(
    "name, problem",
    [
        ("conv", samples.convolution()),
        ("conv_stride2_dilation3", samples.convolution(2, 3)),
        ("matmul", samples.product()),
        ("matmul_batch3", samples.product(batch=3)),
    ],
)
def test_problem(name: str, problem: Problem, golden: Golden) -> None:
    golden(f"emit/{name}.yaml", files.to_yaml({"problem": timeloop.problem(problem)}))


@pytest.mark.parametrize("arch", [samples.array(), samples.gpu_like()], ids=lambda arch: arch.name)
def test_architecture(arch: Arch, golden: Golden) -> None:
    golden(
        f"emit/{arch.name.replace(' ', '_')}.arch.yaml", files.to_yaml({"architecture": timeloop.architecture(arch)})
    )


def test_tables(golden: Golden) -> None:
    arch = samples.array()
    golden("emit/array.ERT.yaml", files.to_yaml({"ERT": accelergy.ert(arch, arch.energy_pj)}))
    golden("emit/array.ART.yaml", files.to_yaml({"ART": accelergy.art(arch, arch.area_um2)}))


def test_components(golden: Golden) -> None:
    golden("emit/array.components.yaml", files.to_yaml({"components": accelergy.components(samples.array())}))


@pytest.mark.parametrize("arch", [samples.array(), samples.gpu_like()], ids=lambda arch: arch.name)
def test_architecture_reads_back(arch: Arch) -> None:
    """Our own reader of Timeloop files finds the same machine in what was written."""
    again = timeloop_file.parse({"architecture": timeloop.architecture(arch)}, file="arch.yaml")
    assert [(node.name, type(node)) for node in again.nodes] == [(node.name, type(node)) for node in arch.nodes]
    assert (again.cycle_s, again.technology_nm) == (arch.cycle_s, arch.technology_nm)
    for old, new in zip(arch.storages, again.storages, strict=True):
        capacity = old.capacity_words or 2**30 * old.block_size
        assert (new.kind, new.word_bits, new.capacity_words, new.block_size) == (
            old.kind, old.word_bits, capacity, old.block_size,
        )  # fmt: skip
        assert new.read_words_per_cycle == old.read_words_per_cycle
        assert new.shared_words_per_cycle == old.shared_words_per_cycle
        assert new.multiple_buffering == old.multiple_buffering
    assert [(node.mesh_x, node.mesh_y) for node in again.fanouts] == [(n.mesh_x, n.mesh_y) for n in arch.fanouts]


def test_components_say_what_the_built_in_models_say() -> None:
    """The compound classes written for Accelergy, read back by our own reader, give our own estimates."""
    arch = replace(samples.array(), energy_pj={}, area_um2={})
    classes = compound.parse({"components": accelergy.components(arch)}, file="components.yaml")
    process = Process(45, arch.cycle_s)
    energy, area = tables(arch)
    for node in (*arch.storages, arch.compute):
        found = classes.estimate(accelergy.subclass(node) or node.kind, attributes(node), process)
        for action, pj in found.energy_pj.items():
            assert pj == pytest.approx(energy[node.name][action]), (node.name, action)
        assert found.area_um2 == pytest.approx(area[node.name])


@pytest.mark.parametrize("name, problem", [("conv", samples.convolution(2, 3)), ("matmul", samples.product())])
def test_other_formats(name: str, problem: Problem, golden: Golden) -> None:
    golden(f"emit/{name}.accelforge.yaml", files.to_yaml({"workload": accelforge.workload(problem)}))
    golden(f"emit/{name}.zigzag.yaml", files.to_yaml([zigzag.layer(problem)]))


def test_accelforge_architecture(golden: Golden) -> None:
    golden("emit/array.accelforge.yaml", files.to_yaml({"arch": accelforge.architecture(samples.array())}))
    with pytest.raises(InputError, match="DRAM: no energies"):
        accelforge.architecture(samples.gpu_like())


def test_formats_refuse_in_their_own_name() -> None:
    assert accelforge.refusal(samples.softmax()) == (
        "an Einsum of AccelForge counts multiply-accumulates only, this is vector"
    )
    weights, _, outputs = samples.product().data_spaces
    three = DataSpace("Inputs", ((("M", 1), ("N", 1), ("K", 1)),), 16)
    assert "sum of two" in str(zigzag.refusal(replace(samples.product(), data_spaces=(weights, three, outputs))))
    assert zigzag.refusal(samples.softmax()) == "ZigZag counts multiply-accumulates only, this is vector"


@pytest.mark.parametrize("form", ["accelforge", "zigzag"])
def test_folder_in_other_formats(form: str, tmp_path: Path) -> None:
    rows = files.read_yaml(emit_graph(network(), samples.array(), tmp_path, form=form))["problems"]
    assert sum(row["file"] is None for row in rows) == 1  # softmax
    assert all((tmp_path / row["file"]).exists() for row in rows if row["file"])


def test_coefficients_of_one_dimension_that_differ() -> None:
    """P is read at 2P in one tensor and at 3P in another: two names, each with its own value."""
    problem = Problem(
        "mac",
        (("P", 4),),
        (
            DataSpace("Inputs", ((("P", 2),),), 8),
            DataSpace("Weights", ((("P", 3),),), 8),
            DataSpace("Outputs", ((("P", 1),),), 8, is_output=True),
        ),
    )
    spec = timeloop.problem(problem)
    assert spec["instance"] == {"P": 4, "Ptimes2": 2, "Ptimes3": 3}
    assert [space["projection"] for space in spec["shape"]["data_spaces"]] == [
        [[["P", "Ptimes2"]]],
        [[["P", "Ptimes3"]]],
        [[["P"]]],
    ]


@pytest.mark.parametrize(
    "problem, reason",
    [
        (samples.softmax(), "multiply-accumulates only, this is vector"),
        (
            replace(samples.product(), dims=(("M", 2), ("N", 2), ("K", 2), ("heads", 4))),
            "one-letter dimensions, not heads",
        ),
    ],
)
def test_what_timeloop_cannot_say(problem: Problem, reason: str) -> None:
    assert reason in (timeloop.refusal(problem) or "")
    with pytest.raises(InputError, match=reason):
        timeloop.problem(problem)


def test_open_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="give a value for B"):
        timeloop.problem(replace(samples.product(), dims=(("M", symbol("B")), ("N", 2), ("K", 2))))


def test_a_memory_beyond_what_timeloop_can_count() -> None:
    """141 GiB of 4-byte words are more rows than an int: the depth written is the largest round one."""
    arch = Arch("a", (Storage("DRAM", "DRAM", 32, 141 * 2**28), Compute("mac", "mac", 32)), 1e-9, 4)
    assert timeloop.architecture(arch)["nodes"][1]["attributes"]["depth"] == 2**30


def test_rows_that_do_not_fit_are_refused() -> None:
    arch = Arch("a", (Storage("glb", "SRAM", 16, 10, block_size=4), Compute("mac", "mac", 16)), 1e-9, 45)
    with pytest.raises(InputError, match="glb: 10 words are not whole rows of 4"):
        timeloop.architecture(arch)


@dataclass
class Network:
    """What `emit_graph` needs of a graph."""

    uses: dict[Problem, tuple[Layer, ...]]
    workload: str = "net"
    variant: str = "concat"

    def distinct_problems(self) -> dict[Problem, tuple[Layer, ...]]:
        return self.uses


def layer(id: int, stage: str) -> Layer:
    return Layer(
        id, f"layer{id}", "torch.x", Stage.parse(stage), (), (Tensor(f"t{id}", (1,), "float16", "activation"),)
    )


def network() -> Any:
    return Network(
        {
            samples.convolution(): (layer(0, "encoder:image"), layer(1, "encoder:image"), layer(2, "head")),
            samples.convolution(2): (layer(3, "encoder:image"),),
            samples.product(bits=16): (layer(4, "encoder:text"),),
            samples.product(bits=32): (layer(5, "fusion"),),  # the same loop nest: one file
            replace(samples.product(), instances=12): (layer(6, "fusion"),),
            samples.softmax(): (layer(7, "fusion"),),
        }
    )


def test_folder(tmp_path: Path, golden: Golden) -> None:
    index = emit_graph(network(), samples.array(), tmp_path)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.yaml")}
    assert written == {
        "index.yaml", "arch.yaml", "components.yaml", "ERT.yaml", "ART.yaml", "mapper.yaml",
        "problems/conv_C8_M64_P14_Q14_R3_S3.yaml", "problems/conv_C8_M64_P14_Q14_R3_S3__2.yaml",
        "problems/matmul_M32_N48_K64.yaml",
    }  # fmt: skip
    golden("emit/index.yaml", index.read_text())


def test_a_second_run_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    emit_graph(network(), samples.array(), tmp_path)
    (tmp_path / "problems" / "mine.yaml").write_text("kept")
    smaller = replace(network(), uses={samples.product(): (layer(1, "head"),)})
    emit_graph(smaller, replace(samples.array(), energy_pj={}, area_um2={}), tmp_path)
    index = files.read_yaml(tmp_path / "index.yaml")
    named = {row["file"] for row in index["problems"] if row["file"]} | {*index["files"], "index.yaml"}
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.yaml")}
    assert there == named | {"problems/mine.yaml"}


def test_index_accounts_for_every_operation(tmp_path: Path) -> None:
    net = network()
    rows = files.read_yaml(emit_graph(net, samples.array(), tmp_path))["problems"]
    listed = sum(row["operations"] * use["count"] for row in rows for use in row["uses"])
    assert listed == sum(problem.operations * len(layers) for problem, layers in net.uses.items())
    for row in rows:
        if row["file"]:
            instance = files.read_yaml(tmp_path / row["file"])["problem"]["instance"]
            assert {dim: instance[dim] for dim in row["dims"]} == row["dims"]
        else:
            assert row["why"] and row["data_spaces"]
