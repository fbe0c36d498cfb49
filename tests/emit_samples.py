"""Problems and architectures, small but with every trait that a foreign format must be told."""

from __future__ import annotations

from mmsim.arch.model import Arch, Compute, Constraints, Fanout, LoopConstraints, Storage
from mmsim.problem import DataSpace, Problem, Rank


def ranks(*dims: str) -> tuple[Rank, ...]:
    return tuple(((dim, 1),) for dim in dims)


def convolution(stride: int = 1, dilation: int = 1, bits: int = 16) -> Problem:
    """64 filters of 3x3 over 8 channels, 14x14 outputs."""
    return Problem(
        "mac",
        (("N", 1), ("C", 8), ("M", 64), ("P", 14), ("Q", 14), ("R", 3), ("S", 3)),
        (
            DataSpace("Weights", ranks("M", "C", "R", "S"), bits),
            DataSpace(
                "Inputs",
                (*ranks("N", "C"), (("P", stride), ("R", dilation)), (("Q", stride), ("S", dilation))),
                bits,
            ),
            DataSpace("Outputs", ranks("N", "M", "P", "Q"), bits, is_output=True),
        ),
        family="conv",
    )


def depthwise() -> Problem:
    """16 channels of 28x28, each filtered by its own 3x3 kernel with stride 2."""
    return Problem(
        "mac",
        (("N", 1), ("G", 16), ("P", 14), ("Q", 14), ("R", 3), ("S", 3)),
        (
            DataSpace("Weights", ranks("G", "R", "S"), 8),
            DataSpace("Inputs", (*ranks("N", "G"), (("P", 2), ("R", 1)), (("Q", 2), ("S", 1))), 8),
            DataSpace("Outputs", ranks("N", "G", "P", "Q"), 8, is_output=True),
        ),
        family="conv",
    )


def product(m: int = 32, n: int = 48, k: int = 64, batch: int = 1, bits: int = 16) -> Problem:
    """A (batched) matrix product; without a batch its weights are shared."""
    b = ("B",) if batch > 1 else ()
    return Problem(
        "mac",
        (*((("B", batch),) if batch > 1 else ()), ("M", m), ("N", n), ("K", k)),
        (
            DataSpace("Weights", ranks(*b, "K", "N"), bits),
            DataSpace("Inputs", ranks(*b, "M", "K"), bits),
            DataSpace("Outputs", ranks(*b, "M", "N"), bits, is_output=True),
        ),
        family="matmul",
    )


def softmax() -> Problem:
    return Problem(
        "vector",
        (("M", 32), ("N", 48)),
        (DataSpace("Inputs", ranks("M", "N"), 16), DataSpace("Outputs", ranks("M", "N"), 16, is_output=True)),
        family="softmax",
        ops_per_point=5,
    )


def array() -> Arch:
    """A 14 x 12 array with a buffer in front and three scratchpads in each element, as Eyeriss has them."""

    def spad(name: str, words: int, kept: str) -> Storage:
        others = tuple(s for s in ("Inputs", "Weights", "Outputs") if s != kept)
        return Storage(name, "regfile", 16, words, constraints=Constraints(keep=(kept,), bypass=others))

    return Arch(
        name="array",
        nodes=(
            Storage("DRAM", "DRAM", 16, block_size=4, shared_words_per_cycle=4, attributes={"type": "LPDDR4"}),
            Storage(
                "glb", "SRAM", 16, 2**16, block_size=4, read_words_per_cycle=16, write_words_per_cycle=8,
                attributes={"n_banks": 32}, constraints=Constraints(keep=("Inputs", "Outputs"), bypass=("Weights",)),
            ),
            Fanout(
                "PE", 14, 12, constraints=Constraints(spatial=LoopConstraints(factors=(("N", "=", 1), ("C", "<=", 4)))),
            ),
            spad("ifmap_spad", 12, "Inputs"),
            spad("weights_spad", 192, "Weights"),
            spad("psum_spad", 16, "Outputs"),
            Compute("mac", "intmac", 16, attributes={"multiplier_width": 16, "adder_width": 32}),
        ),
        cycle_s=5e-9,
        technology_nm=45,
        energy_pj={
            "DRAM": {"read": 512.0, "write": 512.0, "update": 512.0, "leak": 0.0},
            "glb": {"read": 28.0, "write": 29.0, "update": 29.0, "leak": 0.005},
            **{
                name: {"read": 0.2, "write": 0.3, "update": 0.3, "leak": 0.0}
                for name in ("ifmap_spad", "weights_spad", "psum_spad")
            },
            "mac": {"compute": 1.1, "leak": 0.008},
        },
        area_um2={"glb": 530829.0, "mac": 931.598},
        description="An Eyeriss-like array for tests.",
    )  # fmt: skip


def gpu_like() -> Arch:
    """Nested fan-outs, a level whose own instances fan out, double buffering and fractional bandwidth."""
    return Arch(
        name="gpu-like 2",
        nodes=(
            Storage("DRAM", "DRAM", 16, block_size=32, shared_words_per_cycle=64.5, attributes={"type": "HBM2"}),
            Storage("L2", "SRAM", 16, 2**19, block_size=32, shared_words_per_cycle=256, multiple_buffering=2),
            Fanout("SM", 16),
            Storage("SMEM", "SRAM", 16, 2**15, block_size=64, read_words_per_cycle=64, write_words_per_cycle=64),
            Fanout("RF", 4),
            Storage("RF", "regfile", 16, 2**15, block_size=16),
            Fanout("lane", 1, 32),
            Compute("mac", "fpmac", 16),
        ),
        cycle_s=1e-9,
        technology_nm=45,
    )
