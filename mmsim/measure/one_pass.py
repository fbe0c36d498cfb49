"""One pass of one stage between the profiler's start and stop: the program that `ncu` watches."""

from __future__ import annotations

import json
import sys

import msgspec
import torch

from mmsim.measure.session import parts
from mmsim.measure.subject import subject_of
from mmsim.measurement import Source


def main(request: str) -> None:
    """`request` is JSON with source, batch, dtype and stage."""
    asked = json.loads(request)
    source = msgspec.convert(asked["source"], Source)
    subject = subject_of(source, batch=asked["batch"], dtype=asked["dtype"], device=torch.device("cuda"))
    (part,) = parts(subject, (asked["stage"],))
    with torch.no_grad():
        for _ in range(3):
            part.captured(*part.inputs)
        torch.cuda.synchronize()
        torch.cuda.profiler.start()  # type: ignore[no-untyped-call]
        part.captured(*part.inputs)
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(sys.argv[1])
