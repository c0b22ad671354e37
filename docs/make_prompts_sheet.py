"""Draw prompts with seeds 0 to 3, without selection. Run: `python docs/make_prompts_sheet.py [--output FILE]`."""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import scorefield as sf

PROMPTS = (
    "a tree in the desert",
    "a cat",
    "a dog",
    "a man",
    "a man wearing a hat",
    "a puppy and a skunk",
    "a mouse and a leopard",
    "a cat and a snake",
    "an otter",
    "a parrot",
    "an astronaut on a horse",
    "a campfire",
    "an avocado and an armchair",
    "three balloons at night",
    "a red car and a blue chair",
    "a penguin in the snow",
)
SEEDS = 4  # pictures per prompt
COLUMNS = 2  # prompts side by side
GAP, LINE = 6, 22  # px: between pictures, and the height of a line of words


def sheet(pipe: sf.Pipeline) -> Image.Image:
    """The sheet: every prompt above its pictures."""
    side = pipe.stage.spec.defaults.width
    width, height = SEEDS * (side + GAP) + 3 * GAP, side + LINE + GAP
    canvas = Image.new("RGB", (COLUMNS * width, -(-len(PROMPTS) // COLUMNS) * height + GAP), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for k, prompt in enumerate(PROMPTS):
        left, top = k % COLUMNS * width + 2 * GAP, k // COLUMNS * height
        pen.text((left, top + LINE // 2), prompt, fill="black", font=font, anchor="lm")
        for seed, image in enumerate(pipe(prompt, count=SEEDS, seed=0)):
            canvas.paste(image, (left + seed * (side + GAP), top + LINE))
    return canvas


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images" / "prompts.png")
    output = parser.parse_args().output
    sheet(sf.load()).save(output, optimize=True)
