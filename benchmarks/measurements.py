"""Everything there is to measure on a GPU, into measurements/NAME: kernel tables first, then all networks.

    python benchmarks/measurements.py h200 --within 420 --pack results

The same command goes on where it stopped. It runs from a checkout, installed or not. `--pack` also puts what the
folder then holds into FOLDER/NAME.tar.gz, for a machine that is given back.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GRID = "--device cuda --dtype float32 --dtype bfloat16 --mode eager --mode graph"
KERNELS = f"measure --kernels {GRID}"
NETWORKS = f"measure --all {GRID} --batch 1 --batch 40 --batch 400 --counters --streams --repeats 20 --seconds 0.4"


@contextmanager
def importable() -> Iterator[dict[str, str]]:
    """The environment in which ``python -m mmsim`` is this checkout: two of its packages lie beside mmsim/."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "mmsim"
        package.mkdir()
        for part in (ROOT / "mmsim").iterdir():
            (package / part.name).symlink_to(part)
        for name in ("workloads", "arch_specs"):
            (package / name).symlink_to(ROOT / name)
        before = os.environ.get("PYTHONPATH")
        yield os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (folder, before)))}


def main() -> int:
    """Run what is left, pack, and answer with the last exit status that is not 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="folder below measurements/, such as h200")
    parser.add_argument("--within", type=float, default=420.0, help="begin nothing after so many seconds (%(default)s)")
    parser.add_argument("--pack", type=Path, help="folder for NAME.tar.gz")
    asked = parser.parse_args()
    folder, start, failed = ROOT / "measurements" / asked.name, time.monotonic(), 0
    with importable() as environment:
        for line, where in ((KERNELS, folder / "kernels"), (NETWORKS, folder)):
            left = max(0.0, asked.within - (time.monotonic() - start))
            command = [sys.executable, "-m", "mmsim", *line.split(), "--within", f"{left:.0f}", "-o", str(where)]
            failed = subprocess.run(command, env=environment, cwd="/", check=False).returncode or failed
            if asked.pack is not None and folder.exists():
                pack(folder, asked.pack / f"{asked.name}.tar.gz")
    print(f"{time.monotonic() - start:.0f} s; {sum(1 for _ in folder.rglob('*.json'))} files in {folder}")
    return failed


def pack(folder: Path, archive: Path) -> None:
    """The whole folder as one file, replaced in one step."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    beside = archive.with_suffix(".new")
    with tarfile.open(beside, "w:gz") as out:
        out.add(folder, arcname=folder.name)
    beside.replace(archive)


if __name__ == "__main__":
    sys.exit(main())
