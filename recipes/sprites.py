"""Make the sheet of sprites that ships with the package from the Noto Color Emoji font.

Run: `python recipes/sprites.py [--font PATH]`. The font is Debian's fonts-noto-color-emoji (artwork Apache-2.0).
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from scorefield.data.sprites import CELL, COLUMNS, SHEET, glyphs

STRIKE = 109  # the one size at which the font holds bitmaps, px


def draw(glyph: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """One glyph, cropped to its ink and fitted into a cell."""
    canvas = Image.new("RGBA", (3 * STRIKE, 2 * STRIKE))
    ImageDraw.Draw(canvas).text((STRIKE // 4, STRIKE // 4), glyph, font=font, embedded_color=True)
    ink = canvas.getbbox()
    if ink is None:
        raise SystemExit(f"error: the font draws nothing for {glyph!r}; install fonts-noto-color-emoji 2.042 or later")
    sprite = canvas.crop(ink)
    sprite.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return sprite


def main() -> None:
    """Draw every glyph into its cell and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--font", type=Path, default=Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"))
    font = ImageFont.truetype(parser.parse_args().font, STRIKE)
    names = glyphs()
    sheet = Image.new("RGBA", (COLUMNS * CELL, -(-len(names) // COLUMNS) * CELL))
    for index, glyph in enumerate(names.values()):
        row, column = divmod(index, COLUMNS)
        sprite = draw(glyph, font)
        sheet.paste(sprite, (column * CELL + (CELL - sprite.width) // 2, row * CELL + (CELL - sprite.height) // 2))
    sheet.save(SHEET, lossless=True, method=6, exact=True)
    print(f"{len(names)} sprites, {SHEET.stat().st_size / 1024:.0f} KiB: {SHEET}")  # noqa: T201


if __name__ == "__main__":
    main()
