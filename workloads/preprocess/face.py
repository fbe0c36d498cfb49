"""Facial behaviour as OpenFace 2 reports it (Baltrušaitis et al. 2018): landmarks, pose, gaze, action units.

The stages and sizes are OpenFace's; weights and shape models are random. What is simpler than there: every
frame is searched for a face (OpenFace tracks between searches), landmarks take two passes of one view and
scale, the shape is fitted with the Jacobian of a frontal face, and the eyes' 56 points come from one linear
layer a crop instead of a second set of patch experts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsim.workloads.base import octets
from mmsim.workloads.preprocess.hog import HOG
from mmsim.workloads.preprocess.mtcnn import FaceDetector, crops, sample

POINTS, MODES = 68, 34
"""Landmarks of a face, and the ways in which its shape varies."""
ROI, RESPONSE = 19, 9
"""Edges of what a patch expert sees around a landmark and of its answer, in pixels of the normalised face."""
FACE = 100
"""Width of the normalised face in pixels."""
EYES = ((36, 42), (42, 48))
"""Landmarks around the right and the left eye."""
FEATURES = 713


class PatchExperts(nn.Sequential):
    """68 small networks, one a landmark, as grouped convolutions: [N, 68, 19, 19] -> [N, 68, 9, 9].

    Each is conv 11x11 to 500, then 1x1 to 200, 100 and 1 (the convolutional experts of Zadeh et al.
    2017): 181,401 parameters and 14.6 MMACs, 0.995 GMACs for a face.
    """

    def __init__(self) -> None:
        widths = (1, 500, 200, 100, 1)
        layers: list[nn.Module] = []
        for channels, out, act in zip(widths, widths[1:], (nn.ReLU, nn.ReLU, nn.Sigmoid, nn.Sigmoid), strict=False):
            kernel = 1 if layers else ROI - RESPONSE + 1
            layers += [nn.Conv2d(POINTS * channels, POINTS * out, kernel, groups=POINTS), act()]
        super().__init__(*layers)


class ShapeModel(nn.Module):
    """A point-distribution model: 40 parameters to 68 points in three dimensions, and back.

    Parameters are the scale, three small rotations, two shifts, and 34 modes of shape.
    """

    mean: Tensor
    modes: Tensor
    fit: Tensor

    def __init__(self) -> None:
        super().__init__()
        turn = torch.linspace(0, 2 * math.pi, POINTS)
        mean = torch.stack([turn.cos() / 2, turn.sin() / 2, 0.3 * turn.cos().square()])  # [3, 68], a face 1 wide
        modes = torch.randn(MODES, 3, POINTS) / POINTS
        x, y, z = mean
        none, one = torch.zeros_like(x), torch.ones_like(x)
        rigid = [(x, y), (none, -z), (z, none), (-y, x), (one, none), (none, one)]
        jacobian = torch.cat([torch.stack([torch.cat(pair) for pair in rigid]), modes[:, :2].flatten(1)]).T  # [136, 40]
        normal_matrix = jacobian.T @ jacobian + 0.1 * torch.eye(6 + MODES)
        self.register_buffer("mean", mean)
        self.register_buffer("modes", modes)
        self.register_buffer("fit", normal_matrix.inverse() @ jacobian.T)  # [40, 136]

    def start(self, box: Tensor) -> Tensor:
        """The mean face in a box: [N, 4] -> [N, 40]."""
        size = box[:, 2:].amax(1, keepdim=True)
        turn = torch.zeros_like(box[:, :3])
        modes = box.new_zeros(box.shape[0], MODES)
        return torch.cat([size, turn, box[:, :2] + box[:, 2:] / 2, modes], 1)

    def forward(self, parameters: Tensor) -> Tensor:
        """The points in pixels: [N, 40] -> [N, 3, 68]."""
        scale, turn, shift, modes = parameters.split((1, 3, 2, MODES), 1)
        x, y, z = (self.mean + torch.einsum("nm,map->nap", modes, self.modes)).unbind(1)  # [N, 68] each
        a, b, c = turn.unsqueeze(2).unbind(1)
        turned = torch.stack([x - c * y + b * z, y + c * x - a * z, z + a * y - b * x], 1)
        return scale[:, :, None] * turned + functional.pad(shift, (0, 1))[:, :, None]

    def updated(self, parameters: Tensor, moves: Tensor) -> Tensor:
        """Parameters after the points were seen to move by [N, 2, 68] pixels."""
        scale = parameters[:, :1]
        step = (moves.flatten(1) / scale) @ self.fit.T  # in widths of the face
        sizes = torch.cat([scale, torch.ones_like(step[:, 1:4]), scale.expand(-1, 2), torch.ones_like(step[:, 6:])], 1)
        return parameters + step * sizes


class Landmarks(nn.Module):
    """Grey pictures [N, 1, H, W] and face boxes [N, 4] -> shape parameters [N, 40] and points [N, 3, 68]."""

    offsets: Tensor

    def __init__(self, passes: int = 2) -> None:
        super().__init__()
        self.passes = passes
        self.experts = PatchExperts()
        self.shape = ShapeModel()
        self.register_buffer("offsets", torch.arange(RESPONSE) - (RESPONSE - 1) / 2)

    def forward(self, grey: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        parameters = self.shape.start(box)
        for _ in range(self.passes):
            points = self.shape(parameters)
            pixel = parameters[:, :1, None, None] / FACE  # of the normalised face, in those of the picture
            likely = self.experts(self.around(grey, points, pixel))  # [N, 68, 9, 9]
            parameters = self.shape.updated(parameters, self.moves(likely) * pixel[:, :, 0])
        return parameters, self.shape(parameters)

    def around(self, grey: Tensor, points: Tensor, pixel: Tensor) -> Tensor:
        """What each expert sees, of mean 0 and deviation 1: [N, 68, 19, 19]."""
        steps = torch.arange(ROI, device=grey.device) - (ROI - 1) / 2
        x = (points[:, 0, :, None, None] + pixel * steps).expand(-1, -1, ROI, -1)
        y = (points[:, 1, :, None, None] + pixel * steps[:, None]).expand(-1, -1, -1, ROI)
        patches = sample(grey, x, y)[:, 0]
        centred = patches - patches.mean((2, 3), keepdim=True)
        return centred / (centred.square().mean((2, 3), keepdim=True) + 1e-6).sqrt()

    def moves(self, likely: Tensor) -> Tensor:
        """The mean shift of each point, in pixels of the normalised face: [N, 68, 9, 9] -> [N, 2, 68]."""
        share = likely / likely.sum((2, 3), keepdim=True).clamp_min(1e-6)
        return torch.stack([(share.sum(2) * self.offsets).sum(2), (share.sum(3) * self.offsets).sum(2)], 1)


class Eyes(nn.Module):
    """28 points of each eye and the gaze: grey pictures and landmarks -> [N, 8 + 112 + 168]."""

    HEIGHT, WIDTH = 24, 40

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Linear(self.HEIGHT * self.WIDTH, 28 * 3)

    def forward(self, grey: Tensor, points: Tensor) -> Tensor:
        middles = torch.stack([points[:, :2, low:high].mean(2) for low, high in EYES], 1)  # [N, 2, 2]
        spans = torch.stack([points[:, 0, low:high].amax(1) - points[:, 0, low:high].amin(1) for low, high in EYES], 1)
        size = (1.5 * spans.unsqueeze(2)).clamp_min(4.0)  # [N, 2, 1]
        seen = crops(grey, torch.cat([middles - size / 2, size, size], 2), self.WIDTH)[:, 0]  # [2N, 40, 40]
        rim = (self.WIDTH - self.HEIGHT) // 2
        patches = seen[:, rim : rim + self.HEIGHT].flatten(1)
        eyes = self.points(patches).unflatten(0, (-1, 2)).unflatten(2, (28, 3)) * size[..., None]  # [N, 2, 28, 3]
        toward = functional.normalize(eyes[:, :, :8].mean(2) - eyes[:, :, 8:].mean(2), dim=2)  # iris from lids
        mean = toward.mean(1)
        angles = torch.atan2(mean[:, :2], mean[:, 2:])
        flat = eyes[..., :2] + middles[:, :, None]
        return torch.cat([toward.flatten(1), angles, flat.flatten(1), eyes.flatten(1)], 1)


class ActionUnits(nn.Module):
    """17 intensities and 18 presences from the face's HOG and geometry: [N, 1, 112, 112], [N, 227] -> [N, 35]."""

    def __init__(self) -> None:
        super().__init__()
        self.hog = HOG(cell=8)
        self.principal = nn.Linear(12 * 12 * 31, 1391)
        self.units = nn.Linear(1391 + 227, 17 + 18)

    def forward(self, face: Tensor, geometry: Tensor) -> Tensor:
        return self.units(torch.cat([self.principal(self.hog(face)), geometry], 1))


