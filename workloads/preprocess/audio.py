"""Audio: waveforms to spectra, mel bands and cepstra, with the conventions of librosa; AV-MNIST's spectrogram."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def waveform(batch: int, rate: int, seconds: float) -> Tensor:
    """A random recording: three tones that fade, and noise, -1 to 1."""
    time = torch.arange(round(rate * seconds), device="cpu") / rate
    pitch = torch.empty(batch, 3, 1, device="cpu").uniform_(100, 1500)
    tones = (2 * math.pi * pitch * time).sin().mean(1) * (-time).exp()
    return 0.8 * tones + 0.2 * torch.empty(batch, len(time), device="cpu").uniform_(-1, 1)


class STFT(nn.Module):
    """Short-time Fourier transform about every `hop`-th sample: [B, samples] -> [B, F, T] complex.

    F is half the window and one more; T is samples / hop and one more. The window is Hann's, or flat.
    """

    window: Tensor

    def __init__(self, size: int, hop: int, flat: bool = False) -> None:
        super().__init__()
        self.size = size
        self.hop = hop
        self.register_buffer("window", torch.ones(size) if flat else torch.hann_window(size), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        return torch.stft(waveform, self.size, self.hop, window=self.window, pad_mode="constant", return_complex=True)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """The waveform that overlapping windows add up to, of (T - 1) * hop samples."""
        frames = torch.fft.irfft(spectrum, dim=1) * self.window[:, None]  # [B, size, T]
        squares = self.window.square()[None, :, None].expand(1, -1, spectrum.shape[2])
        length = self.size + self.hop * (spectrum.shape[2] - 1)

        def overlapped(x: Tensor) -> Tensor:
            return functional.fold(x, (1, length), (1, self.size), stride=(1, self.hop))[:, 0, 0]

        edge = self.size // 2
        return overlapped(frames)[:, edge:-edge] / overlapped(squares)[:, edge:-edge].clamp_min(1e-8)


class Matrix(nn.Module):
    """A constant matrix applied to the rows of a spectrum: [B, F, T] -> [B, rows, T]."""

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, spectrum: Tensor) -> Tensor:
        return self.matrix @ spectrum


class MFCC(nn.Module):
    """Mel-frequency cepstral coefficients of mel powers: [B, bands, T] -> [B, coefficients, T]."""

    def __init__(self, bands: int, coefficients: int) -> None:
        super().__init__()
        self.cosines = Matrix(dct(bands)[:coefficients])

    def forward(self, mel: Tensor) -> Tensor:
        return self.cosines(decibels(mel))


class SpectrogramPicture(nn.Module):
    """The spectrogram of a spoken digit as a picture: [B, samples] -> [B, 1, side, side] in 0..1."""

    def __init__(self, side: int = 112, size: int = 512, hop: int = 32) -> None:
        super().__init__()
        self.stft = STFT(size, hop)
        self.side = (side, side)

    def forward(self, waveform: Tensor) -> Tensor:
        loudness = decibels(self.stft(waveform).abs().square())  # [B, 257, T], at most 80 below the loudest
        picture = functional.interpolate(loudness.unsqueeze(1), self.side, mode="bilinear")
        low, high = picture.amin((2, 3), keepdim=True), picture.amax((2, 3), keepdim=True)
        return (picture - low) / (high - low).clamp_min(1e-6)


def decibels(power: Tensor, top: float = 80.0) -> Tensor:
    """10 log10 of each power of a clip [B, F, T], no lower than `top` under the clip's loudest."""
    level = 10 * power.clamp_min(1e-10).log10()
    return level.maximum(level.amax((1, 2), keepdim=True) - top)


def mel_filters(rate: int, size: int, bands: int = 128, highest: float | None = None) -> Tensor:
    """Triangular filters of equal area on Slaney's mel scale: [bands, size/2 + 1].

    The scale is linear up to 1 kHz, 15 mels, and logarithmic above: 27 steps to 6.4 kHz.
    """
    top = hertz_to_mel(highest or rate / 2)
    edges = [mel_to_hertz(top * step / (bands + 1)) for step in range(bands + 2)]
    frequencies = torch.arange(size // 2 + 1) * (rate / size)
    rows = [
        torch.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre)) * 2 / (high - low)
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    return torch.stack(rows).clamp_min(0)


def hertz_to_mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def mel_to_hertz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def dct(size: int) -> Tensor:
    """The orthonormal discrete cosine transform (type II) as a matrix: [size, size]."""
    row, column = torch.arange(size)[:, None], torch.arange(size)
    cosines = (math.pi / size * (column + 0.5) * row).cos() * math.sqrt(2 / size)
    return torch.cat([cosines[:1] / math.sqrt(2), cosines[1:]])


def delta(rows: Tensor) -> Tensor:
    """The slope of each row over nine frames, by least squares: [B, rows, T] -> [B, rows, T]."""
    slope = torch.arange(-4.0, 5.0, device=rows.device) / 60
    padded = functional.pad(rows, (4, 4), mode="replicate")
    return functional.conv1d(padded.flatten(0, 1).unsqueeze(1), slope[None, None]).squeeze(1).view_as(rows)
