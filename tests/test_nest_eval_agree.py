"""Agreement with the real timeloop-model, where it is installed (`mmsim doctor` says what is)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mmsim.arch.model import Fanout, Storage
from mmsim.backends import timeloop
from mmsim.nest.evaluate import evaluate
from tests.nest_instances import archs, mappings, problems


@pytest.mark.timeloop
@pytest.mark.skipif(timeloop.missing() is not None, reason=f"timeloop-model: {timeloop.missing()}")
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_equals_timeloop_model(data: st.DataObject) -> None:
    problem, arch = data.draw(problems()), data.draw(archs(flags=True))
    mapping = data.draw(mappings(arch, problem, perfect=True))
    fanouts = {node.name for node in arch.fanouts}
    assume(not any(level.temporal for level in mapping.levels if level.node in fanouts))  # v0.4 cannot say them
    energy = {
        node.name: {"read": 3.0, "write": 5.0, "update": 7.0, "compute": 1.0, "leak": 0.0}
        for node in arch.nodes
        if not isinstance(node, Fanout)
    }
    rates = st.none() | st.sampled_from([0.25, 0.5, 1.0, 1.5, 4.0])
    nodes = tuple(
        replace(
            node,
            capacity_words=2**20,
            block_size=data.draw(st.sampled_from([1, 2, 4])),
            read_words_per_cycle=data.draw(rates),
            write_words_per_cycle=data.draw(rates),
            shared_words_per_cycle=data.draw(rates),
            multiple_buffering=data.draw(st.sampled_from([1.0, 2.0])),
            fill_latency_cycles=data.draw(st.integers(0, 9)),
        )
        if isinstance(node, Storage)
        else node
        for node in arch.nodes
    )
    arch = replace(arch, nodes=nodes, energy_pj=energy, area_um2=dict.fromkeys(energy, 1.0))
    theirs, ours = timeloop.evaluate(problem, arch, mapping), evaluate(arch, problem, mapping)
    assert theirs.latency_s == pytest.approx(ours.cycles * arch.cycle_s)
    for one in theirs.traffic:
        access = ours.levels[one.level].data_spaces[one.data_space]
        counts = (access.reads, access.fills, access.updates)
        assert (one.reads, one.fills, one.updates) == tuple(n * access.utilized_instances for n in counts)
        assert one.energy_j == pytest.approx(access.energy_pj * 1e-12, rel=1e-6, abs=1e-14)
