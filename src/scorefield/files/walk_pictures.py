"""Pictures of a walk: noisy state and prediction side by side, and sheets and walk videos of them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from scorefield.files.video import write_mp4

_GROUND, _INK = (24, 24, 27), (228, 228, 231)
_SHEET_ROW = 4  # pictures in a row
_VIDEO_SIDE = 512  # the approximate width of each of the two pictures, px; the scale is an integer
_PER_SECOND = 8


class Look(NamedTuple):
    """One step of one picture: the noisy state, and the clean picture that the model predicts from it."""

    i: int
    n: int
    lam: float
    noisy: Image.Image
    clean: Image.Image

    @property
    def label(self) -> str:
        """The step and its level, as a caption."""
        level = "clean" if self.lam == math.inf else "pure noise" if self.lam == -math.inf else f"lam {self.lam:+.2f}"
        return f"step {self.i}/{self.n}   {level}"


def pair(look: Look, *, scale: int = 1) -> Image.Image:
    """Noisy state, clean prediction and labels in one picture with even sides, enlarged `scale` times."""
    width, height = look.noisy.width * scale, look.noisy.height * scale
    gap, bar = 2 * scale, 12 + 4 * scale
    canvas = Image.new("RGB", (_even(2 * width + gap), _even(height + bar)), _GROUND)
    for picture, left in ((look.noisy, 0), (look.clean, width + gap)):
        canvas.paste(picture.resize((width, height), Image.Resampling.NEAREST), (left, 0))
    font = ImageFont.load_default(size=8 + 2 * scale)
    draw, middle = ImageDraw.Draw(canvas), height + bar // 2
    draw.text((2 * scale, middle), look.label, fill=_INK, font=font, anchor="lm")
    if font.getlength(look.label) < width - 4 * scale:  # not in small pictures
        draw.text((width + gap + 2 * scale, middle), "prediction", fill=_INK, font=font, anchor="lm")
    return canvas


def sheet(looks: Sequence[Look]) -> Image.Image:
    """A contact sheet of all looks, row by row."""
    return tiled([pair(look) for look in looks])


def tiled(pictures: Sequence[Image.Image]) -> Image.Image:
    """A sheet of pictures of one size, row by row."""
    columns = min(_SHEET_ROW, len(pictures))
    width, height = pictures[0].width + 8, pictures[0].height + 8
    canvas = Image.new("RGB", (columns * width + 8, math.ceil(len(pictures) / columns) * height + 8), _GROUND)
    for k, picture in enumerate(pictures):
        canvas.paste(picture, (8 + k % columns * width, 8 + k // columns * height))
    return canvas


def _even(side: int) -> int:
    return side + side % 2


def write_walk_video(looks: Sequence[Look], path: Path) -> None:
    """Encode one frame for each look into the mp4 file `path`, the last one held; MissingExtraError without PyAV."""
    scale = max(1, round(_VIDEO_SIDE / looks[0].noisy.width))
    write_mp4((pair(look, scale=scale) for look in looks), path, _PER_SECOND)
