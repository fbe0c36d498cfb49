"""The network to measure: built for real with random weights, captured, and moved to its device and format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_aggregate

from mmsim.errors import InputError
from mmsim.graph import Graph
from mmsim.layer import Layer
from mmsim.measure import marks
from mmsim.measurement import Source
from mmsim.tracing import nested
from mmsim.tracing.capture import capture
from mmsim.tracing.inputs import parse_inputs
from mmsim.tracing.models import load_model
from mmsim.tracing.pipeline import batch_of, by_name, rebatched, staged
from mmsim.tracing.stages import check_paths, overridden
from mmsim.tracing.weightless import random_like, weightless

SEED = 0


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured: the captured graph, its layers, and inputs on the device.

    Layers and operations meet by name: a layer is called as its fx node.
    """

    captured: fx.GraphModule
    graph: Graph
    inputs: tuple[Any, ...]
    device: torch.device
    notes: tuple[str, ...] = ()
    host_steps: Mapping[str, Callable[[], Any]] = field(default_factory=dict)  # what runs before it, by stage and name

    @property
    def layers(self) -> dict[str, Layer]:
        """Node name -> layer."""
        return {layer.name: layer for layer in self.graph.layers}


def subject_of(source: Source, *, batch: int, dtype: str, device: torch.device) -> Subject:
    """The network that `source` names, built for real. Raises `InputError` for what does not fit."""
    how: dict[str, Any] = {"batch": batch, "dtype": dtype, "device": device}
    if ":" in source.network or source.network.endswith((".py", ".pt2")):
        for option in ("fusion", "modality", "end_to_end", "host_costs"):
            if getattr(source, option):
                name = option.replace("_", "-")
                raise InputError(f"--{name} goes with a workload, not with {source.network}")
        return model(source.network, inputs=source.inputs, knobs=source.knobs, stages=source.stages, **how)
    if source.inputs:
        raise InputError(f"--input does not go with the workload {source.network}, which brings its own")
    return workload(
        source.network, overrides=source.stages, fusion=source.fusion, modality=source.modality,
        end_to_end=source.end_to_end, host_costs=source.host_costs, **how, **dict[str, Any](source.knobs),
    )  # fmt: skip


def workload(
    name: str,
    *,
    batch: int,
    dtype: str,
    device: torch.device,
    overrides: Mapping[str, str] | None = None,
    **options: Any,
) -> Subject:
    """A workload's variant; `options` are the arguments of `Workload.network`."""
    from mmsim.workloads import get

    # raw data is worked on while a network from raw data is built: it must be there
    with nullcontext() if options.get("end_to_end") else weightless():
        network = get(name).network(batch=batch, **options)
    torch.manual_seed(SEED)
    inputs = nested.replace(network.inputs, lambda _, tensor: _random(tensor))
    subject = prepare(filled(network.module), inputs, network.stages, dtype, device, overrides)
    graph = replace(subject.graph, workload=network.workload, variant=network.variant)
    host_steps = {f"preprocess:{step.modality} {step.name}": step.run for step in network.host}
    return replace(subject, graph=graph, host_steps=host_steps)


def model(
    spec: str,
    *,
    batch: int,
    dtype: str,
    device: torch.device,
    inputs: Mapping[str, str] | None = None,
    knobs: Mapping[str, int] | None = None,
    stages: Mapping[str, str] | None = None,
) -> Subject:
    """A user's own model, as `mmsim.tracing.models.load_model` finds it, with random weights and inputs."""
    loaded = load_model(spec)
    torch.manual_seed(SEED)
    module = filled(loaded.module)
    if inputs:
        specs = parse_inputs(inputs, module)
        sizes = {"B": batch, **(knobs or {})}
        missing = sorted({name for given in specs for name in given.symbols} - set(sizes))
        if missing:
            raise InputError(f"give a value for {', '.join(missing)}, as in --set {missing[0]}=64", field="--input")
        example: Any = {given.name: _random(given.example(sizes)) for given in specs}
    elif loaded.inputs is not None:
        example = nested.replace(by_name(module, loaded.inputs), lambda _, tensor: _random(tensor))
        example = rebatched(example, batch_of(example), batch)
    else:
        raise InputError("give the model's inputs, as in --input image=Bx3x224x224:float32", field="--input")
    subject = prepare(module, example, loaded.stages, dtype, device, stages)
    return replace(subject, graph=replace(subject.graph, workload=loaded.name))


def prepare(
    module: nn.Module,
    inputs: Any,
    stages: Mapping[str, str] | None,
    dtype: str,
    device: torch.device,
    overrides: Mapping[str, str] | None = None,
) -> Subject:
    """Capture `module` in this format and move the captured program and its inputs to the device.

    Stages are declared by `stages` (None: inferred), and changed by `overrides`.
    """
    check_paths({**(stages or {}), **(overrides or {})}, {path for path, _ in module.named_modules()})
    format_ = floating(dtype)
    module = module.to(format_)
    inputs = nested.replace(inputs, lambda _, t: t.to(format_) if t.is_floating_point() else t)
    captured = capture(module, inputs)
    graph = staged(captured, stages)
    if overrides:
        graph = overridden(graph, overrides)
    module.to(device)  # a recurrent module lays its weights out for cuDNN as it moves
    tensors = tuple(tensor.to(device) for _, tensor in nested.tensors(inputs))
    return Subject(placed(captured, device), graph, tensors, device)


def floating(name: str) -> torch.dtype:
    """The floating format of this name, as torch calls it. Raises `InputError` for another."""
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InputError(f"unknown floating format {name!r}", field="--dtype")
    return found


def placed(captured: fx.GraphModule, device: torch.device) -> fx.GraphModule:
    """The program on `device`, and on it what it makes on the way, as an LSTM its first state.

    It was captured on the CPU: a device that it has as a value is that of some tensor, such as ``x.device``. One that
    the model names as text (``.to("cpu")``) stays.
    """
    for node in captured.graph.nodes:
        node.args, node.kwargs = map_aggregate((node.args, node.kwargs), partial(_elsewhere, device))
    return marks.at_hand(captured.to(device))


def _elsewhere(device: torch.device, value: Any) -> Any:
    return device if isinstance(value, torch.device) else value


def filled(module: nn.Module) -> nn.Module:
    """The module with memory and random values for every weight that has none; shared ones stay shared."""
    made: dict[int, torch.Tensor] = {}
    for part in module.modules():
        for table in (part._parameters, part._buffers):
            for name, value in table.items():
                if value is not None and value.is_meta:
                    if id(value) not in made:
                        made[id(value)] = random_like(value)
                    kept: Any = made[id(value)]
                    table[name] = kept
    return module


def _random(tensor: torch.Tensor) -> torch.Tensor:
    return torch.randn(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor
