"""Draw scenes 0 to 3 of every task, without selection. Run: `python docs/make_scenes_sheet.py [--output FILE]`."""

import argparse
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from scorefield.data.asked import TASKS
from scorefield.data.paint import SIZE
from scorefield.data.render import render
from scorefield.data.scenes import Scene, scene

ROWS = 4  # scenes per task
GAP, HEAD, WORDS = 12, 26, 68  # px: between pictures, and the heights of the tasks' names and of a caption
OUTPUT = Path(__file__).parent / "images" / "scenes.png"


def shown() -> list[list[Scene]]:
    """The training scenes of the sheet, in rows with one scene of each task."""
    return [[scene(index, seed=0, split="train", task=task) for task in TASKS] for index in range(ROWS)]


def corner(row: int, column: int) -> tuple[int, int]:
    """The left and top of a picture in the sheet, in px."""
    return GAP + column * (SIZE + GAP), HEAD + row * (SIZE + WORDS)


def sheet() -> Image.Image:
    """The sheet: a column for each task, with a caption under each picture."""
    width, height = corner(ROWS, len(TASKS))
    canvas = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(canvas)
    head, plain = ImageFont.load_default(size=15), ImageFont.load_default(size=12)
    for column, task in enumerate(TASKS):
        pen.text((corner(0, column)[0] + SIZE // 2, HEAD // 2), task, fill="black", font=head, anchor="mm")
    for row, scenes in enumerate(shown()):
        for column, one in enumerate(scenes):
            left, top = corner(row, column)
            canvas.paste(Image.fromarray(render(one)), (left, top))
            words = "\n".join(textwrap.wrap(one.caption or "(no words)", 21))
            pen.multiline_text((left, top + SIZE + 3), words, fill="black", font=plain, spacing=1)
    return canvas


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    sheet().save(parser.parse_args().output, optimize=True)
