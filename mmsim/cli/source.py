"""The network that a verb is about: a workload's name, a layer dump, or a user's own model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsim.errors import InputError

if TYPE_CHECKING:
    from mmsim.graph import Graph
    from mmsim.measurement import Source as Measured

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--fusion", metavar="NAME", help="Fusion variant of a workload (default: the paper's)."),
    click.option("--modality", metavar="NAME", help="The uni-modal counterpart of a workload, e.g. image."),
    click.option("--end-to-end", is_flag=True, help="Include a workload's preprocess stage, from raw input."),
    click.option("--host-costs", is_flag=True, help="Keep the reference code's host copies and synchronisations."),
    click.option(
        "--set", "knobs", multiple=True, metavar="NAME=INT",
        help="The value of a size: a workload's knob, e.g. length=64, or a letter of --input.",
    ),
    click.option(
        "--symbol", "symbols", multiple=True, metavar="NAME=INT",
        help="Keep such a size symbolic, as the batch B is; it is traced at this value and below.",
    ),
    click.option(
        "--input", "inputs", multiple=True, metavar="NAME=SHAPE:DTYPE",
        help="An input of your own model, e.g. image=Bx3x224x224:float32; letters are sizes, B the batch (a "
        "factory may also return the model and its inputs).",
    ),
    click.option(
        "--stage", "stages", multiple=True, metavar="PATH=STAGE",
        help="A module path's stage, e.g. vision=encoder:image (default: declared by the workload, else inferred).",
    ),
    click.option("--allow-unknown", is_flag=True, help="Let unknown operations through; they are listed in the dump."),
    click.option("--phase", type=click.Choice(["inference", "training"]), default="inference", show_default=True),
)  # fmt: skip

batch_option = click.option(
    "--batch", type=click.IntRange(min=1), help="Batch size (default: 1, or the one that a layer dump is valid at)."
)


@dataclass(frozen=True)
class Source:
    """What the user named, with the options that say which variant of it."""

    spec: str
    fusion: str | None = None
    modality: str | None = None
    end_to_end: bool = False
    host_costs: bool = False
    knobs: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    allow_unknown: bool = False
    phase: str = "inference"

    def graph(self, batch: int | None = None) -> Graph:
        """The layer graph, symbolic in the batch: read from a dump, or traced (which imports torch).

        A network that is valid at one batch only is traced at `batch`.
        """
        graph = self._dumped() if self.spec.endswith(".json") else self._traced(batch)
        if self.phase == "training" and graph.phase != "training":
            from mmsim.training import training_graph

            graph = training_graph(graph)
        return graph

    def recorded(self) -> Measured:
        """As a measurement's file keeps it; a stage without a path is the one to measure alone.

        Raises `InputError` for a layer dump, which has no program to run, and for several stages alone.
        """
        from mmsim.measurement import Source as Measured

        if self.spec.endswith(".json"):
            raise InputError("a layer dump has no program to run: name the workload or the model", file=self.spec)
        alone = [item for item in self.stages if "=" not in item]
        if len(alone) > 1:
            raise InputError(f"one stage at a time, not {', '.join(alone)}", field="--stage")
        declared = tuple(item for item in self.stages if "=" in item)
        return Measured(
            self.spec,
            **{name: getattr(self, name) for name in _PLAIN},
            knobs=integers(self.knobs, "--set"),
            inputs=pairs(self.inputs, "--input"),
            stages=pairs(declared, "--stage"),
            only=alone[0] if alone else None,
        )

    @staticmethod
    def of(measured: Measured) -> Source:
        """The inverse of `recorded`, for the whole network."""
        tables: dict[str, Any] = {
            name: tuple(f"{k}={v}" for k, v in getattr(measured, name).items()) for name in _TABLES
        }
        return Source(measured.network, **{name: getattr(measured, name) for name in _PLAIN}, **tables)

    def _dumped(self) -> Graph:
        from mmsim.layer_dump import load

        for name, value in (
            ("--fusion", self.fusion),
            ("--modality", self.modality),
            ("--input", self.inputs),
            ("--symbol", self.symbols),
        ):
            if value:
                raise InputError(f"{name} does not go with a layer dump: {self.spec} is already traced")
        return load(Path(self.spec)).at(**integers(self.knobs, "--set"))

    def _traced(self, batch: int | None) -> Graph:
        from mmsim.tracing.source import trace_source

        try:
            with redirect_stdout(sys.stderr):  # what the user's model prints is not our answer
                return trace_source(
                    self.spec,
                    fusion=self.fusion,
                    modality=self.modality,
                    end_to_end=self.end_to_end,
                    host_costs=self.host_costs,
                    knobs=integers(self.knobs, "--set"),
                    symbols=integers(self.symbols, "--symbol"),
                    inputs=pairs(self.inputs, "--input"),
                    stages=pairs(self.stages, "--stage"),
                    allow_unknown=self.allow_unknown,
                    batch=batch,
                )
        except (RuntimeError, MemoryError) as error:  # of torch, as for sizes that no memory holds
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"cannot be traced: {reason}", file=self.spec) from error


def concrete(graph: Graph, batch: int | None) -> Graph:
    """The graph `at_batch`, with no size left open; raises `InputError` otherwise."""
    graph = at_batch(graph, batch)
    if graph.symbols:
        raise InputError(f"give {', '.join(sorted(graph.symbols))} a value with --set", field="--set")
    return graph


def at_batch(graph: Graph, batch: int | None) -> Graph:
    """The graph at a batch size, by default 1, or the one batch that it is valid at.

    Raises `InputError` for a graph of another batch.
    """
    if "B" in graph.symbols:
        graph = graph.at(B=batch or 1)
    if batch is not None and graph.batch != batch:
        how = dict(graph.provenance.symbols).get("B", "")
        reason = f"it is of batch {graph.batch} alone ({how})" if graph.batch else "it has no batch"
        raise InputError(f"this graph cannot be had at batch {batch}: {reason}", field="--batch")
    return graph


_PLAIN, _TABLES = ("fusion", "modality", "end_to_end", "host_costs"), ("knobs", "inputs", "stages")
"""The fields that a measurement's file has as they are, and those that it has as tables."""


def source_options(command: F, *, required: bool = True) -> F:
    """The argument NETWORK and the options that choose a variant; the command receives `source`.

    Where the network is not `required`, ``source.spec`` may be empty.
    """

    def with_source(network: str = "", **options: Any) -> Any:
        fields = set(Source.__dataclass_fields__)
        chosen = {name: options.pop(name) for name in list(options) if name in fields}
        return command(source=Source(network, **chosen), **options)

    with_source.__name__, with_source.__doc__ = command.__name__, command.__doc__
    with_source.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    decorated: Any = with_source
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return click.argument("network", required=required, default=None if required else "")(decorated)  # type: ignore[no-any-return]


def pairs(items: tuple[str, ...], option: str) -> dict[str, str]:
    """``("a=1", "b=2")`` -> ``{"a": "1", "b": "2"}``; raises `InputError` for anything else."""
    out: dict[str, str] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not value:
            raise InputError(f"{item!r} is not NAME=VALUE", field=option)
        if name in out:
            raise InputError(f"{name!r} is given twice", field=option)
        out[name] = value
    return out


def integers(items: tuple[str, ...], option: str) -> dict[str, int]:
    """As `pairs`, with whole positive numbers."""
    out = {}
    for name, value in pairs(items, option).items():
        if not value.isdecimal() or int(value) < 1:
            raise InputError(f"{name}={value} must be a positive whole number", field=option)
        out[name] = int(value)
    return out
