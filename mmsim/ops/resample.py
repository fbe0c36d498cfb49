"""Resampling: each output element is a weighted sum of its neighbours in the input.

Operations of one output element are a multiply and an add for each neighbour: 1 neighbour is a mere copy, linear takes
2, bilinear 4, trilinear 8, bicubic 16.
"""

from __future__ import annotations

from mmsim.errors import InputError
from mmsim.layer import Layer
from mmsim.ops.nests import Access, Problems, first, nest, operand, place, reads
from mmsim.ops.rule import Rule
from mmsim.problem import DataSpace, Problem, Rank
from mmsim.size import concrete

NEIGHBOURS = {
    "nearest": 1, "nearest-exact": 1, "nearest_exact": 1, "area": 1, "linear": 2, "bilinear": 4, "trilinear": 8,
    "bicubic": 16,
}  # fmt: skip


def resample(layer: Layer) -> Problems:
    """interpolate, upsample_*, grid_sample: every output E is computed from its K neighbours in the input."""
    x, out = first(layer), layer.output
    mode = _mode(layer)
    if mode == "area":  # an adaptive average: every input is read once
        accesses = (*reads(x, shape=x.shape), Access("Outputs", out.bits, out.shape, is_output=True))
        return nest("vector", "resample", x.shape, accesses)
    if out.elements == 0:
        return ()
    count = NEIGHBOURS[mode]
    element: Rank = (("E", 1),)
    neighbour: Rank = (("E", count), ("K", 1)) if count > 1 else element
    spaces = [DataSpace("Inputs", (neighbour,), x.bits, extents=(x.elements,))]
    grid = layer.operand("grid")
    spaces += [DataSpace("Grid", (element,), grid.bits, extents=(grid.elements,))] if grid is not None else []
    spaces += [DataSpace("Outputs", (element,), out.bits, is_output=True)]
    dims = (("E", out.elements), ("K", count)) if count > 1 else (("E", out.elements),)
    if count == 1:
        return (Problem("movement", dims, tuple(spaces), "resample"),)
    return (Problem("vector", dims, tuple(spaces), "resample", ops_per_point=2),)


def _mode(layer: Layer) -> str:
    if layer.kind.startswith("grid_sampl"):
        mode = layer.attr("mode", layer.attr("interpolation_mode", 0))
        named = ("bilinear", "nearest", "bicubic")[mode] if isinstance(mode, int) and 0 <= mode < 3 else str(mode)
        flat = len(first(layer).shape) == 4
        return named if flat or named != "bilinear" else "trilinear"
    mode = layer.attr("mode", "bilinear" if layer.kind == "upsample_bilinear" else "nearest")
    for name in sorted(NEIGHBOURS, key=len, reverse=True):
        if name in layer.kind or name == mode:
            return name
    raise InputError(f"{layer.op} at {place(layer)}: unknown mode {mode!r}")


def affine_grid(layer: Layer) -> Problems:
    """A 2x3 (or 3x4) matrix applied to each point: a multiply and an add for each of its columns."""
    theta, out = operand(layer, "theta", position=0), layer.output
    shape = (out.elements,)
    accesses = (Access("Inputs", theta.bits, (theta.elements,)), Access("Outputs", out.bits, shape, is_output=True))
    return nest("vector", "resample", shape, accesses, ops=2 * concrete(theta.shape[-1]))


def regions(layer: Layer) -> Problems:
    """roi_align, roi_pool: `sampling_ratio` squared bilinear samples (4 neighbours) a cell; 4 when it adapts."""
    x, out = first(layer), layer.output
    ratio = layer.attr("sampling_ratio", 2)
    samples = max(ratio, 1) ** 2 if isinstance(ratio, int) and ratio > 0 else 4
    shape = (out.elements,)
    rest = (Access("Boxes", t.bits, (t.elements,)) for t in layer.tensors[1:])
    accesses = (Access("Inputs", x.bits, (x.elements,)), *rest, Access("Outputs", out.bits, shape, is_output=True))
    return nest("vector", "resample", shape, accesses, ops=8 * samples)


ROWS: dict[str, Rule] = {
    **dict.fromkeys(("interpolate", "upsample", "upsample_nearest", "upsample_bilinear"), resample),
    **{
        f"{prefix}upsample_{mode}{suffix}": resample
        for prefix in ("", "_")
        for mode in ("nearest1d", "nearest2d", "nearest3d", "nearest_exact1d", "nearest_exact2d", "nearest_exact3d",
                     "linear1d", "bilinear2d", "bicubic2d", "trilinear3d")
        for suffix in ("", "_aa")
    },
    **dict.fromkeys(("grid_sample", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), resample),
    **dict.fromkeys(("affine_grid", "affine_grid_generator"), affine_grid),
    **dict.fromkeys(("roi_align", "roi_pool", "ps_roi_align"), regions),
}  # fmt: skip
