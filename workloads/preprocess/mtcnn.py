"""Face detection with MTCNN's cascade of three small networks (Zhang et al. 2016), which OpenFace starts from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALLEST_FACE = 40
"""Edge of the smallest face looked for, in pixels."""
SHRINK = 0.709
"""From one size of the pyramid to the next: half the area."""
CELL, STRIDE = 12, 2
"""What the first network sees of a picture, and how far apart it looks, in pixels of its pyramid level."""


class ProposalNet(nn.Sequential):
    """P-Net, at every place of a picture: [N, 3, H, W] -> [N, 6, ~H/2, ~W/2]. 6,632 parameters."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 10, 3), nn.PReLU(10), nn.MaxPool2d(2, ceil_mode=True)),
            *(nn.Conv2d(10, 16, 3), nn.PReLU(16), nn.Conv2d(16, 32, 3), nn.PReLU(32)),
            nn.Conv2d(32, 6, 1),
        )


class RefineNet(nn.Sequential):
    """R-Net, on crops: [N, 3, 24, 24] -> [N, 6]. 100,178 parameters, 1.53 MMACs a crop."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 28, 3), nn.PReLU(28), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(nn.Conv2d(28, 48, 3), nn.PReLU(48), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(nn.Conv2d(48, 64, 2), nn.PReLU(64), nn.Flatten()),
            *(nn.Linear(576, 128), nn.PReLU(128), nn.Linear(128, 6)),
        )


class OutputNet(nn.Sequential):
    """O-Net, on crops: [N, 3, 48, 48] -> [N, 16], five points beside class and box. 389,040 parameters, 12.9 MMACs."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 32, 3), nn.PReLU(32), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(nn.Conv2d(32, 64, 3), nn.PReLU(64), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(nn.Conv2d(64, 64, 3), nn.PReLU(64), nn.MaxPool2d(2, 2, ceil_mode=True)),
            *(nn.Conv2d(64, 128, 2), nn.PReLU(128), nn.Flatten()),
            *(nn.Linear(1152, 256), nn.PReLU(256), nn.Linear(256, 16)),
        )


class FaceDetector(nn.Module):
    """The best face of each picture [N, 3, H, W]: its box [N, 4] (left, top, width, height) and confidence [N].

    The cascade keeps fixed numbers of candidates, 32 and then 8, so that shapes do not depend on the
    picture; the original thresholds them and suppresses overlaps.
    """

    def __init__(self, refined: int = 32, final: int = 8) -> None:
        super().__init__()
        self.propose, self.refine, self.output = ProposalNet(), RefineNet(), OutputNet()
        self.refined, self.final = refined, final

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        found = [self.proposals(pictures, scale) for scale in pyramid(*pictures.shape[2:])]
        scores, boxes = (torch.cat(parts, 1) for parts in zip(*found, strict=True))  # [N, K], [N, K, 4]
        boxes = best(boxes, scores, self.refined)
        for network, edge, keep in ((self.refine, 24, self.final), (self.output, 48, 1)):
            answers = network(crops(pictures, boxes, edge)).unflatten(0, boxes.shape[:2])  # [N, K, 6 or 16]
            scores = answers[..., :2].softmax(-1)[..., 1]
            boxes = best(adjusted(boxes, answers[..., 2:6]), scores, keep)
        return boxes[:, 0], scores.amax(1)

    def proposals(self, pictures: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Scores [N, K] and boxes [N, K, 4] of every place of one pyramid level."""
        size = [int(edge * scale) for edge in pictures.shape[2:]]
        level = functional.interpolate(pictures, size=size, mode="bilinear", antialias=True)
        answers = self.propose(level).permute(0, 2, 3, 1)  # [N, h, w, 6]
        rows, columns = (torch.arange(edge, device=pictures.device) * STRIDE / scale for edge in answers.shape[1:3])
        corners = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).flatten(0, 1)  # [K, 2]
        places = torch.cat([corners, torch.full_like(corners, CELL / scale)], 1)
        answers = answers.flatten(1, 2)
        return answers[..., :2].softmax(-1)[..., 1], adjusted(places, answers[..., 2:])


def pyramid(height: int, width: int) -> list[float]:
    """The scales at which a face of growing size fills the first network's view."""
    scale = CELL / SMALLEST_FACE
    scales = []
    while min(height, width) * scale >= CELL:
        scales.append(scale)
        scale *= SHRINK
    return scales


def adjusted(boxes: Tensor, by: Tensor) -> Tensor:
    """Boxes moved and stretched by shares of their own size."""
    size = boxes[..., 2:]
    return torch.cat([boxes[..., :2] + by[..., :2] * size, size * by[..., 2:].clamp(-1, 1).exp()], -1)


def best(boxes: Tensor, scores: Tensor, count: int) -> Tensor:
    """The boxes of highest score: [N, K, 4] -> [N, count, 4]."""
    return boxes.gather(1, scores.topk(count, 1).indices.unsqueeze(2).expand(-1, -1, 4))


def crops(pictures: Tensor, boxes: Tensor, edge: int) -> Tensor:
    """What lies in K boxes of each picture, at one size: [N, C, H, W], [N, K, 4] -> [N*K, C, edge, edge]."""
    steps = (torch.arange(edge, device=pictures.device) + 0.5) / edge
    x, y = (boxes[..., axis, None] + boxes[..., axis + 2, None] * steps for axis in (0, 1))  # [N, K, edge] each
    cut = sample(pictures, x.unsqueeze(2).expand(-1, -1, edge, -1), y.unsqueeze(3).expand(-1, -1, -1, edge))
    return cut.transpose(1, 2).flatten(0, 1)


def sample(pictures: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values at points in pixels, K patches a picture: [N, C, H, W], [N, K, h, w] twice -> [N, C, K, h, w]."""
    height, width = pictures.shape[2:]
    places = torch.stack((x * (2 / width) - 1, y * (2 / height) - 1), -1)  # [N, K, h, w, 2] in -1..1
    values = functional.grid_sample(pictures, places.flatten(1, 2), padding_mode="border", align_corners=False)
    return values.unflatten(2, x.shape[1:3])
