"""Many measurements in one go: every variant at every batch, format and mode, one file each, resumable."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import inf
from pathlib import Path

import torch

from mmsim import files
from mmsim.errors import InputError
from mmsim.measurement import Measurement, Mode, Source, dump, load


@dataclass(frozen=True)
class Planned:
    """One measurement of a sweep, and the name of its file."""

    source: Source
    variant: str
    batch: int
    dtype: str
    mode: Mode

    @property
    def file(self) -> str:
        """``av_mnist.concat.b40.float32.eager.json``."""
        return f"{self.source.network}.{self.variant}.b{self.batch}.{self.dtype}.{self.mode}.json"


@dataclass
class Outcome:
    """What became of a sweep: files written, those that stood, what could not be measured, how many are left."""

    measured: list[str] = field(default_factory=list)
    stood: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left: int = 0


def plan(
    networks: Iterable[str], batches: Sequence[int], dtypes: Sequence[str], modes: Sequence[Mode]
) -> list[Planned]:
    """All variants of these workloads at all these settings: the paper's own variants first, then small batches."""
    from mmsim.workloads import get

    of_paper, further = [], []
    for name in networks:
        variants = [(_source(name, arguments), variant) for variant, arguments in get(name).variants().items()]
        of_paper.append(variants[0])
        further += variants[1:]
    settings = list(product(sorted(batches), dtypes, modes))
    return [
        Planned(source, variant, batch, dtype, mode)
        for group in (of_paper, further)
        for batch, dtype, mode in settings
        for source, variant in group
    ]


def run(
    planned: Sequence[Planned],
    folder: Path,
    measure: Callable[[Planned], Measurement],
    progress: Callable[[str], None] = lambda name: None,
    within_s: float = inf,
) -> Outcome:
    """Measure what `folder` does not hold yet. A file that exists and loads is not measured again.

    After `within_s` seconds no further run is begun; the next sweep goes on from there.

    What does not fit into memory, or cannot run in a mode, is reported and the sweep goes on.
    """
    outcome, start = Outcome(), time.monotonic()
    for item in planned:
        progress(item.file)
        path = files.inside(folder, item.file)
        if _stands(path):
            outcome.stood.append(item.file)
            continue
        if time.monotonic() - start > within_s:
            outcome.left += 1
            continue
        try:
            dump(measure(item), path)
            outcome.measured.append(item.file)
        except (InputError, RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            outcome.failed[item.file] = " ".join(str(error).split())[:300] or type(error).__name__
        _release()
    return outcome


def _source(network: str, arguments: dict[str, object]) -> Source:
    knobs = {name: value for name, value in arguments.items() if name not in Source.__struct_fields__}
    named = {name: value for name, value in arguments.items() if name not in knobs}
    return Source(network, knobs=knobs, **named)  # type: ignore[arg-type]  # arguments of `Workload.network`


def _stands(path: Path) -> bool:
    try:
        load(path)
    except InputError:
        return False
    return True


def _release() -> None:
    """Give memory back before the next network is built."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
