"""Our own trace of every variant agrees with torch's counter: parameters, and MACs as the batch times a sample's."""

from __future__ import annotations

import pytest

from mmsim.size import symbol
from mmsim.tracing.source import trace_source
from mmsim.workloads import get, names
from tests.workload_counts import count

VARIANTS = [(name, variant) for name in names() for variant in get(name).variants()]
CALLED_IN_PARTS = {"medical_seg", "transfuser"}  # whose stage modules torch's counter, going by calls, does not see


def is_quick(name: str, variant: str) -> bool:
    return name == "av_mnist" or (name, variant) == ("cmu_mosei", "repo_concat")


@pytest.mark.parametrize(
    ("name", "variant"), [pytest.param(*v, marks=[] if is_quick(*v) else pytest.mark.slow) for v in VARIANTS]
)
def test_trace_agrees_with_torchs_counter(name: str, variant: str) -> None:
    arguments = get(name).variants()[variant]
    named = {key: arguments.pop(key) for key in ("fusion", "modality") if key in arguments}
    graph, counts = trace_source(name, knobs=arguments, **named), count(name, **named, **arguments)
    assert (graph.workload, graph.variant, graph.provenance.route) == (name, variant, "recorder")
    assert graph.macs == counts.total.macs * symbol("B")
    assert graph.parameters == counts.total.parameters
    if name not in CALLED_IN_PARTS:
        assert {stage: (totals.parameters, totals.macs) for stage, totals in graph.by_stage().items()} == {
            stage: (own.parameters, own.macs * symbol("B")) for stage, own in counts.stages.items()
        }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "waits"), [("mujoco_push", 16 * 3 + 4), ("cmu_mosei", 9 * 3 + 3)])
def test_host_costs_are_facts_of_the_graph(name: str, waits: int) -> None:
    """Positions are looked up three times a cross net and once a self net; the host waits each time."""
    graph = trace_source(name, fusion="transformer", host_costs=True)
    assert graph.provenance.route == "recorder-real"
    assert sum("sync" in dict(layer.attrs) for layer in graph.layers) == waits
    assert graph.macs == trace_source(name, fusion="transformer").macs
