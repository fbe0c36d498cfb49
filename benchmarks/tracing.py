"""How well and how fast networks are traced, beside torch.export, make_fx, torch's flop counter, fvcore and torchinfo.

    python benchmarks/tracing.py                      the 38 networks of benchmarks/thirty_eight.py
    python benchmarks/tracing.py --tools all          every tool on them; a table at the end
    python benchmarks/tracing.py --held-out           networks that nobody tuned for
    python benchmarks/tracing.py --growth             seconds over the number of layers

Every (network, tool) runs in a process of its own. Times are CPU seconds of tracing alone, of which a tool has 60:
libraries are imported and the network is built before; a small network is traced first, so that one-time costs of torch
are not in them. A total is right when it is ours to a thousandth; ours is held against torch's counter by
`held_out.py`. A star marks a stand-in, built by hand for a network of which only the kind and the FLOPs are known.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
LIMIT_S, CPU_LIMIT_S = 300, 60
TOLERANCE = 1e-3


def ours(module: Any, inputs: Any) -> int:
    """One capture, checked and lowered; the FLOPs of its products."""
    import mmsim

    return int(mmsim.trace(module, inputs, symbols=(), stages={"": "head"}).macs) * 2


def symbolic(module: Any, inputs: Any) -> None:
    """What `mmsim.trace` does unless told otherwise: the batch symbolic, stages inferred."""
    import mmsim

    mmsim.trace(module, inputs)


def export(module: Any, inputs: Any) -> None:
    """torch.export without decomposition, its outputs flattened."""
    from mmsim.tracing.export import exported

    exported(module, inputs)


def make_fx(module: Any, inputs: Any) -> None:
    """torch.fx.experimental.proxy_tensor.make_fx on fake tensors, before dispatch."""
    from torch.fx.experimental.proxy_tensor import make_fx

    from mmsim.tracing import nested

    def function(*tensors: Any) -> Any:
        rest = iter(tensors)
        out = module(**nested.replace(inputs, lambda *_: next(rest)))
        return nested.plain(out, lambda tensor: tensor)

    with faked(module, inputs) as given:
        make_fx(function, pre_dispatch=True)(*(tensor for _, tensor in nested.tensors(given)))


def flop_counter(module: Any, inputs: Any) -> int:
    """torch.utils.flop_counter on fake tensors."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with faked(module, inputs) as given, FlopCounterMode(display=False) as counter, torch.no_grad():
        module(**given)
    return int(counter.get_total_flops())


@contextmanager
def faked(module: Any, inputs: Any) -> Iterator[Any]:
    """Module and inputs without data, as `torch.export` sees them."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from mmsim.tracing import nested
    from mmsim.tracing.swap import fake, swapped

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with swapped(module, lambda _, tensor: fake(mode, tensor)), mode:
        yield nested.replace(inputs, lambda _, tensor: fake(mode, tensor))


def fvcore(module: Any, inputs: Any) -> int:
    """fvcore's FlopCountAnalysis; it counts a multiply-accumulate as one."""
    from fvcore.nn import FlopCountAnalysis

    given = tuple(_on_meta(module, inputs).values())
    return int(FlopCountAnalysis(module, given).unsupported_ops_warnings(False).total()) * 2


def torchinfo(module: Any, inputs: Any) -> int:
    """torchinfo's summary."""
    from torchinfo import summary

    return int(summary(module, input_data=_on_meta(module, inputs), verbose=0, device="meta").total_mult_adds) * 2


TOOLS: dict[str, Callable[[Any, Any], int | None]] = {
    "ours": ours, "symbolic": symbolic, "export": export, "make_fx": make_fx, "flop_counter": flop_counter,
    "fvcore": fvcore, "torchinfo": torchinfo,
}  # fmt: skip


def _on_meta(module: Any, inputs: Any) -> Any:
    """Module and inputs on ``meta``: without values, as these tools take them."""
    from mmsim.tracing import nested

    module.to("meta")
    return nested.replace(inputs, lambda _, tensor: tensor.to("meta"))


def network(name: str) -> tuple[Any, Any]:
    """One of the 38, of the held-out table, or ``vit:24`` and ``llama:16`` for growth with the layers."""
    import held_out_models
    import thirty_eight
    import torch

    from mmsim.tracing.weightless import weightless

    torch.manual_seed(0)
    kind, _, layers = name.partition(":")
    with weightless():
        if layers:
            return _deep(kind, int(layers))
        if kind in thirty_eight.NETWORKS:
            module, inputs = thirty_eight.NETWORKS[kind]()
            return module.eval(), inputs
        return *held_out_models.of_transformers(kind)[:1], held_out_models.inputs(kind, 2)


