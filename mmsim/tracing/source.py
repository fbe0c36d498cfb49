"""A network by name: a workload, a Python factory, a saved program or an ONNX file -> its graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.tracing.inputs import parse_inputs
from mmsim.tracing.models import Model, load_model
from mmsim.tracing.pipeline import Given, batch_of, concrete, finished, rebatched, trace
from mmsim.tracing.symbolic import Sizes


def trace_source(
    spec: str,
    *,
    fusion: str | None = None,
    modality: str | None = None,
    end_to_end: bool = False,
    host_costs: bool = False,
    knobs: Mapping[str, int] | None = None,
    symbols: Mapping[str, int] | None = None,
    inputs: Mapping[str, str] | None = None,
    stages: Mapping[str, str] | None = None,
    allow_unknown: bool = False,
    batch: int | None = None,
) -> Graph:
    """The graph of `spec`, symbolic in the batch ``B``; a network that is valid at one batch only, at `batch`.

    `spec` is a workload's name, ``package.module:factory``, ``file.py:factory``, a program saved by `torch.export`
    (``.pt2``) or an ONNX file. `inputs` give a user's model its inputs: ``{"image": "BxSxS:float32"}``. Their
    letters, and a workload's knobs, are sizes: `knobs` gives some a value, `symbols` keeps some open, with the value
    from which to trace them downwards. `stages` changes the stage of module paths. Raises `InputError` for anything
    that does not fit.
    """
    knobs, symbols, inputs = dict(knobs or {}), dict(symbols or {}), dict(inputs or {})
    if both := sorted(knobs.keys() & symbols.keys()):
        raise InputError(f"{both[0]} cannot both have a value and stay open", field="--symbol")
    if spec.endswith(".onnx"):
        from mmsim.tracing.onnx_file import read_onnx

        graph_at, named = read_onnx(spec)
        _check_sizes({**knobs, **symbols}, named)
        open_sizes = {name: symbols.get(name, value) for name, value in named.items() if name not in knobs}
        if "B" in open_sizes:
            open_sizes["B"] = batch or 0
        return finished(
            lambda sizes: graph_at({**knobs, **sizes}), open_sizes, overrides=stages, allow_unknown=allow_unknown
        )
    if ":" in spec or spec.endswith((".pt2", ".py")):
        for option, value in (("--fusion", fusion), ("--modality", modality), ("--end-to-end", end_to_end)):
            if value:
                raise InputError(f"{option} goes with a workload, not with {spec}")
        return _trace_model(load_model(spec), inputs, knobs, symbols, stages, allow_unknown, batch)
    if inputs:
        raise InputError(f"--input does not go with the workload {spec}, which brings its own")
    return _trace_workload(
        spec, stages, allow_unknown, symbols, fusion=fusion, modality=modality, end_to_end=end_to_end,
        host_costs=host_costs, knobs=knobs, batch=batch,
    )  # fmt: skip


def _check_sizes(given: Iterable[str], known: Collection[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"no size {unknown[0]}: there is {', '.join(sorted(known)) or 'none'}", field="--set")


def _trace_workload(
    name: str,
    overrides: Mapping[str, str] | None,
    allow_unknown: bool,
    symbols: Mapping[str, int],
    *,
    fusion: str | None,
    modality: str | None,
    end_to_end: bool,
    host_costs: bool,
    knobs: Mapping[str, int],
    batch: int | None,
) -> Graph:
    import torch

    from mmsim.workloads import get

    workload = get(name)

    def network(sizes: Sizes):  # type: ignore[no-untyped-def]
        with nullcontext() if host_costs else torch.device("meta"):  # a host that waits for values needs a real run
            return workload.network(
                fusion, modality, batch=sizes["B"], end_to_end=end_to_end, host_costs=host_costs,
                **{**knobs, **{knob: size for knob, size in sizes.items() if knob != "B"}},
            )  # fmt: skip

    base = {"B": 2, **symbols}
    first = network(base)

    def given_at(sizes: Sizes) -> Given:
        built = first if sizes == base else network(sizes)
        return built.module, built.inputs

    graph_at = concrete(given_at, paths=(*first.stages, *(overrides or ())), workload=name, variant=first.variant)
    return finished(
        graph_at, {"B": batch or 0, **symbols}, first.stages, overrides=overrides, allow_unknown=allow_unknown
    )


def _trace_model(
    model: Model,
    inputs: Mapping[str, str],
    knobs: Mapping[str, int],
    symbols: Mapping[str, int],
    overrides: Mapping[str, str] | None,
    allow_unknown: bool,
    batch: int | None,
) -> Graph:
    if not inputs and model.inputs is None:
        raise InputError("give the model's inputs, as in --input image=Bx3x224x224:float32", field="--input")
    if not inputs:
        _check_sizes({**knobs, **symbols}, ())
        own = batch_of(model.inputs)
        return trace(
            model.module, rebatched(model.inputs, own, batch or own), stages=model.stages, overrides=overrides,
            workload=model.name, allow_unknown=allow_unknown,
        )  # fmt: skip
    specs = parse_inputs(inputs, model.module)
    letters = sorted({name for spec in specs for name in spec.symbols})
    _check_sizes({**knobs, **symbols}, letters)
    open_sizes = {name: symbols.get(name, 0) for name in letters if name not in knobs}
    if "B" in open_sizes:
        open_sizes["B"] = batch or 0
    for name in open_sizes.keys() - symbols.keys() - {"B"}:
        raise InputError(
            f"give {name} a value with --set {name}=64, or keep it open: --symbol {name}=64", field="--input"
        )
    return trace(
        model.module, lambda **sizes: {spec.name: spec.example({**knobs, **sizes}) for spec in specs},
        symbols=open_sizes, stages=model.stages, overrides=overrides, workload=model.name, allow_unknown=allow_unknown,
    )  # fmt: skip
