"""Pictures of a walk: noisy state and prediction in one picture, and sheets and walk videos of them."""

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
    """One step of one picture: the noisy state, and the clean picture that the model predicts from it.

    Of a film each of the two is a row of frames.
    """

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
    """Noisy state, clean prediction and labels in one picture with even sides, enlarged `scale` times.

    The two are side by side, rows of frames one above the other.
    """
    width, height = look.noisy.width * scale, look.noisy.height * scale
    gap, bar = 2 * scale, 12 + 4 * scale
    step = (0, height + gap) if _is_row(look.noisy) else (width + gap, 0)
    canvas = Image.new("RGB", (_even(width + step[0]), _even(height + step[1] + bar)), _GROUND)
    for picture, corner in ((look.noisy, (0, 0)), (look.clean, step)):
        canvas.paste(picture.resize((width, height), Image.Resampling.NEAREST), corner)
    font = ImageFont.load_default(size=8 + 2 * scale)
    draw, middle = ImageDraw.Draw(canvas), height + step[1] + bar // 2
    draw.text((2 * scale, middle), look.label, fill=_INK, font=font, anchor="lm")
    if step[0] and font.getlength(look.label) < width - 4 * scale:  # not in small pictures
        draw.text((width + gap + 2 * scale, middle), "prediction", fill=_INK, font=font, anchor="lm")
    return canvas


def _is_row(picture: Image.Image) -> bool:
    """Whether a picture is a row of frames."""
    return picture.width > 2 * picture.height


def sheet(looks: Sequence[Look]) -> Image.Image:
    """A contact sheet of all looks, row by row; a film has a row for each."""
    return tiled([pair(look) for look in looks], 1 if _is_row(looks[0].noisy) else _SHEET_ROW)


def tiled(pictures: Sequence[Image.Image], columns: int = _SHEET_ROW) -> Image.Image:
    """A sheet of pictures of one size, row by row, in at most so many columns."""
    columns = min(columns, len(pictures))
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
