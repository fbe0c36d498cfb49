"""The encoders at once, each on a CUDA stream of its own: who is the straggler, and how long the others idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from mmsim.errors import InputError
from mmsim.measure.parts import cuts, parts
from mmsim.measure.programs import runner
from mmsim.measure.rule import Rule
from mmsim.measure.subject import Subject
from mmsim.measurement import Concurrent, Mode, spread


def concurrent(subject: Subject, rule: Rule, mode: Mode) -> Concurrent:
    """Time all encoders together and one after another. Raises `InputError` without CUDA or two encoders.

    Op by op one host thread launches all of them, so that short kernels hardly meet; as CUDA graphs they do.
    """
    if subject.device.type != "cuda":
        raise InputError("encoders run side by side on CUDA streams: it needs --device cuda", field="--streams")
    names = tuple(name for name in subject.graph.by_stage() if name.startswith("encoder:"))
    if len(names) < 2:
        raise InputError(f"this network has {len(names)} encoder", field="--streams")
    programs = [runner(part, mode) for part in parts(subject, cuts(subject, names))]
    streams: Sequence[Any] = [torch.cuda.Stream() for _ in programs]  # type: ignore[no-untyped-call]

    def together() -> float:
        return _wall([(program, stream) for program, stream in zip(programs, streams, strict=True)])

    def apart() -> dict[str, float]:
        return {name: _wall([(program, streams[0])]) for name, program in zip(names, programs, strict=True)}

    runs = rule.samples(lambda: (together(), apart()))
    return summary([both for both, _ in runs], [alone for _, alone in runs])


def summary(together: Sequence[float], apart: Sequence[Mapping[str, float]]) -> Concurrent:
    """The paper's figures: the slowest encoder over the fastest, and the share of streams that wait for it."""
    alone = {name: spread([times[name] for times in apart]).median for name in apart[0]}
    straggler = max(alone, key=lambda name: alone[name])
    longest = alone[straggler]
    return Concurrent(
        wall_s=spread(together),
        serial_s=spread([sum(times.values()) for times in apart]),
        straggler=straggler,
        straggler_ratio=longest / min(alone.values()),
        idle_share=max(0.0, 1 - sum(alone.values()) / (longest * len(alone))),
    )


def _wall(work: Sequence[tuple[Callable[[], Any], Any]]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    for run, stream in work:
        with torch.cuda.stream(stream):
            run()
    torch.cuda.synchronize()
    return time.perf_counter() - start
