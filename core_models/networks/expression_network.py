"""A small convolutional network that reads a face's expression from its picture, its blendshapes and its pose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core_models.errors import UsageError

# Added to a picture's deviation (grey levels) before it is divided by it: an empty picture stays empty.
CONTRAST = 8.0


@dataclass(frozen=True, kw_only=True)
class ExpressionConfig:
    """Shape of an ExpressionNet."""

    classes: int = 7
    """Emotions."""
    scores: int = 55
    """Numbers beside the picture: blendshapes, then yaw, pitch and roll."""
    widths: tuple[int, ...] = (32, 64, 128, 192)
    """Channels of the stem and of each stage; every stage halves the picture."""
    blocks: int = 1
    """Residual blocks a stage."""
    beside: int = 64
    """Width of what the scores are turned into."""
    dropout: float = 0.3
    """Before the classifier, in training."""

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 1 or self.blocks < 1 or not 0 <= self.dropout < 1:
            raise UsageError("An expression network needs two widths or more, a block a stage, and dropout below 1.")


class ExpressionNet(nn.Module):
    """Residual stages (He et al., 2016) over the picture, averaged, beside a layer over the scores; one classifier."""

    def __init__(self, config: ExpressionConfig) -> None:
        super().__init__()
        self.config = config
        stem, *stages = config.widths
        layers: list[nn.Module] = [*_build_convolution(1, stem), nn.ReLU(inplace=True)]
        width = stem
        for stage in stages:
            layers += [Residual(width, stage, stride=2)]
            layers += [Residual(stage, stage) for _ in range(config.blocks - 1)]
            width = stage
        self.picture = nn.Sequential(*layers)
        self.beside = nn.Sequential(
            nn.BatchNorm1d(config.scores), nn.Linear(config.scores, config.beside), nn.ReLU(inplace=True)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width + config.beside, config.classes)

    def forward(self, pictures: Tensor, scores: Tensor) -> Tensor:
        """Logits [B, classes] of pictures [B, 1, side, side] in grey levels 0 to 255 and scores [B, config.scores].

        Each picture is brought to mean 0 and deviation 1 first, so that dim light changes little.
        """
        deviation, mean = torch.std_mean(pictures, dim=(1, 2, 3), keepdim=True)
        seen = self.picture(((pictures - mean) / (deviation + CONTRAST)).contiguous(memory_format=torch.channels_last))
        pooled = seen.mean(dim=(2, 3))  # [B, width]
        logits: Tensor = self.classifier(self.dropout(torch.cat([pooled, self.beside(scores)], dim=1)))
        return logits

    def calibrate(self, temperature: float) -> None:
        """Divides the logits by `temperature` from here on (Guo et al., 2017), as part of the classifier."""
        with torch.no_grad():
            for parameter in self.classifier.parameters():
                parameter.div_(temperature)


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, which averages where the stage halves the picture."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(*_build_convolution(inputs, outputs, stride))
        self.second = nn.Sequential(*_build_convolution(outputs, outputs))
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.AvgPool2d(stride))
        if inputs != outputs:
            self.shortcut.extend([nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)])

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


def _build_convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]