def _deep(kind: str, layers: int) -> tuple[Any, Any]:
    import torch
    import transformers

    if kind == "vit":
        module = transformers.ViTModel(transformers.ViTConfig(num_hidden_layers=layers))
        return module.eval(), {"pixel_values": torch.randn(2, 3, 224, 224)}
    module = transformers.LlamaForCausalLM(transformers.LlamaConfig(num_hidden_layers=layers))
    return module.eval(), {"input_ids": torch.randint(5, 100, (2, 512))}


def measure(name: str, tool: str) -> dict[str, Any]:
    """One run in this process: CPU seconds, peak memory, FLOPs, or why it failed."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    run = TOOLS[tool]
    try:
        run(torch.nn.Linear(4, 4), {"input": torch.ones(2, 4)})
        module, inputs = network(name)
        _limited()
        gc.collect()  # what imports and building left behind is not the tracer's to search through
        began = time.process_time()
        flops = run(module, inputs)
        seconds = time.process_time() - began
    except Exception as error:
        return {"ok": False, "error": f"{type(error).__name__}: {error}".splitlines()[0][:160]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"ok": True, "seconds": round(seconds, 3), "peak_mib": round(peak), "flops": flops}


def _limited() -> None:
    """From here on an error after so many CPU seconds."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {CPU_LIMIT_S} CPU s")

    signal.signal(signal.SIGXCPU, stop)
    used = int(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + CPU_LIMIT_S, used + 2 * CPU_LIMIT_S))


def in_process(name: str, tool: str) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--one", name, tool]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
    except (subprocess.TimeoutExpired, json.JSONDecodeError, IndexError) as error:
        return {"ok": False, "error": f"{type(error).__name__}: no answer"}


def main() -> None:
    """Print one line a run, then a summary for each tool; ``-o`` writes all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--models", help="names, parted by commas")
    parser.add_argument("--tools", default="ours", help=f"of {', '.join(TOOLS)}")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    tools = list(TOOLS) if options.tools == "all" else options.tools.split(",")
    results: dict[tuple[str, str], dict[str, Any]] = {}
    for name in _names(options):
        for tool in tools:
            results[name, tool] = in_process(name, tool)
            print(f"{_starred(name):30} {tool:12} {_text(results[name, tool])}", flush=True)
            if options.output:
                options.output.write_text(json.dumps({f"{n} {t}": r for (n, t), r in results.items()}, indent=1) + "\n")
    for tool in tools:
        _summary(tool, results)


def _starred(name: str) -> str:
    import thirty_eight

    return f"{name} *" if name in thirty_eight.STAND_INS else name


def _names(options: argparse.Namespace) -> list[str]:
    if options.models:
        return str(options.models).split(",")
    if options.growth:
        return ["vit:12", "vit:24", "vit:48", "llama:8", "llama:16", "llama:32"]
    import held_out_models
    import thirty_eight

    return list(held_out_models.HELD_OUT if options.held_out else thirty_eight.NETWORKS)


def _text(result: dict[str, Any]) -> str:
    if not result["ok"]:
        return f"failed: {result['error']}"
    flops = "" if result["flops"] is None else f"{result['flops'] / 1e9:12.4g} GFLOP"
    return f"{result['seconds']:8.3f} s {result['peak_mib']:6} MiB {flops}"


def _summary(tool: str, results: dict[tuple[str, str], dict[str, Any]]) -> None:
    named = {name: result for (name, used), result in results.items() if used == tool}
    good = {name: result for name, result in named.items() if result["ok"]}
    line = f"{tool}: {len(good)} of {len(named)}"
    if good:
        seconds = sorted(result["seconds"] for result in good.values())
        peak = max(result["peak_mib"] for result in good.values())
        line += f"; median {statistics.median(seconds):.2f} s, most {seconds[-1]:.2f} s, peak {peak} MiB"
    counted = {name: result["flops"] for name, result in good.items() if result["flops"] is not None}
    ours = {name: results[name, "ours"].get("flops") for name in counted if (name, "ours") in results}
    if ours:
        right = [name for name, flops in ours.items() if flops and abs(counted[name] / flops - 1) < TOLERANCE]
        line += f"; {len(right)} totals right"
    print(line)


if __name__ == "__main__":
    main()
