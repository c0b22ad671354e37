"""Pictures on their way into and out of AUTOMATIC1111's requests: masks, what is under them, and file formats."""

import base64
from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageChops, ImageFilter, ImageStat

from scorefield.errors import RequestError
from scorefield.files import inputs
from scorefield.files.open_picture import check_size, open_picture, reading
from scorefield.files.picture import encode, read_texts
from scorefield.files.walk_pictures import tiled
from scorefield.server.a1111_fields import Img2ImgIn
from scorefield.server.a1111_options import Format
from scorefield.server.desk import Desk, from_base64

_EXIF, _USER_COMMENT = 0x8769, 0x9286
_RADII = (64, 16, 4, 1)  # px: how far colours spread into a masked region, the farthest first


def start(asked: Img2ImgIn, desk: Desk) -> dict[str, object]:
    """The options of a request about its start picture and mask."""
    given = asked.init_images or []
    if len(given) != 1:
        raise RequestError(f"init_images has {len(given)} pictures; give one", option="init_images")
    if asked.resize_mode not in (None, 0, 1):
        raise RequestError("resize_mode must be 0 (stretch) or 1 (crop)", option="resize_mode")
    strength = 0.75 if asked.denoising_strength is None else asked.denoising_strength
    options: dict[str, object] = {"strength": strength, "fit": "crop" if asked.resize_mode == 1 else "stretch"}
    image = _uploaded(given[0], "init_images", desk)
    if not asked.mask:
        return {**options, "image": image}
    fill = asked.inpainting_fill or 0
    if fill not in (0, 1) and strength < 1:
        raise RequestError(
            "inpainting_fill must be 0 (the colours around) or 1 (what was there), or denoising_strength 1",
            option="inpainting_fill",
        )
    mask = _mask(_uploaded(asked.mask, "mask", desk), asked)
    if fill == 0 and strength < 1:
        image = _png(_filled(inputs.colours(image, "init_images"), mask))
    return {**options, "image": image, "mask": _png(mask)}


def encoded(data: bytes, form: Format, quality: int) -> str:
    """A PNG file of ours in base64, in another format if so asked, with its `parameters` text."""
    if form != "png":
        exif = Image.Exif()
        exif.get_ifd(_EXIF)[_USER_COMMENT] = b"UNICODE\0" + parameters_in(data).encode("utf-16-be")
        stream = BytesIO()
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            image.save(stream, "WEBP" if form == "webp" else "JPEG", quality=quality, exif=exif)
        data = stream.getvalue()
    return base64.b64encode(data).decode()


def grid(files: Sequence[bytes]) -> bytes:
    """A sheet of PNG files, with the text of the first."""
    sheet = tiled([Image.open(BytesIO(data), formats=["PNG"]) for data in files], round(len(files) ** 0.5))
    return _png(sheet, parameters_in(files[0]))


def parameters_in(data: bytes) -> str:
    """The `parameters` text of a PNG file of ours."""
    return read_texts(data, "the picture").get("parameters", "")


def _uploaded(text: str, name: str, desk: Desk) -> bytes:
    data = from_base64(text, name)
    desk.check_picture(name, data)
    return data


def _mask(data: bytes, asked: Img2ImgIn) -> Image.Image:
    """The mask in grey, white where to repaint: its alpha channel if it has one, else its brightness."""
    with reading("mask"), open_picture(data, "mask") as image:
        check_size(image, "mask")
        alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    grey = alpha if alpha is not None and alpha.getextrema() != (255, 255) else inputs.greys(data, "mask")
    if asked.inpainting_mask_invert:
        grey = ImageChops.invert(grey)
    blur = (asked.mask_blur_x or 0, asked.mask_blur_y or 0) if asked.mask_blur is None else (asked.mask_blur,) * 2
    return grey.filter(ImageFilter.GaussianBlur(blur))


def _filled(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with the colours around the white of a mask spread into it, the nearest ones on top."""
    white = mask.resize(image.size, Image.Resampling.NEAREST).point(lambda value: 255 * (value >= 128))
    kept = ImageChops.invert(white)
    if kept.getbbox() is None:
        return image
    mean = tuple(round(value) for value in ImageStat.Stat(image, kept).mean)
    ground, known = Image.new("RGBA", image.size, (*mean, 255)), image.convert("RGBA")
    known.putalpha(kept)
    for radius in _RADII:  # premultiplied by alpha, so that the colours under the mask weigh nothing
        ground.alpha_composite(known.convert("RGBa").filter(ImageFilter.GaussianBlur(radius)).convert("RGBA"))
    ground.alpha_composite(known)
    return ground.convert("RGB")


def _png(image: Image.Image, text: str | None = None) -> bytes:
    return encode(image, {} if text is None else {"parameters": text})
