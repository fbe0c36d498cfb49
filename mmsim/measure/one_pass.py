"""One pass in which the profiler is on for some layers only, a marker before each: the program that `ncu` watches."""

from __future__ import annotations

import json
import sys

import msgspec
import torch

from mmsim.measure import marks
from mmsim.measure.counters import samples
from mmsim.measure.subject import subject_of
from mmsim.measurement import Source


def main(request: str) -> None:
    """`request` is JSON with source, batch and dtype."""
    asked = json.loads(request)
    source = msgspec.convert(asked["source"], Source)
    subject = subject_of(source, batch=asked["batch"], dtype=asked["dtype"], device=torch.device("cuda"))
    wanted = {sample.index for sample in samples(subject.captured, subject.graph)}

    def mark(index: int) -> None:
        if index in wanted:
            torch.cuda.profiler.stop()  # type: ignore[no-untyped-call]
        if index + 1 in wanted:
            torch.cuda.profiler.start()  # type: ignore[no-untyped-call]
            torch.cuda._sleep(1)  # type: ignore[no-untyped-call]  # a kernel that no layer has

    watched = marks.marked(subject.captured, mark)
    with torch.no_grad():
        for _ in range(2):
            subject.captured.forward(*subject.inputs)
        torch.cuda.synchronize()
        watched.forward(*subject.inputs)
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(sys.argv[1])
