"""How long a prediction takes: CPU milliseconds for each 200 kernels of some networks, once traced.

python benchmarks/speed.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.networks import FOLDER, read  # noqa: E402
from mmsim import gpu  # noqa: E402
from mmsim.arch import load  # noqa: E402

NETWORKS = ("densenet121_224_b12", "resnet34_224_b12", "vgg19_224_b12", "vit_large_patch16_384_384_b768")


def main() -> None:
    arch = load("rtx_2080_ti")
    for name in NETWORKS:
        graph = read(FOLDER / f"{name}.json.gz")
        graph.problems()  # part of tracing
        took = []
        for _ in range(5):
            start = time.process_time()
            found = gpu.network(graph, arch)
            took.append(time.process_time() - start)
        kernels = sum(kernel.count for layer in found.layers for kernel in layer.kernels)
        print(f"{name:32} {kernels:4} kernels {1e3 * min(took):5.1f} ms, {2e5 * min(took) / kernels:5.1f} ms for 200")


if __name__ == "__main__":
    main()
