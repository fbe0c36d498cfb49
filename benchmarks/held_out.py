"""Networks that the tracer was not written against: is each captured whole and truly, and how fast?

    python benchmarks/held_out.py                     all of them
    python benchmarks/held_out.py --kind timm         one kind: transformers, timm (when it is installed), program
    python benchmarks/held_out.py --models fnet,sam   some
    python benchmarks/held_out.py -o results.json     write the records; --table results.json prints them as Markdown

Each network runs in a process of its own, with random weights. `Record` says what is checked. Times are CPU seconds of
one `mmsim.trace` with a symbolic batch, after that of a small network, so that one-time costs of torch are left out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
LIMIT_S = 400
BATCH, FRESH = 2, 4


@dataclass
class Record:
    """What one network gave; empty where a step before it failed."""

    name: str
    route: str = ""  # that captured it
    replay: str = ""  # exact: the graph on other random inputs gives the module's outputs, bit for bit
    parameters: str = ""  # equal to the sum over module.parameters()
    macs: str = ""  # equal: torch's flop counter on a real run counts twice as many FLOPs
    batch: str = ""  # polynomial: the symbolic graph at batch 4 equals a fresh trace at 4
    layers: int = 0
    seconds: float = 0.0  # CPU
    error: str = ""

    @property
    def whole(self) -> bool:
        """Captured, and nothing untrue found."""
        return not self.error and self.replay in ("exact", "random") and self.parameters == "equal"


def check(name: str) -> Record:
    """All steps for one network, in this process."""
    import torch

    import mmsim

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    record = Record(name)
    mmsim.trace(torch.nn.Linear(4, 4), {"input": torch.ones(2, 4)})
    try:
        module, inputs_at = network(name)
        given = inputs_at(BATCH)
        record.replay, record.route = _replayed(module, inputs_at)
        began = time.process_time()
        graph = mmsim.trace(module, lambda B: inputs_at(B), symbols={"B": BATCH})
        record.seconds = round(time.process_time() - began, 3)
        record.layers, record.route = len(graph.layers), graph.provenance.route
        record.parameters = _equal(graph.totals().parameters, sum(p.numel() for p in module.parameters()))
        concrete = graph.at(B=BATCH) if "B" in graph.symbols else graph
        record.macs = _macs(int(concrete.macs), module, given)
        record.batch = _batch(graph, module, inputs_at)
    except Exception as error:
        record.error = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return record


def network(name: str) -> tuple[Any, Any]:
    """The network in eval mode and its inputs as a function of the batch."""
    import held_out_models
    import torch

    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)
    kind, _, model = name.partition("/")
    module, inputs_at = held_out_models.KINDS[kind](model)

    def seeded(batch: int) -> Any:
        torch.manual_seed(batch)
        return inputs_at(batch)

    with torch.no_grad():
        for parameter in module.parameters():  # torch.empty gives some of them
            if not parameter.isfinite().all() or not parameter.any():
                parameter.normal_(0, 0.02)
    return module.eval().requires_grad_(False), seeded


def _replayed(module: Any, inputs_at: Any) -> tuple[str, str]:
    import torch

    from mmsim.ops import is_known
    from mmsim.tracing import capture, nested, run

    given = inputs_at(BATCH)
    torch.manual_seed(1)  # as below: a real run holds for the numbers that it draws
    captured = capture(module, given, whole=is_known)
    route = captured.meta["route"]
    torch.manual_seed(5)
    others = nested.replace(inputs_at(BATCH), lambda _, tensor: _redrawn(tensor))
    if route == "recorder-real":
        others = inputs_at(BATCH)  # true for these values only
    results = []
    for function in (lambda x: _call(module, x), lambda x: _call(module, x), lambda x: run(captured, x)):
        torch.manual_seed(1)
        with torch.no_grad():
            copy = nested.replace(others, lambda _, t: t.clone())
            results.append([t for _, t in nested.tensors(nested.plain(function(copy), lambda t: t))])
    expected, again, got = results
    if len(got) != len(expected) or not got:
        return f"{len(got)} results, not {len(expected)}", route
    if all(_same(a, b) for a, b in zip(expected, got, strict=True)):
        return "exact", route
    if not all(_same(a, b) for a, b in zip(expected, again, strict=True)):
        return "random", route
    shapes = [tuple(t.shape) for t in expected] == [tuple(t.shape) for t in got]
    apart = max(_apart(a, b) for a, b in zip(expected, got, strict=True)) if shapes else float("inf")
    return f"{apart:.1e} apart", route


def _redrawn(tensor: Any) -> Any:
    """Other numbers of the same kind; integers, which choose and place, stay."""
    import torch

    if not tensor.is_floating_point():
        return tensor
    return torch.rand_like(tensor) if tensor.min() >= 0 else torch.randn_like(tensor)


def _call(module: Any, inputs: Any) -> Any:
    from mmsim.tracing.export import call

    return call(module, inputs)


def _same(a: Any, b: Any) -> bool:
    import torch

    return a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, 0, 0, equal_nan=True)


def _apart(a: Any, b: Any) -> float:
    scale = float(a.abs().max()) or 1.0
    return float((a.double() - b.double()).abs().nan_to_num().max()) / scale if a.numel() else 0.0


def _equal(ours: int, real: int) -> str:
    return "equal" if ours == real else f"{ours} for {real} ({ours / real:.4f})" if real else f"{ours} for 0"


def _macs(macs: int, module: Any, inputs: Any) -> str:
    try:
        return _equal(2 * macs, _flops(module, inputs))
    except Exception as error:
        return f"torch's counter fails: {type(error).__name__}"


def _flops(module: Any, inputs: Any) -> int:
    """torch's count of a real run; fused attention, which it does not see on a CPU, as plain products."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    torch.manual_seed(1)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        _call(module, inputs)
    return int(counter.get_total_flops())


