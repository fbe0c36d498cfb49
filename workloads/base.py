"""What a workload is: a network family with its variants, knobs and random inputs of the true shapes."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmsim.errors import InputError
from mmsim.workloads.end_to_end import EndToEnd, HostStep, Preprocess, behind

LARGEST = 65536
"""Value of a knob: beyond it a network's inputs alone fill a machine."""


@dataclass(frozen=True)
class Choice:
    """One network out of a workload's family: what `Workload.build` and `Workload.inputs` are given.

    ``modality`` is None for the multi-modal network; ``fusion`` is empty for a uni-modal one.
    """

    fusion: str
    modality: str | None
    batch: int
    host_costs: bool
    knobs: Mapping[str, int]

    def __getitem__(self, knob: str) -> int:
        return self.knobs[knob]

    def at_least(self, knob: str, least: int) -> int:
        """The knob's value, refused with an `InputError` where the network has no room for so little."""
        if self.knobs[knob] < least:
            raise InputError(f"{knob}={self.knobs[knob]}: this network needs at least {least}")
        return self.knobs[knob]

    def uses(self, modality: str) -> bool:
        """Whether this network has a branch for the modality."""
        return self.modality in (None, modality)


@dataclass(frozen=True)
class Network:
    """A built network in eval mode, keyword arguments for its forward, and which module is which stage.

    ``stages`` maps a module path prefix to a stage: ``{"encoders.image": "encoder:image", "head": "head"}``.
    ``host`` are the steps of an end-to-end network that run before it and that no graph holds.
    """

    workload: str
    variant: str
    module: nn.Module
    inputs: dict[str, Tensor]
    stages: dict[str, str]
    host: tuple[HostStep, ...] = ()

    def __call__(self) -> Any:
        """The network's output on its inputs, without gradients."""
        with torch.no_grad():
            return self.module(**self.inputs)


