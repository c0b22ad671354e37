"""Make the sheet of sprites that ships with the package from the Noto Color Emoji font.

Run: `python recipes/sprites.py [--font PATH]`. The font is Debian's fonts-noto-color-emoji (artwork Apache-2.0).
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from scorefield.data.sprites import CELL, COLUMNS, SHEET, glyphs

STRIKE = 109  # the only size of the font's bitmaps, px
HEAD, BRIM = (20, 20, 73, 74), 31  # of the snowman: the box of its head, and the row where its hat ends, px


def inked(glyph: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """One glyph, cropped to its ink."""
    canvas = Image.new("RGBA", (3 * STRIKE, 2 * STRIKE))
    ImageDraw.Draw(canvas).text((STRIKE // 4, STRIKE // 4), glyph, font=font, embedded_color=True)
    ink = canvas.getbbox()
    if ink is None:
        raise SystemExit(f"error: the font has no picture of {glyph!r}; install fonts-noto-color-emoji 2.042 or later")
    return canvas.crop(ink)


def bareheaded(snowman: Image.Image) -> Image.Image:
    """The font's snowman without its hat, its head made round."""
    fine, scale = Image.new("RGBA", (snowman.width * 4, snowman.height * 4)), 4
    ImageDraw.Draw(fine).ellipse([scale * side for side in HEAD], fill=(224, 224, 224, 255))
    head = fine.resize(snowman.size, Image.Resampling.LANCZOS)
    below = snowman.copy()
    below.paste((0, 0, 0, 0), (0, 0, snowman.width, BRIM))
    head.alpha_composite(below)
    return head.crop(head.getbbox())


def draw(name: str, glyph: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """The sprite of a thing, no larger than a cell."""
    sprite = inked(glyph, font)
    if name == "snowman":
        sprite = bareheaded(sprite)
    if max(sprite.size) > CELL:
        sprite.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return sprite


def main() -> None:
    """Draw every glyph into its cell and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--font", type=Path, default=Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"))
    font = ImageFont.truetype(parser.parse_args().font, STRIKE)
    names = glyphs()
    sheet = Image.new("RGBA", (COLUMNS * CELL, -(-len(names) // COLUMNS) * CELL))
    for index, (name, glyph) in enumerate(names.items()):
        row, column = divmod(index, COLUMNS)
        sprite = draw(name, glyph, font)
        sheet.paste(sprite, (column * CELL + (CELL - sprite.width) // 2, row * CELL + (CELL - sprite.height) // 2))
    sheet.save(SHEET, lossless=True, method=6, exact=True)
    print(f"{len(names)} sprites, {SHEET.stat().st_size / 1024:.0f} KiB: {SHEET}")  # noqa: T201


if __name__ == "__main__":
    main()
