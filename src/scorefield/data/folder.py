"""A folder of somebody's own pictures."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from scorefield.data.arrays import Bytes
from scorefield.errors import RequestError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def pictures(folder: Path, width: int, height: int) -> Bytes:
    """Every picture of a folder in the order of its names, (N, height, width, 3): scaled, and cut about its middle.

    What is transparent becomes white. RequestError for a folder without pictures, and for a file that is none.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in ENDINGS) if folder.is_dir() else []
    if not files:
        raise RequestError(f"there are no pictures in {folder}: it must be a folder with {', '.join(ENDINGS)} in it")
    return np.stack([_fitted(path, width, height) for path in files])


def _fitted(path: Path, width: int, height: int) -> Bytes:
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise RequestError(f"{path} is no picture that can be read ({error})") from None
    white = Image.new("RGBA", upright.size, "white")
    flat = Image.alpha_composite(white, upright).convert("RGB")
    return np.asarray(ImageOps.fit(flat, (width, height), Image.Resampling.LANCZOS))
