"""A network by name: a workload, a Python factory, a saved program or an ONNX file -> its graph."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.tracing.inputs import parse_inputs
from mmsim.tracing.models import Model, load_model
from mmsim.tracing.pipeline import Given, concrete, finished, trace
from mmsim.tracing.symbolic import Sizes


def trace_source(
    spec: str,
    *,
    fusion: str | None = None,
    modality: str | None = None,
    end_to_end: bool = False,
    host_costs: bool = False,
    knobs: Mapping[str, int] | None = None,
    inputs: Mapping[str, str] | None = None,
    stages: Mapping[str, str] | None = None,
    allow_unknown: bool = False,
) -> Graph:
    """The graph of `spec`, symbolic in the batch ``B``.

    `spec` is a workload's name, ``package.module:factory``, ``file.py:factory``, a program saved by `torch.export`
    (``.pt2``) or an ONNX file. `inputs` give a user's model its inputs: ``{"image": "Bx3x224x224:float32"}``; letters
    are symbolic sizes, and `knobs` give the size at which one other than ``B`` is traced. `stages` changes the stage of
    module paths. Raises `InputError` for anything that does not fit.
    """
    knobs, inputs = dict(knobs or {}), dict(inputs or {})
    if spec.endswith(".onnx"):
        from mmsim.tracing.onnx_file import read_onnx

        graph_at, symbols = read_onnx(spec)
        return finished(graph_at, {**symbols, **knobs}, overrides=stages, allow_unknown=allow_unknown)
    if ":" in spec or spec.endswith((".pt2", ".py")):
        for option, value in (("--fusion", fusion), ("--modality", modality), ("--end-to-end", end_to_end)):
            if value:
                raise InputError(f"{option} goes with a workload, not with {spec}")
        return _trace_model(load_model(spec), inputs, knobs, stages, allow_unknown)
    if inputs:
        raise InputError(f"--input does not go with the workload {spec}, which brings its own")
    return _trace_workload(
        spec, stages, allow_unknown, fusion=fusion, modality=modality, end_to_end=end_to_end, host_costs=host_costs,
        knobs=knobs,
    )  # fmt: skip


def _trace_workload(
    name: str,
    overrides: Mapping[str, str] | None,
    allow_unknown: bool,
    *,
    fusion: str | None,
    modality: str | None,
    end_to_end: bool,
    host_costs: bool,
    knobs: Mapping[str, int],
) -> Graph:
    import torch

    from mmsim.workloads import get

    workload = get(name)

    def network(batch: int):  # type: ignore[no-untyped-def]
        with nullcontext() if host_costs else torch.device("meta"):  # a host that waits for values needs a real run
            return workload.network(
                fusion, modality, batch=batch, end_to_end=end_to_end, host_costs=host_costs, **knobs
            )

    first = network(2)

    def given_at(sizes: Sizes) -> Given:
        built = first if sizes["B"] == 2 else network(sizes["B"])
        return built.module, built.inputs

    graph_at = concrete(given_at, paths=(*first.stages, *(overrides or ())), workload=name, variant=first.variant)
    return finished(graph_at, {"B": 1}, first.stages, overrides=overrides, allow_unknown=allow_unknown)


def _trace_model(
    model: Model,
    inputs: Mapping[str, str],
    knobs: Mapping[str, int],
    overrides: Mapping[str, str] | None,
    allow_unknown: bool,
) -> Graph:
    if not inputs and model.inputs is None:
        raise InputError("give the model's inputs, as in --input image=Bx3x224x224:float32", field="--input")
    if not inputs:
        return trace(
            model.module, model.inputs, stages=model.stages, overrides=overrides, workload=model.name,
            allow_unknown=allow_unknown,
        )  # fmt: skip
    specs = parse_inputs(inputs, model.module)
    symbols = {name: knobs.get(name, 0) for name in sorted({n for spec in specs for n in spec.symbols})}
    unused = set(knobs) - set(symbols)
    if unused:
        raise InputError(f"no input has a size {', '.join(sorted(unused))}", field="--set")
    return trace(
        model.module, lambda **sizes: {spec.name: spec.example(sizes) for spec in specs}, symbols=symbols,
        stages=model.stages, overrides=overrides, workload=model.name, allow_unknown=allow_unknown,
    )  # fmt: skip
