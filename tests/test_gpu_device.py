"""The device part of an architecture file: every figure has a source, and nonsense is refused by name."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pytest

from mmsim import files
from mmsim.arch import spec
from mmsim.errors import InputError


def written() -> dict[str, Any]:
    """The T4's file as plain values."""
    text = (resources.files("mmsim.arch_specs") / "t4.yaml").read_text(encoding="utf-8")
    value: dict[str, Any] = files.parse_yaml(text, file="t4.yaml")
    return value


def refusal(change: dict[str, Any]) -> str:
    value = written()
    for name, new in change.items():
        *path, last = name.split(".")
        part = value["device"]
        for key in path:
            part = part[key]
        if new is None:
            del part[last]
        else:
            part[last] = new
    with pytest.raises(InputError) as caught:
        spec.parse(value, file="t4.yaml")
    return str(caught.value)


def test_the_file_as_it_stands_is_read() -> None:
    assert spec.parse(written(), file="t4.yaml").device is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sources.dram_share": None}, "no source for dram_share"),
        ({"dram_share": 1.7}, "dram_share: must be between 0 and 1.2"),
        ({"launch_s": -1e-6}, "launch_s: must be positive"),
        ({"cuda_fma": {"float16": 128}}, "cuda_fma: needs float32"),
        ({"power.gemm_fma_pj": {}}, "power.gemm_fma_pj: needs float32"),
        ({"power.idle_w": 69}, "power.limit_w: idle_w and active_w must be at least 0 and leave something of it"),
        ({"host.dispatch_s": None}, "device.host: Object missing required field `dispatch_s`"),
        ({"generation": "kepler"}, "device.generation: Invalid enum value 'kepler'"),
        ({"workload_factor": 2.0}, "Object contains unknown field `workload_factor`"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    message = refusal(change)
    assert message.startswith("t4.yaml: device") and said in message and "\n" not in message
