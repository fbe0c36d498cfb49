"""Many measurements in one go: every variant at every batch, format and mode, one file each, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import inf
from pathlib import Path

import torch

from mmsim import files
from mmsim.errors import InputError
from mmsim.measure.built import recovered
from mmsim.measure.outcome import Outcome
from mmsim.measure.rule import reason
from mmsim.measurement import Measurement, Mode, Source, dump, load


@dataclass(frozen=True)
class Planned:
    """One measurement of a sweep, and the name of its file."""

    source: Source
    variant: str
    batch: int
    dtype: str
    mode: Mode
    full: bool = True
    counted: bool = False  # with counters and streams, where they are asked for

    @property
    def alike(self) -> tuple[str, str, str]:
        """What it has in common with other batches and modes."""
        return self.source.network, self.variant, self.dtype

    @property
    def file(self) -> str:
        """``av_mnist.concat.b40.float32.eager.json``."""
        return f"{self.source.network}.{self.variant}.b{self.batch}.{self.dtype}.{self.mode}.json"


def plan(
    networks: Iterable[str], batches: Sequence[int], dtypes: Sequence[str], modes: Sequence[Mode]
) -> list[Planned]:
    """All variants of these workloads at all these settings: the paper's own variants first, then small batches.

    What is built once, a variant at a batch in a format, is measured in all modes in a row. The paper's own
    variants are measured in full, with counters and streams at the middle batch, op by op, in the first format.
    """
    from mmsim.workloads import get

    of_paper, further = [], []
    for name in networks:
        variants = [(_source(name, arguments), variant) for variant, arguments in get(name).variants().items()]
        of_paper.append(variants[0])
        further += variants[1:]
    middle = sorted(batches)[len(batches) // 2]

    def planned(source: Source, variant: str, batch: int, dtype: str, mode: Mode, full: bool) -> Planned:
        counted = full and (batch, dtype, mode) == (middle, dtypes[0], "eager")
        return Planned(source, variant, batch, dtype, mode, full, counted)

    return [
        planned(source, variant, batch, dtype, mode, group is of_paper)
        for group in (of_paper, further)
        for batch in sorted(batches)
        for source, variant in group
        for dtype, mode in product(dtypes, modes)
    ]


FAILED = "failed.json"
"""In a sweep's folder: the runs that failed, each with its reason. They are not tried again while they stand there."""


def run(
    planned: Sequence[Planned],
    folder: Path,
    measure: Callable[[Planned], Measurement],
    progress: Callable[[str], None] = lambda name: None,
    within_s: float = inf,
    device: str = "cpu",
) -> Outcome:
    """Measure on `device` what `folder` does not hold yet. A file that exists and loads is not measured again.

    After `within_s` seconds no further run is begun; the next sweep goes on from there. What does not fit into
    memory, or cannot run in a mode, is noted in `FAILED` and the sweep goes on; larger batches of what does not fit
    are not tried. Raises `InputError` when the device itself no longer answers, and for a file of something else.
    """
    outcome, start = Outcome(failed=_failed(folder)), time.monotonic()
    stand = {item.file for item in planned if _stands(item, files.inside(folder, item.file), device)}
    for item in planned:
        progress(item.file)
        path = files.inside(folder, item.file)
        if item.file in stand:
            outcome.stood.append(item.file)
            outcome.failed.pop(item.file, None)
        elif item.file in outcome.failed:
            continue
        elif time.monotonic() - start > within_s:
            outcome.left += 1
        else:
            before = len(outcome.failed)
            _one(item, path, measure, planned, outcome)
            if len(outcome.failed) > before:
                files.write_json(folder / FAILED, outcome.failed)
                recovered(item.file)
    return outcome


def _one(
    item: Planned, path: Path, measure: Callable[[Planned], Measurement], planned: Sequence[Planned], outcome: Outcome
) -> None:
    alike = (p for p in planned if p.alike == item.alike and p.batch < item.batch)
    smaller = (p.file for p in alike if p.mode in (item.mode, "eager"))  # op by op takes the least memory
    crowded = next((name for name in smaller if outcome.failed.get(name, "").startswith(CROWDED)), None)
    try:
        if crowded is not None:
            raise MemoryError(f"{crowded} does not fit either")
        dump(measure(item), path)
        outcome.measured.append(item.file)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        full = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or CROWDED in text  # as CUDA's own errors say
        outcome.failed[item.file] = f"{CROWDED}: {text}" if full else reason(error)


CROWDED = "out of memory"


def _failed(folder: Path) -> dict[str, str]:
    path = folder / FAILED
    return files.check(files.read_json(path), dict[str, str], file=str(path)) if path.exists() else {}


def _source(network: str, arguments: dict[str, object]) -> Source:
    knobs = {name: value for name, value in arguments.items() if name not in Source.__struct_fields__}
    named = {name: value for name, value in arguments.items() if name not in knobs}
    return Source(network, knobs=knobs, **named)  # type: ignore[arg-type]  # arguments of `Workload.network`


def _stands(item: Planned, path: Path, device: str) -> bool:
    """Whether a file is whole. Raises `InputError` for one of something else, which no sweep may write over."""
    try:
        found = load(path)
    except InputError:
        return False
    wanted = (item.source.network, item.batch, item.dtype, item.mode, device)
    holds = (found.workload, found.batch, found.dtype, found.mode, found.machine.kind)
    if holds != wanted:
        is_of, not_of = (" ".join(map(str, parts)) for parts in (holds, wanted))
        raise InputError(f"is a measurement of {is_of}, not of {not_of}: take another folder", file=str(path))
    return True
