"""The nine workloads: a graph at B=40 is what a fresh trace at 40 gives, for every variant."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mmsim
from mmsim.tracing.source import trace_source
from mmsim.workloads import get, names

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own words on its configurations

QUICK = {"av_mnist", "mujoco_push", "vision_touch"}


def variants() -> list[Any]:
    found = [(name, variant) for name in names() for variant in get(name).variants()]
    quick = [pair[0] in QUICK and pair[1] != "transformer" for pair in found]
    return [
        pair if is_quick else pytest.param(*pair, marks=pytest.mark.slow)
        for pair, is_quick in zip(found, quick, strict=True)
    ]


@pytest.mark.parametrize("name, variant", variants())
def test_a_graph_at_40_is_a_trace_at_40(name: str, variant: str) -> None:
    arguments = dict(get(name).variants()[variant])
    chosen = {key: arguments.pop(key, None) for key in ("fusion", "modality")}
    graph = trace_source(name, **chosen, knobs=arguments)
    assert graph.symbols == {"B"}
    with torch.device("meta"):
        network = get(name).network(**chosen, batch=40, **arguments)
    fresh = mmsim.trace(network.module, network.inputs, stages=network.stages, symbols=())
    assert graph.at(B=40).layers == fresh.layers
