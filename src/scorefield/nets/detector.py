"""The detector: which things a picture shows, where, in which colours, wearing what, and in which place."""

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets.layers import ChannelNorm, ConvBlock, channels_last


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """The number of classes of each kind, and the widths at 1/4, 1/8 and 1/16 of the picture's side."""

    things: int
    colours: int
    worn: int  # kinds of headgear; the first is none
    places: int
    width_quarter: int = 64
    width_eighth: int = 128
    width_sixteenth: int = 192


class Detection(NamedTuple):
    """Logits for each cell of 8 x 8 px, (B, ..., H/8, W/8), and for the whole picture."""

    centre: Tensor  # (B, h, w): whether a thing's centre is here
    offset: Tensor  # (B, 2, h, w): from the middle of the cell to that centre, x then y, in cells
    thing: Tensor  # (B, things, h, w)
    colour: Tensor  # (B, colours, h, w)
    worn: Tensor  # (B, worn, h, w)
    place: Tensor  # (B, places)


class Detector(nn.Module):
    """Things as points (Zhou et al. 2019, "Objects as points"): one map of centres, and all properties read there.

    All kinds share one map, so that a blob that could be two kinds counts once, as the likelier.
    """

    stride = 8

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        quarter, eighth, sixteenth = config.width_quarter, config.width_eighth, config.width_sixteenth
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(3 * 16, quarter, 3, padding=1), ConvBlock(quarter))
        self.fine = nn.Sequential(nn.Conv2d(quarter, eighth, 2, stride=2), ConvBlock(eighth), ConvBlock(eighth))
        self.coarse = nn.Sequential(
            nn.Conv2d(eighth, sixteenth, 2, stride=2), ConvBlock(sixteenth), ConvBlock(sixteenth)
        )
        self.up = nn.Conv2d(sixteenth, eighth, 1)
        self.mix = nn.Sequential(ConvBlock(eighth), ChannelNorm(eighth, eps=1e-6))
        self.parts = (1, 2, config.things, config.colours, config.worn)
        self.read = nn.Conv2d(eighth, sum(self.parts), 1)
        self.place = nn.Linear(sixteenth, config.places)
        nn.init.constant_(self.read.bias[:1], -4.0)  # type: ignore[index]  # start low: centres are rare

    def forward(self, pixels: Tensor) -> Detection:
        """Detect the contents of `pixels` (B, 3, H, W) in [-1, 1]; ValueError for sides not multiples of 16."""
        if pixels.shape[-1] % 16 or pixels.shape[-2] % 16:
            raise ValueError(f"pixels {tuple(pixels.shape)}: the detector needs sides that are multiples of 16")
        fine = self.fine(self.stem(channels_last(pixels)))
        coarse = self.coarse(fine)
        fine = fine + F.interpolate(self.up(coarse), scale_factor=2.0)
        centre, offset, thing, colour, worn = self.read(self.mix(fine)).split(self.parts, dim=1)
        place = self.place(F.layer_norm(coarse.mean((2, 3)), coarse.shape[1:2]))
        return Detection(centre[:, 0], offset, thing, colour, worn, place)
