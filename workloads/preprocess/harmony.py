"""Harmony: chroma by Fourier and constant-Q transforms, CENS, tonal centroids, as librosa computes them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsim.workloads.preprocess.audio import STFT

OCTAVES, PER_OCTAVE = 7, 36
LOWEST = 32.703
"""C1, the lowest note, in hertz."""


class ConstantQ(nn.Module):
    """Magnitudes of 252 tones, 36 an octave from C1 up: [B, samples] -> [B, 252, T].

    Octave by octave from the top, each with the same 36 kernels, applied in the frequency domain
    (Brown and Puckette 1992); between octaves the waveform is low-passed and every other sample
    dropped (Schörkhuber and Klapuri 2010).
    """

    kernels: Tensor
    low_pass: Tensor

    def __init__(self, rate: int, hop: int) -> None:
        super().__init__()
        kernels = constant_q_kernels(rate)
        size = kernels.shape[1] - 2
        self.stfts = nn.ModuleList(STFT(size, hop >> octave, flat=True) for octave in range(OCTAVES))
        self.register_buffer("kernels", kernels, persistent=False)
        self.register_buffer("low_pass", half_band(31)[None, None], persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        octaves = []
        for stft in self.stfts:
            waveform = self.halved(waveform) if octaves else waveform
            octaves.append(self.tones(stft(waveform)))
        frames = min(tones.shape[2] for tones in octaves)
        return torch.cat([tones[:, :, :frames] for tones in reversed(octaves)], 1)

    def tones(self, spectrum: Tensor) -> Tensor:
        """The 36 tones of the top octave of a spectrum: [B, F, T] complex -> [B, 36, T]."""
        parts = torch.view_as_real(spectrum)  # [B, F, T, 2]
        real, imaginary = (self.kernels @ torch.cat(parts.unbind(3), 1)).chunk(2, 1)  # [B, 36, T] each
        return (real.square() + imaginary.square()).sqrt()

    def halved(self, waveform: Tensor) -> Tensor:
        """Half as many samples of the lower half of the band."""
        return functional.conv1d(waveform.unsqueeze(1), self.low_pass, stride=2, padding=15).squeeze(1)


def constant_q_kernels(rate: int) -> Tensor:
    """Spectra of the top octave's 36 windowed tones as one real matrix, [2 * 36, 2 * F].

    It maps the real and imaginary parts of a frame's spectrum to those of each tone's correlation with
    the frame. Each window holds the same number of periods, 1 / (2^(1/36) - 1); F fits the longest.
    """
    quality = 1 / (2 ** (1 / PER_OCTAVE) - 1)
    pitches = [LOWEST * 2 ** (OCTAVES - 1 + tone / PER_OCTAVE) for tone in range(PER_OCTAVE)]
    size = 2 ** math.ceil(math.log2(quality * rate / pitches[0]))
    time = (torch.arange(size) - size // 2) / rate
    atoms = []
    for pitch in pitches:
        window = (0.5 + 0.5 * (2 * math.pi * time * pitch / quality).cos()) * (time.abs() < quality / pitch / 2)
        atoms.append(torch.polar(window / window.sum(), 2 * math.pi * pitch * time))
    kernels = torch.fft.fft(torch.stack(atoms))[:, : size // 2 + 1].conj() / size
    real, imaginary = kernels.real, kernels.imag
    return torch.cat([torch.cat([real, -imaginary], 1), torch.cat([imaginary, real], 1)])


def half_band(taps: int) -> Tensor:
    """A low-pass filter that keeps the lower half of the band: a sinc under a Hann window, [taps]."""
    place = torch.arange(taps) - taps // 2
    taper = 0.5 + 0.5 * (2 * math.pi * place / (taps + 1)).cos()
    return torch.special.sinc(place / 2) / 2 * taper


def chroma_filters(rate: int, size: int) -> Tensor:
    """How much each bin of a spectrum counts for each of the twelve notes: [12, size/2 + 1].

    A bell of one semitone's width about the note nearest to the bin, in every octave, weighed down
    away from the fifth octave.
    """
    hertz = torch.arange(1, size // 2 + 1) * (rate / size)
    semitones = 12 * (hertz / LOWEST).log2()
    distance = (semitones - torch.arange(12)[:, None] + 6).remainder(12) - 6  # [12, bins]
    octave = semitones / 12 - 4
    bells = (-0.5 * (2 * distance).square()).exp() * (-0.5 * (octave / 2).square()).exp()
    return functional.pad(functional.normalize(bells, dim=0), (1, 0))  # bin 0, the mean, is no note


def fold_octaves(tones: Tensor) -> Tensor:
    """Energy by note, whatever the octave: [B, 252, T] -> [B, 12, T]."""
    return tones.unflatten(1, (OCTAVES, 12, PER_OCTAVE // 12)).sum((1, 3))


def cens(notes: Tensor) -> Tensor:
    """Chroma energy normalised statistics (Müller and Ewert 2011): shares, quantised, smoothed over 41 frames."""
    share = functional.normalize(notes, p=1.0, dim=1)
    levels = sum(((share > edge).float() * 0.25 for edge in (0.05, 0.1, 0.2, 0.4)), torch.zeros_like(share))
    smooth = functional.avg_pool1d(levels, 41, 1, 20)
    return functional.normalize(smooth, dim=1)


def tonnetz_matrix() -> Tensor:
    """Twelve notes to the six coordinates of the tonal centroid (Harte et al. 2006): fifths, minor and major thirds."""
    notes = torch.arange(12)
    circles = torch.tensor([7 / 6, 7 / 6, 3 / 2, 3 / 2, 2 / 3, 2 / 3])[:, None]
    radius = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.5, 0.5])[:, None]
    phase = torch.tensor([0.5, 0.0, 0.5, 0.0, 0.5, 0.0])[:, None]  # sines and cosines
    return radius * (math.pi * (circles * notes - phase)).cos()
