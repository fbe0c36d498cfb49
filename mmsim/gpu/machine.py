"""The machine that the kernel models see: an architecture's levels and device part as plain figures."""

from __future__ import annotations

from dataclasses import dataclass, replace

from msgspec import structs

from mmsim.arch.device import Device
from mmsim.arch.model import Arch, Storage
from mmsim.errors import InputError


@dataclass(frozen=True)
class Machine:
    """Bandwidths in bytes/s, sizes in bytes, times in s; `device` holds what stands there already."""

    name: str
    device: Device
    sms: int
    clock_hz: float
    dram_bytes: float
    dram_bytes_per_s: float  # what a long stream reaches
    dram_peak_bytes_per_s: float
    l2_bytes: float
    l2_bytes_per_s: float
    shared_bytes: float  # of one SM
    shared_bytes_per_s: float  # of one SM
    dram_pj_per_byte: float
    l2_pj_per_byte: float
    op_pj: float  # of one float32 operation outside products, registers included

    def fma_per_clock(self, dtype: str, *, tensor: bool) -> float:
        """Multiply-accumulates per clock and SM; a format without its own rate runs at float32's."""
        rates = self.device.tensor_fma if tensor else self.device.cuda_fma
        return rates.get(dtype, 0.0 if tensor else self.device.cuda_fma["float32"])

    def product_fma_per_clock(self, dtype: str) -> float:
        """The rate of a library's products: half precision accumulates in float32, so that without tensor
        cores it runs at float32's rate, whatever the CUDA cores could do (cuDNN's pseudo-half)."""
        if self.has_tensor(dtype):
            return self.device.tensor_fma[dtype]
        return self.fma_per_clock("float32" if dtype in ("float16", "bfloat16") else dtype, tensor=False)

    def without_tensor_cores(self) -> Machine:
        """For kernels that run on the CUDA cores although the format could run elsewhere."""
        return replace(self, device=structs.replace(self.device, tensor_fma={}))

    def has_tensor(self, dtype: str) -> bool:
        """Whether tensor cores take this format."""
        return self.device.tensor_fma.get(dtype, 0.0) > 0


def machine(arch: Arch) -> Machine:
    """The figures of a GPU. Raises `InputError` for an architecture without a ``device`` part.

    The levels are found by name: the outermost memory, ``L2``, the fan-out ``SM`` and ``shared``.
    """
    device = arch.device
    if device is None:
        raise InputError("is not a GPU: it has no 'device' part", field=arch.name)
    dram, l2, shared = arch.storages[0], _storage(arch, "L2"), _storage(arch, "shared")
    sms = next((node.instances for node in arch.fanouts if node.name == "SM"), None)
    if sms is None:
        raise InputError("a GPU needs a fan-out called 'SM'", field=arch.name)
    clock = 1 / arch.cycle_s
    peak = _bandwidth(dram, clock, arch)
    return Machine(
        name=arch.name,
        device=device,
        sms=sms,
        clock_hz=clock,
        dram_bytes=_bytes(dram, arch),
        dram_bytes_per_s=peak * device.dram_share,
        dram_peak_bytes_per_s=peak,
        l2_bytes=_bytes(l2, arch),
        l2_bytes_per_s=_bandwidth(l2, clock, arch),
        shared_bytes=_bytes(shared, arch),
        shared_bytes_per_s=_bandwidth(shared, clock, arch),
        dram_pj_per_byte=_energy(dram, arch),
        l2_pj_per_byte=_energy(l2, arch),
        op_pj=arch.energy_pj.get(arch.compute.name, {}).get("compute", 0.0),
    )


def _storage(arch: Arch, name: str) -> Storage:
    for storage in arch.storages:
        if storage.name == name:
            return storage
    raise InputError(f"a GPU needs a memory called {name!r}", field=arch.name)


def _bytes(storage: Storage, arch: Arch) -> float:
    if storage.capacity_words is None:
        raise InputError("a GPU's memory needs a size", field=f"{arch.name}.{storage.name}.size_bytes")
    return storage.capacity_words * storage.word_bits / 8


def _bandwidth(storage: Storage, clock_hz: float, arch: Arch) -> float:
    words = storage.shared_words_per_cycle or storage.read_words_per_cycle
    if words is None:
        raise InputError("a GPU's memory needs a bandwidth", field=f"{arch.name}.{storage.name}.bandwidth_bytes_per_s")
    return words * storage.word_bits / 8 * clock_hz


def _energy(storage: Storage, arch: Arch) -> float:
    """pJ per byte read; the levels give it per access to a row."""
    row_bytes = storage.word_bits * storage.block_size * storage.cluster_size / 8
    return arch.energy_pj.get(storage.name, {}).get("read", 0.0) / row_bytes
