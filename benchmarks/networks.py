"""Write the layer dumps of the public networks that were measured whole: benchmarks/networks/NAME.json.gz.

    python benchmarks/networks.py [NAME ...]

Each dump is at the batch that the tables of `validation.NETWORKS` name. Needs torchvision
0.28 and timm 1.0.31, which nothing else here does: the dumps are committed, so that the figures of docs/validation.md
can be recomputed without them. Weights are neither loaded nor computed.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
FOLDER = ROOT / "benchmarks" / "networks"


def path_of(row: dict[str, str]) -> Path:
    """The dump of one row of a table of networks."""
    return FOLDER / f"{row['model']}_{_edge(row)}_b{row['batch']}.json.gz"


def _edge(row: dict[str, str]) -> int:
    """The height of the input picture."""
    return int(row.get("input_size") or row["input"].split("x")[-1])


def read(path: Path) -> Any:
    """The graph in a dump."""
    from mmsim import layer_dump

    return layer_dump.from_record(json.loads(gzip.decompress(path.read_bytes())), file=path.name)


def build(row: dict[str, str]) -> Any:
    """The network of a row, in evaluation mode and without weights."""
    import torch

    with torch.device("meta"):
        if "input_size" not in row:
            import torchvision

            return torchvision.models.get_model(row["model"], weights=None).eval()
        import timm

        try:
            return timm.create_model(row["model"], img_size=_edge(row)).eval()
        except TypeError:  # a network that takes any size
            return timm.create_model(row["model"]).eval()


def write(row: dict[str, str]) -> int:
    """Trace one network at its measured batch; returns the bytes written."""
    import torch

    import mmsim
    from mmsim import layer_dump
    from mmsim.autocast import autocast

    inputs = (torch.empty(int(row["batch"]), 3, _edge(row), _edge(row), device="meta"),)
    network = build(row)
    graph = mmsim.trace(network, inputs, symbols=(), stages={"": "head"})
    if "input_size" in row:  # timm's tables are of autocast, with its own norms in half precision (--fast-norm)
        graph = autocast(
            graph, half={name for name, module in network.named_modules() if hasattr(module, "_fast_norm")}
        )
    record = layer_dump.to_record(graph)
    for layer in record["layers"]:
        layer.pop("source", None)
        layer.pop("module_path", None)
    path_of(row).parent.mkdir(exist_ok=True)
    data = gzip.compress(json.dumps(record, separators=(",", ":")).encode(), 9, mtime=0)
    path_of(row).write_bytes(data)
    return len(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    from benchmarks.validation import MEASURED, NETWORKS

    rows = {
        path_of(row): row
        for n in NETWORKS
        for row in csv.DictReader((MEASURED / f"{n[0]}.csv").read_text().splitlines())
    }
    for path, row in rows.items():
        if (arguments.names and row["model"] not in arguments.names) or (not arguments.names and path.exists()):
            continue
        try:
            print(path.name, write(row), flush=True)
        except Exception as error:  # one network that cannot be traced says so and the others follow
            print(path.name, f"{type(error).__name__}: {str(error)[:200]}", flush=True)


if __name__ == "__main__":
    main()
