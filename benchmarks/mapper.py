"""The mapper measured: six layers beside the peers, mappings judged per second, a whole network, growth.

    python benchmarks/mapper.py E168.arch.yaml E168.ERT.yaml

Peers' figures (EDP in pJ x cycle, CPU seconds of one process) are of the same array with the same
energies, each tool's best mapping: AccelForge 1.0.467, Timeloop 4cf6d4c, ZigZag 3.9.1.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from mmsim.arch import load
from mmsim.arch.model import Arch, Compute, Constraints, Fanout, Storage
from mmsim.arch.tables import read_ert, with_tables
from mmsim.nest.mapper_bound import bound, complete
from mmsim.nest.mapper_count import finish
from mmsim.nest.mapper_grow import growths
from mmsim.nest.mapper_plan import Plan
from mmsim.nest.mapper_rows import join
from mmsim.nest.mapper_run import Run
from mmsim.nest.mapper_step import loop, root, spread
from mmsim.nest.mapspace import Mapspace
from mmsim.nest.search import best_mapping
from mmsim.problem import DataSpace, Problem, Rank


def rank(*terms: str) -> Rank:
    return tuple((term, 1) for term in terms)


def matmul(m: int, n: int, k: int) -> Problem:
    spaces = (
        DataSpace("Inputs", (rank("M"), rank("K")), 8),
        DataSpace("Weights", (rank("K"), rank("N")), 8),
        DataSpace("Outputs", (rank("M"), rank("N")), 8, is_output=True),
    )
    return Problem("mac", (("M", m), ("N", n), ("K", k)), spaces)


def convolution(c: int, m: int, p: int, r: int, n: int = 1) -> Problem:
    spaces = (
        DataSpace("Weights", (rank("C"), rank("M"), rank("R"), rank("S")), 8),
        DataSpace("Inputs", (rank("N"), rank("C"), rank("P", "R"), rank("Q", "S")), 8),
        DataSpace("Outputs", (rank("N"), rank("M"), rank("P"), rank("Q")), 8, is_output=True),
    )
    return Problem("mac", (("N", n), ("C", c), ("M", m), ("P", p), ("Q", p), ("R", r), ("S", r)), spaces)


def depthwise(c: int, p: int, r: int) -> Problem:
    spaces = (
        DataSpace("Weights", (rank("C"), rank("R"), rank("S")), 8),
        DataSpace("Inputs", (rank("C"), rank("P", "R"), rank("Q", "S")), 8),
        DataSpace("Outputs", (rank("C"), rank("P"), rank("Q")), 8, is_output=True),
    )
    return Problem("mac", (("C", c), ("P", p), ("Q", p), ("R", r), ("S", r)), spaces)


def grouped(g: int, c: int, m: int, p: int, r: int, n: int) -> Problem:
    spaces = (
        DataSpace("Weights", (rank("G"), rank("C"), rank("M"), rank("R"), rank("S")), 8),
        DataSpace("Inputs", (rank("N"), rank("G"), rank("C"), rank("P", "R"), rank("Q", "S")), 8),
        DataSpace("Outputs", (rank("N"), rank("G"), rank("M"), rank("P"), rank("Q")), 8, is_output=True),
    )
    dims = (("N", n), ("G", g), ("C", c), ("M", m), ("P", p), ("Q", p), ("R", r), ("S", r))
    return Problem("mac", dims, spaces)


LAYERS = {  # the peers' best: EDP, tool, CPU seconds
    "gemm512": (matmul(512, 512, 512), 9.77e14, "AccelForge", 11.6),
    "bert_ffn": (matmul(128, 3072, 768), 5.60e15, "AccelForge", 15.3),
    "alex2": (convolution(48, 256, 27, 5), 3.03e15, "Timeloop", 400.0),
    "vgg3_2": (convolution(256, 256, 56, 3), 2.02e17, "Timeloop", 400.0),
    "res2x": (convolution(64, 64, 56, 3), 5.34e14, "Timeloop", 90.0),
    "dw112": (depthwise(32, 112, 3), 2.068e13, "ZigZag's loops, counted as Timeloop does", 9.2),
}
VGG16 = [(3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56)]
VGG16 += [(256, 512, 28), (512, 512, 28), (512, 512, 14)]
MM_IMDB = [convolution(c, m, p, 3) for c, m, p in VGG16]
MM_IMDB += [matmul(1, n, k) for n, k in ((4096, 25088), (4096, 4096), (768, 768), (23, 768))]
MM_IMDB += [matmul(128, n, k) for n, k in ((768, 128), (768, 768), (3072, 768), (768, 3072))]


def peers(arch: Arch) -> None:
    """The six layers: EDP over the peer's best, proof, seconds."""
    print(f"{'layer':10}{'EDP':>12}{'of peer':>9}  {'proof':22}{'judged':>10}{'CPU s':>7}  peer")
    for name, (problem, reach, tool, seconds) in LAYERS.items():
        found = best_mapping(problem, arch)
        proof = "optimal" if found.proof == "optimal" else f"no less than {found.lower_bound / found.score:.3f} of it"
        print(
            f"{name:10}{found.score:12.4g}{found.score / reach:9.3f}  {proof:22}{found.judged_mappings:10,}"
            f"{found.cpu_seconds:7.2f}  {tool}, {seconds:g} s"
        )


