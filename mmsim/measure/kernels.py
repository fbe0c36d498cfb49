"""Kernels that a pass launched, mapped back to the layers of the graph, and counted as the MMBench paper counts them.

The profiler (CUPTI through `torch.profiler`) gives each kernel the id of the runtime call that launched
it, and that call the moment and thread in which it stood: inside the range that the marked program opened
for one layer. What stands in no range is unmapped.
"""

from __future__ import annotations

import json
import tempfile
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import fx
from torch.autograd.profiler import record_function

from mmsim.errors import InputError
from mmsim.measure import marks
from mmsim.measure.subject import Subject
from mmsim.measurement import Kernels

PREFIX = "mmsim layer "
Event: TypeAlias = Mapping[str, Any]

CLASSES = (
    ("Relu", ("relu",)), ("Conv", ("conv",)), ("BNorm", ("norm",)), ("Elewise", ("elementwise",)),
    ("Pooling", ("pool",)), ("Gemm", ("gemm", "gemv", "nvjet")), ("Reduce", ("reduce",)),
)  # fmt: skip
"""MMBench's rule: the first class of which a word stands in the kernel's name, case and all; otherwise Other.
cuBLAS's products on Hopper and later, which MMBench had not met, are called ``nvjet``."""
BINS = ((10e-6, "<10 us"), (50e-6, "10-50 us"), (100e-6, "50-100 us"), (float("inf"), ">=100 us"))
"""Sizes of kernels by their device time, as in the paper's figure 12."""
WAITS = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize")
DEVICE, RUNTIME = ("kernel", "gpu_memcpy", "gpu_memset"), ("cuda_runtime", "cuda_driver")
"""Categories of the profiler's events: what the device does, and the calls that make it."""


@dataclass(frozen=True)
class Launch:
    """What one call had the device do, or that it waited: `kind` is ``kernel``, ``copy`` or ``wait``.

    Its layer is None where no range holds the call. A copy is one between host and device.
    """

    name: str
    seconds: float
    layer: str | None
    kind: Literal["kernel", "copy", "wait"] = "kernel"
    bytes: int = 0


def kernel_class(name: str) -> str:
    """The class of a kernel by its name.

    >>> kernel_class("ampere_sgemm_128x64_relu_nn"), kernel_class("void at::native::vectorized_elementwise_kernel")
    ('Relu', 'Elewise')
    """
    return next((found for found, words in CLASSES if any(word in name for word in words)), "Other")


@lru_cache(maxsize=1)
def profile(subject: Subject, passes: int = 3) -> Kernels:
    """The kernels of one pass on a CUDA device, means of some passes after warm-up; kept for the last subject.

    Raises `InputError` where the profiler sees none, as where CUPTI may not be used.
    """
    program = annotated(subject.captured)
    launches = mapped(record(lambda: program.forward(*subject.inputs), passes, cuda=True), device=True)
    if not any(launch.kind == "kernel" for launch in launches):
        raise InputError("the profiler saw no kernel")
    ops = {layer.name: layer.op for layer in subject.graph.layers}
    return summed(launches, ops, passes)


def annotated(captured: fx.GraphModule) -> fx.GraphModule:
    """The same program with a profiler range around each operation, named as its layer."""
    names = [node.name for node in marks.operations(captured)]
    ranges: list[record_function] = []

    def mark(index: int) -> None:
        if ranges:
            ranges.pop().__exit__(None, None, None)
        if index + 1 < len(names):
            ranges.append(record_function(PREFIX + names[index + 1]))
            ranges[-1].__enter__()  # type: ignore[no-untyped-call]

    return marks.marked(captured, mark)


