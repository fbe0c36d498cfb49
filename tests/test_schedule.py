"""Timelines and memory of the toy network, worked by hand."""

from __future__ import annotations

from mmsim import schedule
from tests.toy import toy

TIMES = {0: 4.0, 1: 1.0, 2: 0.0, 3: 3.0, 4: 1.0, 5: 2.0}


def test_concurrent_encoders_overlap() -> None:
    spans = {span.layer.name: span for span in schedule.concurrent(toy(), TIMES)}
    assert spans["text"].start_s == 0.0 and spans["text"].end_s == 3.0
    assert spans["fusion"].start_s == 5.0 and spans["head"].end_s == 8.0


def test_memory_frees_what_is_no_longer_used() -> None:
    memory = schedule.memory(toy().at(B=1))
    assert memory.weights_bytes == 4 * (108 + 512 + 2880)
    assert memory.inputs_bytes == 4 * (192 + 16)
    # conv and relu maps live together (2 x 256 words); later flat 256 + text 32 + joined 288 = 576 words
    assert memory.intermediates_bytes == 4 * 576
