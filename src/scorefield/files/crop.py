"""The part of a picture that CLIP is shown."""

from PIL import Image


def middle(image: Image.Image, side: int) -> Image.Image:
    """The middle square of a picture, `side` px wide (bicubic), as published CLIPs were trained on."""
    short = min(image.size)
    width, height = (side * edge // short for edge in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
