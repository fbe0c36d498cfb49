"""Energy of a kernel: what it moves and computes, and what runs meanwhile; board level, as NVML would report it."""

from __future__ import annotations

from mmsim.gpu.kernel import Kernel
from mmsim.gpu.machine import Machine


def energy(kernel: Kernel, machine: Machine) -> float:
    """Joules of all launches of a kernel above idling: traffic, arithmetic and the SMs that it keeps busy.

    A product's multiply-accumulates (`Kernel.tile_macs`) carry the shared-memory, register and instruction
    energy of its inner loop; other kernels pay for each operation. Both pay for each byte that passes L2 and
    DRAM. No kernel draws more than the limit leaves above idling: its clock falls instead (`products.clock_share`).
    """
    power = machine.device.power
    pj = kernel.dram_bytes * machine.dram_pj_per_byte + kernel.l2_bytes * machine.l2_pj_per_byte
    if kernel.tile_macs:
        pj += kernel.tile_macs * power.gemm_fma_pj.get(kernel.work, power.gemm_fma_pj["float32"])
    else:
        pj += kernel.flops * machine.op_pj
    busy = power.active_w * min(1.0, kernel.blocks / machine.sms)
    return kernel.count * min(pj * 1e-12 + busy * kernel.device_s, (power.limit_w - power.idle_w) * kernel.device_s)