def cold(files: list[str]) -> None:
    """CPU seconds of a new process that imports, reads and maps one layer."""
    for name in LAYERS:
        before = time.process_time(), _children()
        subprocess.run([sys.executable, __file__, *files, "--only", name], check=True, stdout=subprocess.DEVNULL)
        print(f"cold process, {name:10}{_children() - before[1]:6.2f} CPU s")


def _children() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def batched(arch: Arch, problem: Problem, width: int = 2000) -> None:
    """Complete mappings evaluated one by one in the batched path: tiles and orders of the last two memories."""
    plan = Plan(space := Mapspace(problem, arch), next(iter(space.keeps())))
    rows = root(plan)
    draw = np.random.default_rng(0)
    for slot in plan.slots[:-2]:
        bound(plan, rows)
        made = list(growths(Run(("edp",)), plan, rows))
        i, factor = np.concatenate([m.i for m in made]), np.concatenate([m.factors for m in made], axis=1)
        some = np.sort(draw.permutation(len(i))[:width])
        rows = join((spread if slot.spatial else loop)(plan, rows, i[some], factor[:, some]))
        rows = rows.take(np.sort(draw.permutation(len(rows))[:width]))
    bound(plan, rows)
    start, made = time.process_time(), 0
    for first in range(0, len(rows), 100):
        part = rows.take(np.arange(first, min(first + 100, len(rows))))
        for growth in growths(Run(("edp",)), plan, part):
            for inner in loop(plan, part, growth.i, growth.factors):
                for outer in loop(plan, inner, np.arange(len(inner)), inner.left):
                    finish(plan, outer)
                    complete(plan, outer)
                    made += len(outer)
        if made > 2_000_000:
            break
    seconds = time.process_time() - start
    print(f"evaluated one by one: {made:,} mappings in {seconds:.2f} s, {made / seconds:,.0f} a second")


def network(arch: Arch) -> None:
    """All distinct shapes of VGG-16 and ALBERT as in MM-IMDB."""
    start = time.process_time()
    judged = sum(best_mapping(problem, arch).judged_mappings for problem in MM_IMDB)
    seconds = time.process_time() - start
    print(f"MM-IMDB, {len(MM_IMDB)} shapes: {seconds:.1f} CPU s, {judged / seconds:,.0f} mappings judged a second")


def growth(arch: Arch) -> None:
    """Seconds against problem size, levels and dimensions."""
    for size in (64, 128, 256, 512, 1024, 2048, 4096, 8192):
        _grown(f"matmul {size}", matmul(size, size, size), arch)
    for levels in range(2, 6):
        _grown(f"{levels} memories", matmul(512, 512, 512), _tower(levels))
    shapes = {
        3: matmul(64, 64, 64),
        4: convolution(64, 64, 56, 1),
        5: depthwise(64, 56, 3),
        6: convolution(64, 64, 56, 3),
        7: convolution(64, 64, 56, 3, n=4),
        8: grouped(32, 4, 4, 56, 3, n=4),
    }
    for dims, problem in shapes.items():
        _grown(f"{dims} dimensions", problem, arch)


def _grown(name: str, problem: Problem, arch: Arch) -> None:
    found = best_mapping(problem, arch)
    gap = found.lower_bound / found.score
    print(f"{name:16}{found.cpu_seconds:7.2f} CPU s {found.judged_mappings:11,} judged  {found.proof} {gap:.3f}")


def _tower(levels: int) -> Arch:
    """So many memories, each 16 times smaller than the one around it, all keeping everything; 8 x 8 in the middle."""
    every = Constraints(keep=("Inputs", "Weights", "Outputs"))
    sizes = [None, *(2**18 // 16**i for i in range(levels - 1))]
    nodes: list[Storage | Fanout] = [
        Storage(f"m{i}", "SRAM", 8, size, constraints=every) for i, size in enumerate(sizes)
    ]
    nodes.insert(len(nodes) - 1, Fanout("array", 8, 8))
    energy = {f"m{i}": {"read": 200.0 / 6**i, "write": 200.0 / 6**i, "update": 200.0 / 6**i} for i in range(levels)}
    return Arch("tower", (*nodes, Compute("mac", "intmac", 8)), 1e-9, 45, {**energy, "mac": {"compute": 1.0}})


def main() -> None:
    arch_file, ert_file, *rest = sys.argv[1:]
    arch = with_tables(load(Path(arch_file)), read_ert(ert_file), None)
    if rest:
        print(best_mapping(LAYERS[rest[1]][0], arch).score)
        return
    peers(arch)
    cold([arch_file, ert_file])
    batched(arch, LAYERS["gemm512"][0])
    batched(arch, LAYERS["res2x"][0])
    network(arch)
    growth(arch)


if __name__ == "__main__":
    main()
