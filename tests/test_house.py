"""The house rule: imports point down only, and torch stays in the rooms that trace, measure and define networks."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = (
    ("errors", "_yaml"),
    ("templates",),
    ("files", "size"),
    ("layer", "problem", "arch", "solution"),
    ("ops", "nest", "gpu", "cpu", "energy"),
    ("graph", "emit", "kernel_table", "measured_table", "measurement"),
    ("training", "tracing", "schedule", "backends", "layer_dump", "autocast"),
    ("run", "measure", "dumps"),
    ("validate", "explore", "crosscheck", "repeat"),
    ("claims",),
    ("validate_network",),
    ("report",),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
TORCH_ROOMS = {"tracing", "measure"}
FILES = sorted((ROOT / "mmsim").rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "mmsim").parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, only for type checking) of every import in a file, function-local ones included."""
    tree = ast.parse(path.read_text())
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in typed) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [(f"{node.module}.{alias.name}", id(node) in typed) for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in LEVEL, f"give the room {room!r} a floor"
    for module, typed in imports(path):
        parts = module.split(".")
        if parts[0] == "torch":
            assert room in TORCH_ROOMS or typed, f"{path}: torch outside {TORCH_ROOMS}"
        if parts[0] == "mmsim" and len(parts) > 1 and parts[1] in LEVEL and parts[1] != room:
            assert LEVEL[parts[1]] < LEVEL[room] or typed, f"{path}: {room} imports {parts[1]}, which is not below it"
