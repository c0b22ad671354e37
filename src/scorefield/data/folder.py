"""A folder of the user's own pictures."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from scorefield.data.arrays import Bytes
from scorefield.errors import RequestError
from scorefield.files import inputs
from scorefield.files.open_picture import ENDINGS


def pictures(folder: Path, width: int, height: int) -> Bytes:
    """Read every picture of a folder by name order, (N, height, width, 3), scaled and cropped around the middle.

    They are read like `--image`: upright, in sRGB, transparent parts white. RequestError for a folder without pictures,
    PictureError for a file that is not a picture.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in ENDINGS) if folder.is_dir() else []
    if not files:
        raise RequestError(f"there are no pictures in {folder}; give a folder with {', '.join(ENDINGS)} files")
    return np.stack([_fitted(path, width, height) for path in files])


def _fitted(path: Path, width: int, height: int) -> Bytes:
    whole = inputs.colours(inputs.read(path), str(path))
    return np.asarray(ImageOps.fit(whole, (width, height), Image.Resampling.LANCZOS))
