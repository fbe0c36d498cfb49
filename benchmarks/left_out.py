"""A GPU that the constants never saw: its tables predicted from its data sheet and what other GPUs taught.

`validation.py --left-out` runs it. For each GPU with tables, the constants that were fitted on it are fitted again on
the others, or follow the rules by which a new architecture file is written. The host's constants stay: a data sheet
does not say what host a GPU is in.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.fit import GROUPS, Constants, Group, fit, restored  # noqa: E402
from benchmarks.validation import NETWORKS, TABLES, fitted, network_errors  # noqa: E402
from mmsim import validate  # noqa: E402
from mmsim.gpu import attention, convolution, library  # noqa: E402

EVALUATIONS = 250
GEFORCE_BOOST, GEFORCE_RATED = 1824 / 1545, 1824 / 1635
"""The clock at which TechPowerUp saw the RTX 2080 Ti Founders Edition run over the data sheet's boost of the reference
board, and over that of the Founders Edition itself: what a GeForce board exceeds its own sheet by."""
NODE_12NM_PJ = 21.1
"""Picojoules of a float32 multiply-accumulate by rule: the 167 W that the RTX 2080 Ti's limit leaves its products, over
its rate at 1824 MHz."""

WAITING = 0.5
"""Of a row's clocks, what other warps hide: boards that all have 64 warps an SM do not say; between none and all."""


@dataclass(frozen=True)
class Left:
    """A GPU left out: groups fitted again on what is left, device constants by rule, libraries taken over.

    `share_of` is the GPU whose fitted `cuda_share` is taken over: one whose shared memory is as wide for each lane
    (V100 and A100; for the T4 it is the RTX 2080 Ti's, at the clock that this runs at). `tensor_share` is that of
    another data-center GPU. The T4's clock falls with a kernel's length: what depends on that in batched products
    comes from the A100.
    """

    arch: str
    known: bool  # whether its generation's kernels are known from another GPU
    taught_by: str
    share_of: str = ""
    refit: tuple[str, ...] = ()
    rules: tuple[tuple[str, float], ...] = ()
    takes_over: tuple[tuple[str, library.Library], ...] = ()


LEFT = (
    Left("t4", True, "V100, A100, 2080 Ti", "", ("linear", "conv", "softmax"),
         (("t4.cuda_share", 0.95 / GEFORCE_BOOST), ("t4.power.burst_s", 1e-3),
          ("t4.power.gemm_fma_pj[float32]", NODE_12NM_PJ), ("validate.ZEROS", 0.5),
          ("vector.BLOCK_SOFTMAX.waiting", WAITING)),
         (("TURING_BATCHED", library.CUDA_BATCHED),)),
    Left("v100_pcie", True, "T4, A100", "a100_pcie_40gb", ("linear", "conv", "softmax", "layer_norm"),
         (("v100_pcie.power.gemm_fma_pj[float32]", NODE_12NM_PJ), ("v100_pcie.power.burst_s", 1e-3)),
         (("CUDA_BATCHED", replace(library.TURING_BATCHED, k_clocks=library.AMPERE_BATCHED.k_clocks)),)),
    Left("a100_pcie_40gb", False, "V100 and T4", "v100_pcie", ("linear", "layer_norm"),
         takes_over=(("AMPERE_BATCHED", library.CUDA_BATCHED),)),
    Left("a100_sxm_80gb", False, "H100", "", (),
         (("a100_sxm_80gb.tensor_share", 0.91), ("a100_sxm_80gb.power.burst_s", 1e-3)),
         (("TENSOR", replace(library.HOPPER, cluster=1, hides_output=False)),)),
    Left("h100_sxm", False, "A100", "", (),
         (("h100_sxm.tensor_share", 1.03), ("h100_sxm.dram_share", 0.87), ("h100_sxm.gap_s", 1e-6),
          ("h100_sxm.power.burst_s", 1e-3)),
         (("HOPPER", library.TENSOR),)),
)  # fmt: skip
NETWORK_RULES = {
    "rtx_2080_ti": ("cuda_share", 0.76 * GEFORCE_BOOST),
    "rtx_3090": ("tensor_share", 0.97 * GEFORCE_RATED),
}
"""GPUs whose only fitted figure came from half of the networks: what the rule would have said."""


def left_out(left: Left, measured: Path) -> list[dict[str, Any]]:
    """The errors of one GPU's tables under constants that never saw them."""
    with restored():
        constants = Constants()
        for path, value in left.rules:
            constants.set(path, value)
        for name, taken in left.takes_over:
            setattr(library, name, taken)
        if left.arch == "h100_sxm":
            attention.HOPPER = attention.OLDER
        for name in left.refit:
            fit(_without(GROUPS[name], left), measured, constants, EVALUATIONS)
        if left.share_of:
            constants.set(f"{left.arch}.cuda_share", constants.get(f"{left.share_of}.cuda_share"))
        return [
            _score(table, measured, constants) for table in TABLES if table[3] == left.arch and table[1] != "vector"
        ]


def _without(group: Group, left: Left) -> Group:
    tables = tuple(table for table in group.tables if not table[0].endswith(left.arch))
    known = {path for path, _ in left.rules} | {"validate.ZEROS", "host.ALONE", "host.UNFUSED"}
    return Group(tables, tuple(c for c in group.constants if not c.startswith(left.arch) and c not in known))


def _score(table: tuple[Any, ...], measured: Path, constants: Constants) -> dict[str, Any]:
    file, op, dtype, arch, mode, *_ = table
    pairs = validate.kernels(measured / f"{file}.csv", op, dtype, constants.arch(arch), mode)
    unseen = [pair for pair, seen in zip(pairs, fitted(len(pairs)), strict=True) if not seen]
    return {"op": op, "dtype": dtype, "arch": arch} | asdict(validate.errors(unseen))


def networks(measured: Path) -> list[dict[str, Any]]:
    """The same for the GPUs that are known by networks."""
    found = []
    for entry in NETWORKS:
        arch, dtype = entry[2], entry[3]
        if arch in NETWORK_RULES and dtype != "float16":
            constants = Constants()
            field, value = NETWORK_RULES[arch]
            constants.set(f"{arch}.{field}", value)
            with restored():
                if arch == "rtx_3090":
                    ampere = replace(
                        convolution.IMPLICIT["ampere"], efficiency=convolution.IMPLICIT["hopper"].efficiency
                    )
                    convolution.IMPLICIT = convolution.IMPLICIT | {"ampere": ampere}
                errors, _ = network_errors(entry, measured, constants.arch(arch))
            found.append(
                {
                    "op": "networks",
                    "dtype": dtype or "AMP float16",
                    "arch": arch,
                    "known": True,
                    "taught_by": "T4" if arch == "rtx_2080_ti" else "A100 and H100",
                }
                | errors
            )
    return found


def all_left_out(measured: Path) -> list[dict[str, Any]]:
    """Every GPU in turn."""
    rows = [
        row | {"known": left.known, "taught_by": left.taught_by} for left in LEFT for row in left_out(left, measured)
    ]
    return rows + networks(measured)