def _batch(graph: Any, module: Any, inputs_at: Any) -> str:
    import mmsim

    if "B" not in graph.symbols:
        return dict(graph.provenance.symbols).get("B", "no batch")[:200]
    fresh = mmsim.trace(module, inputs_at(FRESH), symbols=())
    ours = graph.at(B=FRESH)
    if [_sized(layer) for layer in ours.layers] == [_sized(layer) for layer in fresh.layers]:
        return "polynomial" if ours.layers == fresh.layers else "polynomial (stages differ)"
    return "not a fresh trace"


def _sized(layer: Any) -> Any:
    return layer.op, layer.operands, layer.outputs, layer.attrs, layer.module_path, layer.call_index


def in_process(name: str) -> Record:
    """`check` in a process of its own, forked from this one: the libraries are there."""
    context = multiprocessing.get_context("fork")
    result, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(check(name)))
    process.start()
    sender.close()
    try:
        record: Record = result.recv() if result.poll(LIMIT_S) else Record(name, error=f"no answer in {LIMIT_S} s")
    except EOFError:
        record = Record(name, error="the process died")
    process.kill()
    process.join()
    return record


def main() -> None:
    """Print a line for each network, then a summary."""
    import held_out_models

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(held_out_models.KINDS))
    parser.add_argument("--models", help="names, parted by commas")
    parser.add_argument("--table", type=Path, help="print this file of records as Markdown")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.table:
        _markdown([Record(**record) for record in json.loads(options.table.read_text())])
        return
    wanted = set(options.models.split(",")) if options.models else None
    held_out_models.load_libraries()
    names = [
        name for name in held_out_models.names()
        if (options.kind or name.partition("/")[0]) == name.partition("/")[0]
        and (wanted is None or name.partition("/")[2] in wanted)
    ]  # fmt: skip
    records = []
    for name in names:
        records.append(in_process(name))
        print("  ".join(str(value) for value in asdict(records[-1]).values() if value), flush=True)
        if options.output:
            options.output.write_text(json.dumps([asdict(record) for record in records], indent=1) + "\n")
    good = [record for record in records if record.whole]
    seconds = sorted(record.seconds for record in records if record.seconds)
    times = f"; median {statistics.median(seconds):.2f} CPU s, most {seconds[-1]:.2f}" if seconds else ""
    print(f"{len(good)} of {len(records)} whole{times}")


def _markdown(records: list[Record]) -> None:
    print("| network | route | replay | parameters | MACs | batch | layers | CPU s |")
    print("|---" * 8 + "|")
    for r in records:
        cells = (r.name, r.route, r.replay, r.parameters, r.macs, r.batch, r.layers or "", r.seconds or "")
        text = " | ".join(str(cell).replace("|", "\\|") for cell in cells)
        print(f"| {text} |" if not r.error else f"| {r.name} | {r.route} | {r.error} | | | | | |")


if __name__ == "__main__":
    main()