def record(run: Callable[[], Any], passes: int, *, cuda: bool) -> list[Event]:
    """The profiler's trace events of some passes, after two that do not count."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if cuda:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.no_grad():
        for _ in range(2):
            run()
        with torch.profiler.profile(activities=kinds, acc_events=True) as profiler:
            for _ in range(passes):
                run()
            if cuda:
                torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events: list[Event] = json.loads(path.read_text())["traceEvents"]
    return events


def mapped(events: Iterable[Event], *, device: bool) -> list[Launch]:
    """Every kernel, copy and wait with its layer; on a CPU (`device` false) the outermost ops stand for kernels."""
    events = [event for event in events if event.get("ph") == "X"]
    calls = {_correlation(e): e for e in events if e.get("cat") in RUNTIME}
    marked = (e for e in events if e.get("cat") == "user_annotation" and e["name"].startswith(PREFIX))
    ranges = _Ranges(marked, calls.values())
    if not device:
        return [Launch(e["name"], e["dur"] / 1e6, ranges.around(e)) for e in _outermost(events)]
    found = []
    for event in events:
        if event.get("cat") in DEVICE:
            call = calls.get(_correlation(event))
            found.append(_launch(event, ranges.around(call) if call is not None else None))
        elif event["name"] in WAITS and (layer := ranges.around(event)) is not None:  # else the profiler's own
            found.append(Launch(event["name"], event["dur"] / 1e6, layer, "wait"))
    return found


def _launch(event: Event, layer: str | None) -> Launch:
    """A kernel, or a copy as CUPTI names it: ``Memcpy HtoD (Pageable -> Device)``."""
    name, seconds = event["name"], event["dur"] / 1e6
    if event["cat"] == "gpu_memcpy" and "DtoD" not in name:
        return Launch(name, seconds, layer, "copy", int(event.get("args", {}).get("bytes", 0)))
    return Launch(name, seconds, layer)


def summed(launches: Iterable[Launch], ops: Mapping[str, str], passes: int) -> Kernels:
    """Sums over launches, per pass; `ops` gives each layer's op."""
    groups: dict[str, list[Launch]] = {"kernel": [], "copy": [], "wait": []}
    for launch in launches:
        groups[launch.kind].append(launch)
    kernels, copies = groups["kernel"], groups["copy"]
    whole = sum(kernel.seconds for kernel in kernels)
    sizes = _by(kernels, lambda kernel: next(name for limit, name in BINS if kernel.seconds < limit))
    return Kernels(
        count=round(len(kernels) / passes),
        device_s=whole / passes,
        by_class=_per(_by(kernels, lambda kernel: kernel_class(kernel.name)), passes),
        by_operator=_per(_by(kernels, lambda kernel: ops.get(kernel.layer or "", "unmapped")), passes),
        by_size={name: seconds / whole for name, seconds in sizes.items()} if whole else {},
        by_name=_per(_by(kernels, lambda kernel: kernel.name[:120]), passes),
        layers_s=_per(_by([k for k in kernels if k.layer is not None], lambda kernel: kernel.layer or ""), passes),
        unmapped_share=sum(k.seconds for k in kernels if k.layer is None) / whole if whole else 0.0,
        launches=_counts(kernels, passes),
        copies=_counts(copies, passes),
        copy_s=sum(copy.seconds for copy in copies) / passes,
        copy_bytes=round(sum(copy.bytes for copy in copies) / passes),
        synchronisations=_counts(groups["wait"], passes),
    )


def _counts(launches: Iterable[Launch], passes: int) -> dict[str, int]:
    """Launches of each layer in a pass; what belongs to no layer stands under ``""``."""
    return {name: round(n / passes) for name, n in Counter(la.layer or "" for la in launches).items() if n >= passes}


def _by(kernels: Iterable[Launch], key: Callable[[Launch], str]) -> dict[str, float]:
    sums: Counter[str] = Counter()
    for kernel in kernels:
        sums[key(kernel)] += kernel.seconds  # type: ignore[assignment]  # a Counter of seconds
    return dict(sums.most_common())


def _per(sums: Mapping[str, float], passes: int) -> dict[str, float]:
    return {name: seconds / passes for name, seconds in sums.items()}


def _correlation(event: Event) -> Any:
    return event.get("args", {}).get("correlation")


class _Ranges:
    """The layers' ranges of each thread; those of one thread follow one another.

    Where CUPTI's calls name threads otherwise than the host does, the only thread with ranges made them all.
    """

    def __init__(self, ranges: Iterable[Event], calls: Iterable[Event] = ()) -> None:
        self.of_thread: dict[Any, list[tuple[float, float, str]]] = defaultdict(list)
        for event in ranges:
            span = (event["ts"], event["ts"] + event["dur"], event["name"].removeprefix(PREFIX))
            self.of_thread[event.get("tid")].append(span)
        for spans in self.of_thread.values():
            spans.sort()
        named_alike = any(call.get("tid") in self.of_thread for call in calls)
        self.of_any = [] if named_alike or len(self.of_thread) != 1 else next(iter(self.of_thread.values()))

    def around(self, event: Event) -> str | None:
        """The layer in whose range an event begins."""
        spans = self.of_thread.get(event.get("tid"), self.of_any)
        index = bisect_right(spans, (event["ts"], float("inf"), "")) - 1
        return spans[index][2] if index >= 0 and event["ts"] <= spans[index][1] else None


def _outermost(events: Iterable[Event]) -> list[Event]:
    """The CPU ops that no other CPU op holds."""
    ends: dict[Any, float] = {}
    found = []
    ops = (event for event in events if event.get("cat") == "cpu_op")
    for event in sorted(ops, key=lambda e: (e["ts"], -e["dur"])):
        if event["ts"] >= ends.get(event.get("tid"), float("-inf")):
            ends[event.get("tid")] = event["ts"] + event["dur"]
            found.append(event)
    return found