class FaceFeatures(nn.Module):
    """OpenFace's 713 columns for each frame of a video: [B, T, H, W, 3] bytes -> [B, T, 713], or their mean [B, 713].

    Face, time, confidence and success; gaze 8, eye points 112 + 168, pose 6, landmarks 136 + 204,
    shape parameters 40, action units 35.
    """

    def __init__(self, mean: bool = False) -> None:
        super().__init__()
        self.detect = FaceDetector()
        self.landmarks = Landmarks()
        self.eyes = Eyes()
        self.units = ActionUnits()
        self.mean = mean

    def forward(self, video: Tensor) -> Tensor:
        pictures = video.flatten(0, 1).permute(0, 3, 1, 2).float() / 255  # [B*T, 3, H, W]
        box, confidence = self.detect(pictures)
        grey = pictures.mean(1, keepdim=True)
        parameters, points = self.landmarks(grey, box)
        aligned = crops(grey, torch.cat([points[:, :2].amin(2), parameters[:, :1].expand(-1, 2)], 1)[:, None], 112)
        units = self.units(aligned, torch.cat([points.flatten(1), parameters[:, 6:29]], 1))
        time = torch.arange(video.shape[1], device=video.device).repeat(video.shape[0])
        certain = torch.stack([torch.zeros_like(confidence), time, confidence, (confidence > 0.5).float()], 1)
        pose = parameters[:, :6]
        flat, solid = points[:, :2].flatten(1), points.flatten(1)
        columns = [certain, self.eyes(grey, points), pose, flat, solid, parameters, units]
        features = torch.cat(columns, 1).unflatten(0, video.shape[:2])  # [B, T, 713]
        return features.mean(1) if self.mean else features


def video(batch: int, frames: int, height: int, width: int) -> Tensor:
    """Random frames of bytes, [B, T, H, W, 3]."""
    return octets(batch, frames, height, width, 3)
