"""Fourier transforms: 5 n log2 n real operations for a complex transform of n points, half for a real one.

That is the figure of the FFT literature (Cooley and Tukey's radix 2; FFTW's benchmark reports it for any n). One
point of the nest is one element of one transform, so a point costs 5 log2 n, rounded up.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from mmsim.errors import InputError
from mmsim.layer import Layer
from mmsim.ops.nests import Access, Problems, axes, first, log2_of, nest, place, scaled
from mmsim.ops.rule import Rule
from mmsim.size import Polynomial, Size, product


def transform(layer: Layer) -> Problems:
    """fft, rfft, ifft, irfft and their 2-d and n-d forms: rows along the transformed axes."""
    x, out = first(layer), layer.output
    shape = list(x.shape if layer.kind.startswith(("fft_rfft", "rfft")) else out.shape)
    real = not (x.dtype.startswith("complex") and out.dtype.startswith("complex"))
    over = axes(_dims(layer), len(shape))
    points = layer.attr("n")
    if isinstance(points, (int, Polynomial)) and len(over) == 1:
        shape[over[0]] = points
    ops = _ops(product(shape[axis] for axis in over), real=real)
    accesses = (Access("Inputs", x.bits, x.shape), Access("Outputs", out.bits, out.shape, is_output=True))
    return nest("vector", "fft", shape, accesses, over=over, ops=ops)


def short_time(layer: Layer) -> Problems:
    """stft: every frame is weighted by the window (1 operation) and transformed; ``istft`` is the way back."""
    n = layer.attr("n_fft")
    if not isinstance(n, int):
        raise InputError(f"{layer.op} at {place(layer)} has no n_fft")
    x, out = first(layer), layer.output
    spectrum = out if layer.kind == "stft" else x
    bins = n // 2 + 1 if layer.attr("onesided", True) is not False else n
    parts = bins if spectrum.dtype.startswith("complex") else 2 * bins
    shape = (scaled(spectrum.elements, Fraction(n, parts)),)  # frames x n
    accesses = (Access("Inputs", x.bits, (x.elements,)), Access("Outputs", out.bits, (out.elements,), is_output=True))
    return nest("vector", "fft", shape, accesses, ops=1 + _ops(n, real=True))


def _ops(n: Size, *, real: bool) -> int:
    return ceil((2.5 if real else 5) * log2_of(n))


def _dims(layer: Layer) -> int | tuple[int, ...] | None:
    given = layer.attr("dim", layer.attr("dims"))
    if isinstance(given, (int, tuple)):
        return given  # type: ignore[return-value]
    if "2" in layer.kind:
        return (-2, -1)
    return None if layer.kind.endswith("n") else -1


_FORMS = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
ROWS: dict[str, Rule] = {
    **{f"{prefix}{form}{rank}": transform for prefix in ("", "fft_") for form in _FORMS for rank in ("", "2", "n")},
    **dict.fromkeys(("_fft_r2c", "_fft_c2r", "_fft_c2c"), transform),
    **dict.fromkeys(("stft", "istft"), short_time),
}
