"""The one reader of users' pictures: start pictures, masks, image prompts, and training pictures."""

from pathlib import Path

from PIL import Image, ImageFile

from scorefield.files import open_picture
from scorefield.files.open_picture import reading
from scorefield.files.to_srgb import Pixels, to_srgb

_MOST_PAGES = 1000
_WHITE, _BLACK = (255, 255, 255, 255), (0, 0, 0, 255)


def read(path: Path) -> bytes:
    """Read the bytes of the picture at `path`; MissingError if it does not exist, PictureError if it is too large."""
    with open_picture.open_file(path) as file:
        return file.read()


def colours(data: bytes, name: str) -> Image.Image:
    """Decode a picture to sRGB, upright, transparent parts over white; PictureError calls it `name`."""
    return _over(_decode(data, name), _WHITE).convert("RGB")


def greys(data: bytes, name: str) -> Image.Image:
    """Decode a picture to 8-bit grey, upright, transparent parts over black; PictureError calls it `name`."""
    return _over(_decode(data, name), _BLACK).convert("L")


def with_opacity(data: bytes, name: str) -> Image.Image:
    """Decode a picture to sRGB and its opacity (RGBA), upright; PictureError calls it `name`."""
    return _with_opacity(_decode(data, name))


def crop_middle(image: Image.Image, side: int) -> Image.Image:
    """The middle square of a picture, resized to `side` px (bicubic), as in the training of published CLIPs."""
    short = min(image.size)
    width, height = (side * edge // short for edge in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))


def _decode(data: bytes, name: str) -> Pixels:
    with reading(name), open_picture.open_picture(data, name) as image:
        # An animation has no single picture to start from. A camera's MPO does: its others are further views.
        open_picture.check_size(image, name)
        if image.format != "MPO" and (frames := _count_frames(image)) > 1:
            many = f"at least {frames}" if frames == _MOST_PAGES else frames
            raise open_picture.PictureError(f"{name} has {many} pictures; save the one you want as its own file")
        return to_srgb(image, data, name)


def _count_frames(image: ImageFile.ImageFile) -> int:
    """Count the frames or pages, of a TIFF at most _MOST_PAGES."""
    if image.format != "TIFF":
        return int(getattr(image, "n_frames", 1))
    for page in range(1, _MOST_PAGES):  # Pillow's own count takes quadratic time
        try:
            image.seek(page)
        except EOFError:
            image.seek(0)
            return page
    return _MOST_PAGES


def _over(pixels: Pixels, ground: tuple[int, int, int, int]) -> Image.Image:
    """The colours over a uniform background."""
    if pixels.alpha is None:
        return pixels.colours
    whole = _with_opacity(pixels)
    return Image.alpha_composite(Image.new("RGBA", whole.size, ground), whole)


def _with_opacity(pixels: Pixels) -> Image.Image:
    whole = pixels.colours.convert("RGB")
    whole.putalpha(255 if pixels.alpha is None else pixels.alpha)
    return whole
