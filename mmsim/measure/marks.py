"""A captured graph with a mark after each operation, and the part of it that belongs to some stage.

The marks are calls in the generated code itself, so that what is timed is the same straight-line
program, not an interpreter's loop around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx

Mark = Callable[[int], None]


def operations(captured: fx.GraphModule) -> list[fx.Node]:
    """The nodes that call something, in order."""
    return [node for node in captured.graph.nodes if node.op in ("call_function", "call_method", "call_module")]


def marked(captured: fx.GraphModule, mark: Mark) -> fx.GraphModule:
    """The same program, with ``mark(-1)`` at its start and ``mark(i)`` after the i-th of its `operations`.

    What an operation fetches from the module lies between its marks, that of the first one too.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    position = -1
    for node in captured.graph.nodes:
        if position < 0 and node.op != "placeholder":
            graph.call_function(mark, (-1,))
            position = 0
        copies[node] = graph.node_copy(node, lambda n: copies[n])
        if node.op in ("call_function", "call_method", "call_module"):
            graph.call_function(mark, (position,))
            position += 1
    return _module(captured, graph)


def part(captured: fx.GraphModule, wanted: Callable[[fx.Node], bool]) -> tuple[fx.GraphModule, list[fx.Node]]:
    """The operations that are `wanted` as a program of their own, and the nodes whose values are its inputs."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    feeds: list[fx.Node] = []

    def reach(node: fx.Node) -> fx.Node:
        if node not in copies:
            if node.op == "get_attr":
                copies[node] = graph.node_copy(node)
            else:
                feeds.append(node)
                with graph.inserting_before(_first_call(graph)):
                    copies[node] = graph.placeholder(node.name)
        return copies[node]

    chosen = [node for node in operations(captured) if wanted(node)]
    for node in chosen:
        copies[node] = graph.node_copy(node, reach)
    inside = set(chosen)
    results = [node for node in chosen if not node.users or any(user not in inside for user in node.users)]
    graph.output(tuple(copies[node] for node in results))
    return _module(captured, graph), feeds


class Keeping(fx.Interpreter):
    """Runs a captured graph and keeps in `found` what the `wanted` nodes gave, as they gave it."""

    def __init__(self, captured: fx.GraphModule, wanted: Iterable[fx.Node]) -> None:
        super().__init__(captured)
        self.wanted, self.found = set(wanted), dict[fx.Node, Any]()

    def run_node(self, n: fx.Node) -> Any:
        out = super().run_node(n)
        if n in self.wanted:  # later writes in place must not reach it
            self.found[n] = out.clone() if isinstance(out, torch.Tensor) else out
        return out


def _first_call(graph: fx.Graph) -> fx.Node:
    return next((node for node in graph.nodes if node.op != "placeholder"), graph._root)


def at_hand(program: fx.GraphModule) -> fx.GraphModule:
    """The program with every weight that it reads as a plain attribute.

    To look a parameter up in nested modules takes up to 3 us, more than many an op: this recorder's cost, not the
    network's.
    """
    vars(program).update(_hold(program, program.graph))
    program.recompile()
    return program


def _module(captured: fx.GraphModule, graph: fx.Graph) -> fx.GraphModule:
    """A program of this graph on the weights of `captured`, at hand."""
    held = _hold(captured, graph)
    module = fx.GraphModule(held, graph)
    vars(module).update(held)
    return module


def _hold(captured: fx.GraphModule, graph: fx.Graph) -> dict[str, Any]:
    """Have the graph read each weight under a name of its own: name -> weight."""
    found = {node: _at(captured, str(node.target)) for node in graph.nodes if node.op == "get_attr"}
    for node in found:
        node.target = f"held_{node.name}"
    return {str(node.target): value for node, value in found.items()}


def _at(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module
