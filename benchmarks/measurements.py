"""Everything there is to measure on a GPU, into measurements/NAME: tables of kernels, then all networks.

    python benchmarks/measurements.py h200 --within 420 --pack results

The same command goes on where it stopped. It runs from a checkout, installed or not. What this Python lacks may lie in
a folder of wheels (`--wheels`). `--pack` also puts what the folder then holds into FOLDER/NAME.tar.gz, for a machine
that is given back; `--rehearsal` runs one small network on the CPU instead.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GRID = "--device cuda --dtype float32 --dtype bfloat16 --mode eager --mode graph"
KERNELS = f"measure --kernels {GRID}"
NETWORKS = f"measure --all {GRID} --batch 1 --batch 40 --batch 400 --counters --streams --repeats 20 --seconds 0.4"
REHEARSAL = ("measure --kernels", "measure --all av_mnist --threads 1 --repeats 3 --seconds 0.1")
NEEDED = {
    "torch": "torch", "transformers": "transformers", "numpy": "numpy", "networkx": "networkx", "sympy": "sympy",
    "yaml": "pyyaml", "msgspec": "msgspec", "click": "click", "rich": "rich",
}  # fmt: skip
"""Module -> the package that has it."""
KERNELS_SHARE = 1 / 3  # of the time, at most: the networks are worth more when a machine is given back early
GRACE_S = 150.0  # for the run that is underway when the time is over; then it is ended


@contextmanager
def importable(wheels: Path | None) -> Iterator[str]:
    """The path on which this checkout is ``mmsim``, two of its packages lie beside mmsim/; and the wheels unpacked."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "mmsim"
        package.mkdir()
        for part in (ROOT / "mmsim").iterdir():
            (package / part.name).symlink_to(part)
        for name in ("workloads", "arch_specs"):
            (package / name).symlink_to(ROOT / name)
        for wheel in sorted(wheels.glob("*.whl")) if wheels is not None else ():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        yield os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))


def missing(path: str) -> list[str]:
    """The packages that this Python does not find."""
    where = [*path.split(os.pathsep), *sys.path]
    return [package for module, package in NEEDED.items() if PathFinder.find_spec(module, where) is None]


def how_to_carry(packages: list[str]) -> str:
    """What to type on a machine with a network, for the Python of this one."""
    version, machine = ".".join(platform.python_version_tuple()[:2]), platform.machine()
    platforms = " ".join(f"--platform manylinux{name}_{machine}" for name in ("_2_28", "_2_17", "2014"))
    return (
        f"this Python lacks {', '.join(packages)}. Where there is a network: python -m pip download --no-deps "
        f"--only-binary=:all: --python-version {version} {platforms} -d wheels {' '.join(packages)}; "
        "then carry the folder here and add --wheels wheels"
    )


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="folder below measurements/, such as h200")
    parser.add_argument("--within", type=float, default=420.0, help="begin nothing after so many seconds (%(default)s)")
    parser.add_argument("--pack", type=Path, help="folder for NAME.tar.gz")
    parser.add_argument("--wheels", type=Path, help="folder of wheels of what this Python lacks")
    parser.add_argument("--rehearsal", action="store_true", help="one small network and its kernels, on the CPU")
    return parser.parse_args()


def main() -> int:
    """Run what is left, pack, and answer with the last exit status that is not 0."""
    asked = arguments()
    folder, start, failed = ROOT / "measurements" / asked.name, time.monotonic(), 0
    kernels, networks = REHEARSAL if asked.rehearsal else (KERNELS, NETWORKS)
    with importable(asked.wheels) as path:
        if packages := missing(path):
            sys.exit(how_to_carry(packages))
        for line, where, share in ((kernels, folder / "kernels", KERNELS_SHARE), (networks, folder, 1.0)):
            left = max(0.0, share * asked.within - (time.monotonic() - start))
            failed = run(f"{line} --within {left:.0f} -o", where, path, left + GRACE_S) or failed
            if asked.pack is not None and folder.exists():
                pack(folder, asked.pack / f"{asked.name}.tar.gz")
    print(f"{time.monotonic() - start:.0f} s; {sum(1 for _ in folder.rglob('*.json'))} files in {folder}")
    return failed


def run(line: str, where: Path, path: str, at_most_s: float) -> int:
    """The exit status of one command of mmsim; 124, as of ``timeout``, for one that had to be ended."""
    command = [sys.executable, "-m", "mmsim", *line.split(), str(where)]
    try:
        return subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, cwd="/", check=False, timeout=at_most_s
        ).returncode
    except subprocess.TimeoutExpired:
        print(f"ended after {at_most_s:.0f} s: mmsim {line}", file=sys.stderr)
        return 124


def pack(folder: Path, archive: Path) -> None:
    """The whole folder as one file, replaced in one step."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    beside = archive.with_suffix(".new")
    with tarfile.open(beside, "w:gz") as out:
        out.add(folder, arcname=folder.name)
    beside.replace(archive)


if __name__ == "__main__":
    sys.exit(main())
