"""What a loop nest cannot say of a GPU: formats and their rates, occupancy limits, launch, host, memory curve, power.

Sizes and bandwidths of DRAM, L2 and shared memory, the number of SMs and the clock stand in the
architecture's levels; a figure stands once. Every field below needs an entry in `sources`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from mmsim.errors import InputError

Generation: TypeAlias = Literal["maxwell", "pascal", "volta", "turing", "ampere", "ada", "hopper"]


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The processor that feeds the GPU. Times are of PyTorch's eager mode."""

    dispatch_s: float  # one plain op through Python, the dispatcher and the driver, alone between two events
    launch_s: float  # from the op's call to its kernel's start on an idle GPU
    pipelined_dispatch_s: float  # the same op within a running stream of ops, nothing recorded
    sync_s: float  # torch.cuda.synchronize after the last kernel
    copy_bytes_per_s: float  # host to device, pageable memory
    copy_latency_s: float
    unified_memory: bool = False  # host and device share the DRAM (Jetson)


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Board power (a Jetson's: the module's input, its CPU included) while a process holds the device.

    The energies of traffic stand in the levels.
    `idle_w` flows as long as there is a CUDA context, which keeps clocks up, `active_w` while kernels fill the SMs,
    whatever they do: schedulers, clock trees, warps that wait.
    """

    limit_w: float
    idle_w: float
    active_w: float
    burst_s: float  # a kernel this long, repeated, still runs at full clock: the power regulator's time constant
    gemm_fma_pj: dict[str, float]  # of one multiply-accumulate in a tile of 128 x 128: float32, tensor.float16, ...

    @property
    def headroom_w(self) -> float:
        """What the limit leaves to arithmetic and traffic."""
        return self.limit_w - self.idle_w - self.active_w


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Physical constants of a GPU; each has its source in the architecture file.

    `cuda_fma` and `tensor_fma` give multiply-accumulates per clock and SM by format, dense. The
    `*_share` constants are the part of the data sheet's peak that long, well-shaped kernels of the
    vendor's library sustain; above 1 on boards whose clock boosts beyond the data sheet's.
    """

    generation: Generation
    compute_capability: float
    cuda_fma: dict[str, float]
    tensor_fma: dict[str, float]
    warps_per_sm: int
    blocks_per_sm: int
    cuda_share: float  # in tiles of 128 x 128
    tensor_share: float
    dram_share: float
    l2_resident_bytes: float  # what survives in L2 between kernels: one partition on A100 and H100
    memory_latency_s: float  # of a load that misses L2
    launch_s: float  # kernel floor inside a CUDA graph: launch, first load, drain
    gap_s: float  # between dependent kernels on one stream
    host: Host
    power: Power
    sources: dict[str, str]

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if name not in ("sources", "generation", "compute_capability") and not self.sources.get(name, "").strip():
                raise InputError(f"no source for {name}", field="sources")
        if "float32" not in self.power.gemm_fma_pj:
            raise InputError("needs float32", field="power.gemm_fma_pj")
        if min(self.power.idle_w, self.power.active_w) < 0 or self.power.headroom_w <= 0:
            raise InputError("idle_w and active_w must be at least 0 and leave something of it", field="power.limit_w")
        for name in ("warps_per_sm", "l2_resident_bytes", "memory_latency_s", "launch_s", "gap_s"):
            if getattr(self, name) <= 0:
                raise InputError("must be positive", field=name)
        for name in ("cuda_share", "tensor_share", "dram_share"):
            if not 0 < getattr(self, name) <= 1.2:
                raise InputError("must be between 0 and 1.2", field=name)
        if "float32" not in self.cuda_fma:
            raise InputError("needs float32", field="cuda_fma")
