"""Energy of a kernel: what it moves and computes, and what idles meanwhile; board level, as NVML would report it."""

from __future__ import annotations

from mmsim.gpu.kernel import Kernel
from mmsim.gpu.machine import Machine


def dynamic(kernel: Kernel, machine: Machine) -> float:
    """Joules of all launches of a kernel above idling.

    A product's multiply-accumulates carry the shared-memory, register and instruction energy of its
    inner loop (board power at the limit over the rate sustained there); other kernels pay for each
    operation and for each byte that passes L2.
    """
    pj = kernel.dram_bytes * machine.dram_pj_per_byte + kernel.l2_bytes * machine.l2_pj_per_byte
    if kernel.kind in ("Gemm", "Conv"):
        fma = machine.device.power.gemm_fma_pj
        pj += kernel.flops / 2 * fma.get(kernel.work, fma["float32"])
    else:
        pj += kernel.flops * machine.op_pj
    limit = (machine.device.power.limit_w - machine.device.power.idle_w) * kernel.device_s
    return kernel.count * min(pj * 1e-12, limit)
