"""Speech features as librosa computes them: CMU-MOSEI's 74 rows and MUStARD's 283."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsim.workloads.preprocess.audio import MFCC, STFT, Matrix, decibels, delta, mel_filters
from mmsim.workloads.preprocess.harmony import ConstantQ, cens, chroma_filters, fold_octaves, tonnetz_matrix

RATE = 22_050
"""librosa's default; recordings are brought to it as they are read."""


class SpectralShape(nn.Module):
    """Centroid, bandwidth, 7 contrasts, flatness, roll-off, and a line fitted: [B, F, T] -> [B, 13, T]."""

    frequencies: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        frequencies = torch.arange(size // 2 + 1) * (RATE / size)
        self.register_buffer("frequencies", frequencies[:, None], persistent=False)
        line = torch.stack([frequencies / frequencies[-1], torch.ones_like(frequencies)], 1)
        self.line = Matrix((line.T @ line).inverse() @ line.T)
        edges = [0.0, *(200.0 * 2**octave for octave in range(6)), RATE / 2]
        self.bands = [round(edge * size / RATE) for edge in edges]

    def forward(self, magnitude: Tensor) -> Tensor:
        total = magnitude.sum(1, keepdim=True).clamp_min(1e-10)
        share = magnitude / total
        centroid = (share * self.frequencies).sum(1, keepdim=True)
        bandwidth = (share * (self.frequencies - centroid).square()).sum(1, keepdim=True).sqrt()
        power = magnitude.square().clamp_min(1e-10)
        flatness = power.log().mean(1, keepdim=True).exp() / power.mean(1, keepdim=True)
        reached = (magnitude.cumsum(1) >= 0.85 * total).int().argmax(1, keepdim=True)
        rolloff = reached * self.frequencies[1]
        contrasts = [
            contrast(magnitude[:, low : high + 1]) for low, high in zip(self.bands, self.bands[1:], strict=False)
        ]
        return torch.cat([centroid, bandwidth, *contrasts, flatness, rolloff, self.line(magnitude)], 1)


class MoseiFeatures(nn.Module):
    """A clip's features at `steps` moments, each standardised over the clip: [B, samples] -> [B, steps, 74].

    The 70 rows of librosa's stock feature set (windows of 512, hop 128): chroma by Fourier transform,
    by constant-Q transform and smoothed (12 each), 13 MFCC, loudness, 13 of spectral shape, 6 of
    tonal centroid, zero crossings; and the slopes of four of them, to COVAREP's width of 74.
    """

    SIZE, HOP = 512, 128

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.stft = STFT(self.SIZE, self.HOP)
        self.chroma = Matrix(chroma_filters(RATE, self.SIZE))
        self.constant_q = ConstantQ(RATE, self.HOP)
        self.mel = Matrix(mel_filters(RATE, self.SIZE))
        self.mfcc = MFCC(128, 13)
        self.shape = SpectralShape(self.SIZE)
        self.tonnetz = Matrix(tonnetz_matrix())
        self.moments = nn.AdaptiveAvgPool1d(steps)

    def forward(self, waveform: Tensor) -> Tensor:
        magnitude = self.stft(waveform).abs()  # [B, 257, T]
        power = magnitude.square()
        notes = fold_octaves(self.constant_q(waveform))  # [B, 12, T]
        loudness = power.mean(1, keepdim=True).sqrt()
        shape = self.shape(magnitude)
        crossings = self.zero_crossings(waveform)
        rows = [
            *(peak_one(self.chroma(power)), peak_one(notes), cens(notes), self.mfcc(self.mel(power))),
            *(loudness, shape, self.tonnetz(functional.normalize(notes, p=1.0, dim=1)), crossings),
            delta(torch.cat([loudness, shape[:, :2], crossings], 1)),
        ]
        moments = self.moments(torch.cat(rows, 1)).transpose(1, 2)  # [B, steps, 74]
        centred = moments - moments.mean(1, keepdim=True)
        return centred / centred.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)

    def zero_crossings(self, waveform: Tensor) -> Tensor:
        """How often the sign changes around each frame: [B, 1, T]."""
        crossed = functional.pad((waveform[:, 1:] < 0) != (waveform[:, :-1] < 0), (1, 0)).float()
        return functional.avg_pool1d(crossed.unsqueeze(1), self.SIZE, self.HOP, self.SIZE // 2)


class MustardFeatures(nn.Module):
    """A clip's voice at `steps` moments: [B, samples] -> [B, steps, 283], or [B, 283] over the whole clip.

    13 MFCC and 128 mel bands up to 8 kHz with their slopes, and the centroid, of the voice alone: the
    accompaniment repeats, so it is what the most similar other frames share (REPET-SIM, Rafii and
    Pardo 2012), and soft masks take it off.
    """

    SIZE, HOP = 2048, 512

    def __init__(self, steps: int | None) -> None:
        super().__init__()
        self.stft = STFT(self.SIZE, self.HOP)
        self.mel = Matrix(mel_filters(RATE, self.SIZE, highest=8000.0))
        self.mfcc = MFCC(128, 13)
        self.moments = nn.AdaptiveAvgPool1d(steps or 1)
        self.whole = steps is None

    def forward(self, waveform: Tensor) -> Tensor:
        spectrum = self.stft(waveform)
        voice = self.stft.inverse(spectrum * voice_mask(spectrum.abs(), round(2 * RATE / self.HOP)))
        magnitude = self.stft(voice).abs()  # [B, 1025, T]
        mel = self.mel(magnitude.square())
        cepstrum = self.mfcc(mel)
        frequencies = torch.arange(magnitude.shape[1], device=mel.device)[:, None] * (RATE / self.SIZE)
        centroid = (magnitude * frequencies).sum(1, keepdim=True) / magnitude.sum(1, keepdim=True).clamp_min(1e-10)
        rows = torch.cat([cepstrum, delta(cepstrum), mel, delta(mel), centroid], 1)
        moments = self.moments(rows).transpose(1, 2)  # [B, steps, 283]
        return moments.squeeze(1) if self.whole else moments


def voice_mask(magnitude: Tensor, apart: int, margin: float = 4.0) -> Tensor:
    """How much of each bin is voice, 0 to 1: [B, F, T].

    The accompaniment of a frame is the median of the frames most like it by cosine that are at least
    `apart` frames away, and no louder than the frame itself.
    """
    frames = magnitude.shape[2]
    neighbours = 2 * math.ceil(math.sqrt(max(frames - 2 * apart + 1, 1)))
    unit = functional.normalize(magnitude, dim=1)
    place = torch.arange(frames, device=magnitude.device)
    near = (place[:, None] - place).abs() < apart
    likeness = (unit.transpose(1, 2) @ unit).masked_fill(near, -1.0)  # [B, T, T]
    alike = likeness.topk(min(neighbours, frames), 2).indices  # [B, T, k]
    index = alike.flatten(1).unsqueeze(1).expand(-1, magnitude.shape[1], -1)
    repeated = magnitude.gather(2, index).unflatten(2, alike.shape[1:]).median(3).values  # [B, F, T]
    accompaniment = torch.minimum(magnitude, repeated)
    voice, other = (magnitude - accompaniment).square(), (margin * accompaniment).square()
    return voice / (voice + other).clamp_min(1e-10)


def contrast(band: Tensor) -> Tensor:
    """Peak over valley of a band in decibels, each the mean of a fiftieth: [B, bins, T] -> [B, 1, T]."""
    count = max(round(0.02 * band.shape[1]), 1)
    ordered = band.sort(1).values
    top, bottom = ordered[:, -count:].mean(1, keepdim=True), ordered[:, :count].mean(1, keepdim=True)
    return decibels(top) - decibels(bottom)


def peak_one(rows: Tensor) -> Tensor:
    """Every frame divided by its largest entry."""
    return rows / rows.amax(1, keepdim=True).clamp_min(1e-10)
