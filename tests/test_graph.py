"""Graphs: totals worked by hand, one dump for every batch, and dumps that are not dumps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmsim import layer_dump
from mmsim.errors import InputError
from mmsim.layer import Stage, Tensor, op_kind
from mmsim.layer_dump import dump, load
from mmsim.size import symbol
from tests.toy import toy

B = symbol("B")


def test_totals_by_hand() -> None:
    stages = toy().by_stage()
    assert stages["encoder:image"].macs == B * (4 * 8 * 8 * 3 * 3 * 3)
    assert stages["encoder:image"].parameters == 4 * 3 * 3 * 3
    assert stages["encoder:image"].layers == 2  # the flatten is a view
    assert stages["encoder:text"].macs == B * 32 * 16
    assert stages["fusion"].macs == 0 and stages["fusion"].layers == 1
    assert stages["head"].macs == B * 2880
    assert toy().macs == B * (6912 + 512 + 2880) and toy().totals().flops == 2 * toy().macs
    assert set(toy().by_modality()) == {"image", "text", "fusion", "head"}


def test_at_makes_sizes_concrete() -> None:
    at_40 = toy().at(B=40)
    assert at_40.macs == 40 * 10304 and at_40.symbols == frozenset()
    assert at_40.outputs[0].shape == (40, 10)
    for bad in ({"B": 0}, {"B": -1}, {"L": 3}):
        with pytest.raises(InputError):
            toy().at(**bad)


def test_cast_changes_bytes_not_counts() -> None:
    half = toy().cast("float16")
    assert half.totals().weight_bytes * 2 == toy().totals().weight_bytes
    assert half.macs == toy().macs


def test_networkx_edges() -> None:
    network = toy().to_networkx()
    assert list(network.edges) == [(0, 1), (1, 2), (2, 4), (3, 4), (4, 5)]


def test_dump_round_trip(tmp_path: Path) -> None:
    path = dump(toy(), tmp_path / "toy.json")
    assert load(path) == toy()
    assert list(tmp_path.iterdir()) == [path]


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda d: d.pop(key) and None


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "other format": (lambda d: d.update(format="x"), "not a layer dump"),
    "other version": (lambda d: d.update(version=9), "version: version 9"),
    "no layers": (_without("layers"), "missing required field `layers`"),
    "negative size": (lambda d: d["tensors"]["t0"].update(shape=["B", 4, -8, 8]), "tensors.t0.shape: negative size"),
    "no size": (lambda d: d["tensors"]["t0"].update(shape=["B", "4 eval"]), "tensors.t0.shape: not a size"),
    "no format": (lambda d: d["tensors"]["t0"].update(dtype="float33"), "tensors.t0.dtype: unknown format"),
    "no tensor": (lambda d: d["layers"][1].update(outputs=["nowhere"]), "layers.1.outputs.0: no tensor 'nowhere'"),
    "no stage": (lambda d: d["layers"][1].update(stage="encoder"), "layers.1.stage: stage 'encoder' needs"),
    "id twice": (lambda d: d["layers"][1].update(id=0), "layers: id 0 stands twice"),
    "wrong type": (lambda d: d["layers"][1].update(call_index="x"), "layers.1.call_index: Expected `int`"),
    "more fields": (lambda d: d["layers"][1].update(extra=1), "unknown field `extra`"),
    "a mapping as attribute": (lambda d: d["layers"][1].update(attrs={"a": {}}), "layers.1.attrs.a: must be"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_dumps_are_refused_by_field(tmp_path: Path, what: str) -> None:
    record = json.loads(json.dumps(layer_dump.to_record(toy())))
    BROKEN[what][0](record)
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError) as error:
        load(path)
    assert BROKEN[what][1] in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_cut_short(tmp_path: Path) -> None:
    path = dump(toy(), tmp_path / "toy.json")
    path.write_text(path.read_text()[:500])
    with pytest.raises(InputError, match="not JSON"):
        load(path)


def test_stage_and_op_names() -> None:
    assert str(Stage.parse("encoder:image")) == "encoder:image"
    for bad in ("encode", "encoder", "encoder:a/b", ""):
        with pytest.raises(InputError):
            Stage.parse(bad)
    assert op_kind("torch.Tensor.__getitem__") == "__getitem__"
    assert op_kind("aten.native_layer_norm.default") == "native_layer_norm"


def test_tensor_bytes() -> None:
    assert Tensor("x", (B, 3), "bfloat16", "input").bytes == 6 * B
    assert Tensor("x", (5,), "int4", "input").bytes == 3
