"""The judge: a detector of rendered scenes that says what it finds in a picture."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scorefield.data.scenes import COLOURED, HATTED, NAMES
from scorefield.data.things import COLOURS, PLACES, WORN
from scorefield.errors import DamagedError
from scorefield.nets.detector import Detection, Detector, DetectorConfig
from scorefield.weights import scorefield_file

FILE = Path(__file__).parent.parent / "assets" / "scenes-judge.safetensors"
COLOUR_NAMES = tuple(COLOURS)
PLACE_NAMES = tuple(PLACES)
WORN_NAMES: tuple[str | None, ...] = (None, *WORN)
LABELS = {"things": NAMES, "colours": COLOUR_NAMES, "worn": WORN_NAMES, "places": PLACE_NAMES}
THRESHOLD = 0.5  # of the score, for a thing to count; the recipe tunes it on training renders
SURE = 0.6  # probability of its kind that a thing needs; on true renders 99 of 100 have more than 0.8
UNCLEAR = "something unclear"  # the kind of a thing that could be several


class Found(NamedTuple):
    """A thing in a picture: its centre in px, and how sure the judge is that there is something."""

    thing: str  # one of NAMES, or UNCLEAR
    x: float
    y: float
    score: float
    colour: str | None  # the likeliest; None for a thing whose colour never moves
    worn: str | None  # headgear; None for none, and for a thing that never wears any


class Seen(NamedTuple):
    """What the judge finds in one picture, the surest first."""

    found: tuple[Found, ...]
    place: str


Look = Callable[[Tensor], list[Seen]]  # pictures (B, 3, H, W) uint8 -> what each shows


def config() -> DetectorConfig:
    """The detector's configuration for the scenes' things, colours, headgear and places."""
    return DetectorConfig(**{name: len(labels) for name, labels in LABELS.items()})


def peaks(centre: Tensor, threshold: float) -> Tensor:
    """Which cells of `centre` (B, h, w), in 0..1, are the highest of their 3 x 3 neighbours and reach `threshold`."""
    highest = F.max_pool2d(centre[:, None], 3, stride=1, padding=1)[:, 0]
    return (centre == highest) & (centre >= threshold)


def read(detection: Detection, stride: int, threshold: float) -> list[Seen]:
    """Every picture's things and place."""
    scores = detection.centre.float().sigmoid()
    offset = detection.offset.float().tanh()
    kinds, kind = detection.thing.float().softmax(1).max(1)
    colour, worn = detection.colour.argmax(1), detection.worn.argmax(1)
    found: list[list[Found]] = [[] for _ in scores]
    for b, i, j in peaks(scores, threshold).nonzero().tolist():
        name = NAMES[kind[b, i, j]] if kinds[b, i, j] >= SURE else UNCLEAR
        x, y = (j + 0.5 + float(offset[b, 0, i, j])) * stride, (i + 0.5 + float(offset[b, 1, i, j])) * stride
        tint = COLOUR_NAMES[colour[b, i, j]] if name in COLOURED else None
        hat = WORN_NAMES[worn[b, i, j]] if name in HATTED else None
        found[b].append(Found(name, x, y, float(scores[b, i, j]), tint, hat))
    places = detection.place.argmax(1).tolist()
    return [
        Seen(tuple(sorted(some, key=lambda one: -one.score)), PLACE_NAMES[place])
        for some, place in zip(found, places, strict=True)
    ]


def look(module: Detector, pictures: Tensor, threshold: float = THRESHOLD, batch: int = 32) -> list[Seen]:
    """What `module` finds in `pictures` (B, 3, H, W) uint8; ValueError for other kinds of tensor."""
    if pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[1] != 3:
        raise ValueError(f"pictures must be (B, 3, H, W) uint8, not {tuple(pictures.shape)} {pictures.dtype}")
    device = next(module.parameters()).device
    seen: list[Seen] = []
    with torch.inference_mode():
        for start in range(0, len(pictures), batch):
            some = pictures[start : start + batch]
            seen += read(module(some.to(device).float() / 127.5 - 1), module.stride, threshold)
    return seen


def unlike(labels: Mapping[str, object]) -> list[str]:
    """Which lists of labels, as a file of weights holds them, are not those of the scenes as they are now."""
    return [name for name, now in LABELS.items() if labels.get(name) != list(now)]


def load(path: Path = FILE) -> Look:
    """The judge that ships; DamagedError if its file is damaged, or of other things than there are now."""
    tensors, header = scorefield_file.load(path, "judge")
    labels, threshold = header.notes.get("labels"), header.notes.get("threshold")
    if not isinstance(labels, dict) or not isinstance(threshold, float) or unlike(labels):
        raise DamagedError(f"{path} knows other things than this version of scorefield; train or install it again")
    with torch.device("meta"):
        module = Detector(config())
    scorefield_file.fill(module, tensors, torch.float32, path)
    module.eval().requires_grad_(False)
    return lambda pictures: look(module, pictures, threshold)