@dataclass(frozen=True)
class Workload:
    """A family of networks for one task: `network` builds the variant that is asked for.

    ``fusions`` and ``modalities`` name the variants, the paper's default first; ``knobs`` are sizes
    with their defaults; ``extra`` are further named variants as arguments of `network`.
    """

    name: str
    title: str
    domain: str
    task: str
    fusions: tuple[str, ...]
    modalities: tuple[str, ...]
    build: Callable[[Choice], nn.Module]
    inputs: Callable[[Choice], dict[str, Tensor]]
    knobs: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    preprocess: Callable[[Choice], Iterable[Preprocess | HostStep]] | None = None

    def network(
        self,
        fusion: str | None = None,
        modality: str | None = None,
        batch: int = 1,
        end_to_end: bool = False,
        host_costs: bool = False,
        **knobs: int,
    ) -> Network:
        """The multi-modal network with a fusion (the paper's if None), or one modality's counterpart.

        ``end_to_end`` starts from raw data, ``host_costs`` keeps the reference's copies and
        synchronisations between host and device. Weights and inputs are random with a fixed seed;
        under ``torch.device("meta")`` weights take no memory. Raises `InputError`, listing what there
        is, for a fusion, modality or knob that the workload lacks.
        """
        if fusion is not None and modality is not None:
            raise InputError(f"{self.name}: give a fusion or a modality, not both: one modality has nothing to fuse")
        if fusion is not None:
            self._check("fusion", fusion, self.fusions)
        if modality is not None:
            self._check("modality", modality, self.modalities)
        for knob, value in ({"batch": batch} | knobs).items():
            self._check("knob", knob, ("batch", *self.knobs))
            if not 1 <= value <= (LARGEST if knob != "batch" else value):
                most = "positive" if knob == "batch" else f"from 1 to {LARGEST}"
                raise InputError(f"{self.name}: {knob}={value} must be {most}")
        choice = Choice(
            fusion="" if modality else fusion or self.fusions[0],
            modality=modality,
            batch=batch,
            host_costs=host_costs,
            knobs={**self.knobs, **knobs},
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module, inputs = self.build(choice), self.inputs(choice)
            steps = self._steps(choice) if end_to_end else ()
        host = tuple(step for step in steps if isinstance(step, HostStep))
        for step in host:
            inputs |= step.run()
        if end_to_end:
            module, inputs = behind(tuple(step for step in steps if isinstance(step, Preprocess)), module, inputs)
        return Network(self.name, self._variant(choice), module.eval(), inputs, stages_of(module), host)

    def variants(self) -> dict[str, dict[str, Any]]:
        """Every variant's name with the arguments of `network` that give it, the paper's default first."""
        return {
            **{fusion: {"fusion": fusion} for fusion in self.fusions},
            **{f"uni_{modality}": {"modality": modality} for modality in self.modalities},
            **{name: dict(arguments) for name, arguments in self.extra.items()},
        }

    def _variant(self, choice: Choice) -> str:
        asked: dict[str, Any] = {"modality": choice.modality} if choice.modality else {"fusion": choice.fusion}
        asked |= {knob: value for knob, value in choice.knobs.items() if value != self.knobs[knob]}
        named = [name for name, arguments in self.extra.items() if arguments == asked]
        return (named or [f"uni_{choice.modality}" if choice.modality else choice.fusion])[0]

    def _check(self, kind: str, name: str, known: Iterable[str]) -> None:
        if name not in known:
            raise InputError(f"{self.name} has no {kind} {name!r}: it has {', '.join(known) or 'none'}")

    def _steps(self, choice: Choice) -> tuple[Preprocess | HostStep, ...]:
        if self.preprocess is None:
            raise InputError(f"{self.name} has no preprocess stage")
        return tuple(self.preprocess(choice))


class MultiModal(nn.Module):
    """Encoders, fusion, head: every operation happens in one of the three.

    ``inputs`` gives the names of the inputs of each encoder, where they differ from the modality's
    name, and under ``"head"`` those that the head takes beside the fused features.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        inputs: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.head = head
        self.input_names = {"head": (), **{modality: (modality,) for modality in encoders}, **(inputs or {})}

    def forward(self, **inputs: Tensor) -> Tensor:
        def taken_by(part: str) -> list[Tensor]:
            return [inputs[name] for name in self.input_names[part]]

        features = [encoder(*taken_by(modality)) for modality, encoder in self.encoders.items()]
        return self.head(self.fusion(*features), *taken_by("head"))


def stages_of(module: nn.Module) -> dict[str, str]:
    """The stage of each part of a network that has ``encoders``, ``fusion`` and ``head``; an identity has none.

    >>> stages_of(MultiModal({"image": nn.Linear(4, 2)}, nn.Identity(), nn.Linear(2, 1)))
    {'encoders.image': 'encoder:image', 'head': 'head'}
    """
    if isinstance(module, EndToEnd):
        before = {f"preprocess.{modality}": f"preprocess:{modality}" for modality in module.preprocess}
        return before | {f"network.{path}": stage for path, stage in stages_of(module.network).items()}
    named = {f"encoders.{modality}": f"encoder:{modality}" for modality in module.encoders}
    named |= {part: part for part in ("fusion", "head") if hasattr(module, part)}
    return {path: stage for path, stage in named.items() if not isinstance(module.get_submodule(path), nn.Identity)}


def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Random values in [low, high), on the host whatever the default device."""
    return torch.empty(shape, device="cpu").uniform_(low, high)


def normal(*shape: int) -> Tensor:
    """Random values of mean 0 and variance 1: a standardised signal."""
    return torch.empty(shape, device="cpu").normal_()


def octets(*shape: int) -> Tensor:
    """Random bytes, eight drawn at a time: a second of high-definition video has 70 million."""
    count = math.prod(shape)
    drawn = torch.empty(-(-count // 8), dtype=torch.int64, device="cpu").random_(-(2**63), None)
    return drawn.view(torch.uint8)[:count].view(shape)


def tokens(*shape: int, vocabulary: int, first: int = 0) -> Tensor:
    """Random token ids in [first, vocabulary)."""
    return torch.randint(first, vocabulary, shape, device="cpu")


def names() -> tuple[str, ...]:
    """The names of all workloads: the files of this folder that define a ``WORKLOAD``."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(file.stem for file in files if "\nWORKLOAD = " in file.read_text(encoding="utf-8"))


def get(name: str) -> Workload:
    """The workload of a name; raises `InputError` naming near ones for an unknown name."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.5) or names()
        raise InputError(f"no workload {name!r}: did you mean {' or '.join(near)}?")
    workload: Workload = importlib.import_module(f"mmsim.workloads.{name}").WORKLOAD
    return workload
