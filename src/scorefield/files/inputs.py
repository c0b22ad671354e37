"""Pictures that a user gives: read whole, turned upright, without transparency, or refused in one line."""

import io
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from scorefield.files.picture import PictureError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # others, such as EPS, may run a program
MOST_BYTES = 2**28
MOST_PIXELS = 2**26

_WHITE, _BLACK = (255, 255, 255, 255), (0, 0, 0, 255)


def read(path: Path) -> bytes:
    """The bytes of the file at `path`; PictureError if it is no file or too large for a picture."""
    if not path.is_file():
        what = "is a folder, not a picture" if path.is_dir() else "is not there"
        raise PictureError(f"the picture {path} {what}")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise PictureError(f"{path} has {size} bytes; {MOST_BYTES} are the most that a picture may have")
    return path.read_bytes()


def colours(data: bytes, name: str) -> Image.Image:
    """The picture in RGB, transparent parts over white; PictureError calls it `name`."""
    return _over(_upright(data, name), _WHITE).convert("RGB")


def greys(data: bytes, name: str) -> Image.Image:
    """The picture in one channel of 8 bits, transparent parts over black; PictureError calls it `name`."""
    return _over(_upright(data, name), _BLACK).convert("L")


def _upright(data: bytes, name: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise PictureError(f"{name} has {image.width} x {image.height} pixels; {MOST_PIXELS} are the most")
            # An animation has no single picture to start from; but a camera's MPO is one, with further views of it.
            if (frames := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
                raise PictureError(f"{name} has {frames} pictures; save the one that is meant alone")
            image.load()
            return ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise PictureError(f"{name} is no picture that can be read ({', '.join(FORMATS)})") from None
    except PictureError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureError(f"{name} is damaged: {error}") from None


def _over(image: Image.Image, ground: tuple[int, int, int, int]) -> Image.Image:
    """`image` without transparency and with 8 bits a channel."""
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16 bits of grey, which Pillow's own conversion clips
        return image.convert("F").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if not image.has_transparency_data:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image.convert("RGBA"))
