"""Measure what textual inversion learns from 5 pictures of a thing that the model does not know, and draw a figure.

`python docs/make_inversion.py pictures FOLDER` draws the pictures from which the word is learned, and
`python docs/make_inversion.py judge FILE` measures how well the model draws the word of that file.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

import scorefield as sf
from scorefield.data.paint import SIZE
from scorefield.data.phrases import PLACES
from scorefield.data.places import FLOATING, VARIANTS, painted
from scorefield.data.render import stand
from scorefield.data.sprites import sprite
from scorefield.data.things import THINGS
from scorefield.prompt.text import TextConditioner

Bytes = NDArray[np.uint8]

FIGURE = Path(__file__).parent / "images" / "inversion.png"
INIT = "book"  # the initial word, as in the command of docs/inversion.md
LEARNED_IN = ("white", "desert", "snow", "city", "forest")  # the places of the 5 pictures
OTHERS = ("beach", "meadow", "sea", "night", "space", "room", "grey", "blue", "green", "pink")  # known to the model
OWN = "the new thing"


def artwork() -> Bytes:
    """A traffic light (96, 48, 4): the sheet of sprites has none, and the vocabulary no word for it."""
    scale = 4  # drawn larger, for smooth edges
    canvas = Image.new("RGBA", (48 * scale, 96 * scale))
    pen = ImageDraw.Draw(canvas)
    pen.rounded_rectangle((6 * scale, 2 * scale, 42 * scale, 94 * scale), 10 * scale, fill=(58, 62, 70))
    for k, colour in enumerate(((236, 50, 46), (252, 208, 40), (56, 180, 74))):
        pen.circle((24 * scale, (18 + 30 * k) * scale), 12 * scale, fill=colour)
    return np.asarray(canvas.resize((48, 96), Image.Resampling.LANCZOS))


def scaled(art: Bytes, size: int) -> Bytes:
    """Artwork whose longer side is `size` px."""
    height, width = art.shape[:2]
    sides = (round(width * size / max(height, width)), round(height * size / max(height, width)))
    return np.asarray(Image.fromarray(art).resize(sides, Image.Resampling.LANCZOS))


def standing(art: Bytes, place: str, rng: np.random.Generator) -> Bytes:
    """A picture (128, 128, 3) of artwork in a place, near the middle, like the single things of the data set."""
    picture, size = painted(place, int(rng.integers(VARIANTS))).copy(), int(rng.integers(56, 65))
    y = rng.integers(54, 75) if place in FLOATING else rng.integers(100, 113) - size // 2
    stand(picture, scaled(art, size), int(rng.integers(50, 79)), int(y), shadow=place not in FLOATING)
    return picture


def pictures(places: tuple[str, ...], seed: int, art: Bytes) -> list[Bytes]:
    """One picture of artwork in each place."""
    rng = np.random.default_rng(seed)
    return [standing(art, place, rng) for place in places]


class Judge(NamedTuple):
    """The image encoder of the embedded CLIP, and a vector for each thing: the mean of 10 pictures outside training.

    `names` are those of the model's 67 things, followed by the name of the new thing.
    """

    conditioner: TextConditioner
    names: list[str]
    vectors: Tensor

    def seen(self, shown: list[Bytes]) -> Tensor:
        """Unit vectors of pictures."""
        pixels = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            return self.conditioner.clip.encode_image(pixels)

    def measured(self, shown: list[Bytes]) -> dict[str, float]:
        """The mean cosine to the new thing, and the share of pictures that are nearer to it than to the other 67."""
        cosines = self.seen(shown) @ self.vectors.T
        nearest = [self.names[k] for k in cosines.argmax(1).tolist()]
        return {"cosine": float(cosines[:, -1].mean()), "nearest": nearest.count(OWN) / len(nearest)}


def judge(conditioner: TextConditioner) -> Judge:
    """The judge, from renders in the places in which the word was not learned."""
    blank = Judge(conditioner, [], torch.zeros(0))
    known = [thing for thing in THINGS if not conditioner.unknown([thing.name])]
    art = {thing.name: sprite(thing.name, 96) for thing in known} | {OWN: artwork()}
    vectors = [blank.seen(pictures(OTHERS, 1, one)).mean(0) for one in art.values()]
    return Judge(conditioner, list(art), F.normalize(torch.stack(vectors), dim=1))


def prompts(word: str) -> list[str]:
    """The word in every place; first the places in which it was not learned."""
    return [f"a {word} {PLACES[place][0]}" for place in (*OTHERS, *LEARNED_IN)]


def drawn(pipe: sf.Pipeline, word: str, count: int) -> list[Bytes]:
    """`count` pictures of each prompt, seeds from 0."""
    return [np.asarray(one) for one in pipe(prompts(word), count=count, seed=0).images]


def sheet(rows: dict[str, list[Bytes]]) -> Image.Image:
    """Rows of pictures, each under its title."""
    gap, head = 8, 24
    wide = max(map(len, rows.values())) * (SIZE + gap) + gap
    canvas = Image.new("RGB", (wide, len(rows) * (SIZE + head + gap)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=15)
    for row, (title, shown) in enumerate(rows.items()):
        top = row * (SIZE + head + gap)
        pen.text((gap, top + head // 2 + 2), title, fill="black", font=font, anchor="lm")
        for column, one in enumerate(shown):
            canvas.paste(Image.fromarray(one), (gap + column * (SIZE + gap), top + head))
    return canvas


def judged(file: Path, count: int, figure: Path) -> dict[str, dict[str, float]]:
    """The judge's numbers for `count` pictures of each of 15 prompts, with the new word and with the initial one.

    The figure shows the first picture of each prompt.
    """
    pipe = sf.load(embeddings=[str(file)])
    word = pipe.embeddings[0].token
    conditioner = pipe.stage.conditioner
    assert isinstance(conditioner, TextConditioner)
    says = judge(conditioner)
    before, after = drawn(pipe, INIT, count), drawn(pipe, word, count)
    first = slice(0, 7 * count, count)
    sheet(
        {
            "the 5 pictures that it learns from": pictures(LEARNED_IN, 0, artwork()),
            f'before: "a {INIT} on the beach", ...': before[first],
            f'after: "a {word} on the beach", ..., places that it was not shown in': after[first],
        }
    ).save(figure, optimize=True)
    renders = [one for seed in range(2, 5) for one in pictures(OTHERS, seed, artwork())]
    return {
        "renders of it": says.measured(renders),
        f"a {INIT} ...": says.measured(before),
        f"a {word} ...": says.measured(after),
    }


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    draw = commands.add_parser("pictures")
    draw.add_argument("folder", type=Path)
    look = commands.add_parser("judge")
    look.add_argument("file", type=Path)
    look.add_argument("--count", type=int, default=4)
    look.add_argument("--figure", type=Path, default=FIGURE)
    given = parser.parse_args()
    if given.command == "pictures":
        given.folder.mkdir(parents=True, exist_ok=True)
        for place, picture in zip(LEARNED_IN, pictures(LEARNED_IN, 0, artwork()), strict=True):
            Image.fromarray(picture).save(given.folder / f"{place}.png", optimize=True)
    else:
        sys.stdout.write(json.dumps(judged(given.file, given.count, given.figure), indent=2) + "\n")


if __name__ == "__main__":
    main()
