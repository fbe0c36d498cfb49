"""An architecture as a value: memories, fan-outs and compute from the outermost in, with energy and area.

The words are Timeloop's. All word counts and bandwidths are per instance; a *fan-out* multiplies
everything below it. Files are read into this by `mmsim.arch.spec` (mmsim's own ``arch_specs/``) and
`mmsim.arch.timeloop` (users' Timeloop v0.4 files).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from mmsim.arch.cpu import Cpu
    from mmsim.arch.device import Device

Relation: TypeAlias = Literal["=", "<=", ">="]

STORAGE_CLASSES = ("DRAM", "SRAM", "regfile", "smartbuffer", "storage")
COMPUTE_CLASSES = ("mac", "intmac", "fpmac", "compute")
"""Timeloop's classes of components, a level's `kind`."""


@dataclass(frozen=True)
class LoopConstraints:
    """What a level's loops may be: tile factors, their order (innermost first), and the X/Y split.

    In `factors` the dimension ``"*"`` stands for every dimension not named, and the factor 0 for the
    whole dimension. `not_over` and `only_over` name data spaces: no loop over a dimension of the
    first, none over a dimension outside the second. Of each group of dimensions in `maximize`
    Timeloop's front end makes the factors as large as fits before it searches; here no search does.
    """

    factors: tuple[tuple[str, Relation, int], ...] = ()
    permutation: tuple[str, ...] = ()
    split: int | None = None
    max_factor: int | None = None
    min_factor: int | None = None
    not_over: tuple[str, ...] = ()
    only_over: tuple[str, ...] = ()
    maximize: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Constraints:
    """What a mapping must respect at one level, and which reuse the level lacks.

    All but the loops are names of data spaces; ``"*"`` in one list stands for every data space that
    the opposite list does not name. `no_reuse` refetches a tile that stays, `rmw_first_update` reads
    a partial sum before its first update too, `no_multicast` and `no_link_transfer` (of a fan-out)
    send each child its own copy from above, `no_coalesce` counts an update per child.
    """

    keep: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()
    temporal: LoopConstraints = LoopConstraints()
    spatial: LoopConstraints = LoopConstraints()
    no_reuse: tuple[str, ...] = ()
    rmw_first_update: tuple[str, ...] = ()
    no_multicast: tuple[str, ...] = ()
    no_link_transfer: tuple[str, ...] = ()
    no_coalesce: tuple[str, ...] = ()
    min_utilization: float = 0.0  # of the capacity, by the tiles kept


@dataclass(frozen=True)
class Storage:
    """A memory level. A word has `word_bits`; None means unlimited."""

    name: str
    kind: str  # DRAM, SRAM, regfile, ...: Timeloop's class
    word_bits: int
    capacity_words: int | None = None
    block_size: int = 1  # words of one vector access
    cluster_size: int = 1  # instances that share one physical row
    read_words_per_cycle: float | None = None
    write_words_per_cycle: float | None = None
    shared_words_per_cycle: float | None = None
    multiple_buffering: float = 1.0
    bandwidth_scale: Mapping[str, float] = field(default_factory=dict)  # data space -> bandwidth its words take
    fill_latency_cycles: int = 0  # of the network from above, once
    drain_latency_cycles: int = 0
    power_gated_at: str = ""  # `level_name` of what switches these off when it is idle; none: each for itself
    constraints: Constraints = Constraints()
    attributes: Mapping[str, object] = field(default_factory=dict)  # what Accelergy sees: technology, type, n_banks ...
    source: str = ""


@dataclass(frozen=True)
class Fanout:
    """Everything below stands `mesh_x` x `mesh_y` times."""

    name: str
    mesh_x: int = 1
    mesh_y: int = 1
    fill_latency_cycles: int = 0
    drain_latency_cycles: int = 0
    constraints: Constraints = Constraints()
    attributes: Mapping[str, object] = field(default_factory=dict)
    source: str = ""

    @property
    def instances(self) -> int:
        """How many of what is below stand under one of what is above."""
        return self.mesh_x * self.mesh_y


@dataclass(frozen=True)
class Compute:
    """The arithmetic units, the innermost level: one operation per cycle and instance."""

    name: str
    kind: str  # intmac, fpmac, ...
    word_bits: int
    attributes: Mapping[str, object] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class VectorUnit:
    """The arithmetic beside the MAC array for softmax, norms and elementwise work; fed by `level`."""

    level: str
    ops_per_cycle: float  # scalar operations of the whole machine
    energy_pj_per_op: float | None = None
    source: str = ""


Node: TypeAlias = Storage | Fanout | Compute


def level_name(node: Node) -> str:
    """What Timeloop's mappings and statistics call a node; a fan-out has a level of its own there.

    >>> level_name(Fanout("PE"))
    'inter_PE_spatial'
    """
    return f"inter_{node.name}_spatial" if isinstance(node, Fanout) else node.name


@dataclass(frozen=True)
class Arch:
    """A whole machine: nodes from the outermost memory to the compute.

    `energy_pj` maps component name -> action (read, write, update, leak, compute) -> pJ per action,
    `area_um2` component name -> one instance's area; both may be empty, then `mmsim.energy` gives
    them. A GPU adds `device` and a CPU `cpu`: what Timeloop cannot say.
    """

    name: str
    nodes: tuple[Node, ...]
    cycle_s: float
    technology_nm: float
    energy_pj: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    area_um2: Mapping[str, float] = field(default_factory=dict)
    vector: VectorUnit | None = None
    device: Device | None = None
    cpu: Cpu | None = None
    description: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def storages(self) -> tuple[Storage, ...]:
        """The memories, outermost first."""
        return tuple(node for node in self.nodes if isinstance(node, Storage))

    @property
    def fanouts(self) -> tuple[Fanout, ...]:
        """The fan-outs, outermost first."""
        return tuple(node for node in self.nodes if isinstance(node, Fanout))

    @property
    def compute(self) -> Compute:
        """The arithmetic level."""
        node = self.nodes[-1]
        assert isinstance(node, Compute)  # checked where files are read
        return node

    def instances(self, name: str, *, above: bool = False) -> int:
        """How many of the memory or compute called `name` the machine has; with `above`, of a fan-out's parent."""
        count = 1
        for node in self.nodes:
            if node.name == name and isinstance(node, Fanout) == above:
                return count
            count *= node.instances if isinstance(node, Fanout) else 1
        raise KeyError(name)
