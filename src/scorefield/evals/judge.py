"""The judge: a detector, trained on rendered scenes, that reports what a picture shows."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from scorefield.data.colours import COLOURS
from scorefield.data.phrases import NUMBERS, PLACES, RELATIONS
from scorefield.data.scenes import Scene
from scorefield.data.things import COLOURED, HATTED, NAMES, WORN
from scorefield.errors import DamagedError
from scorefield.input_files import Json
from scorefield.nets.detector import Detection, Detector, DetectorConfig
from scorefield.weights import scorefield_file

FILE = Path(__file__).parent.parent / "assets" / "scenes-judge.safetensors"
THRESHOLD = 0.5  # least score of a thing; the recipe tunes it on training renders
UNCLEAR = "something unclear"  # the kind of a thing that is ambiguous or damaged
# A thing is unclear if that is exp(DOUBT) times as likely as its likeliest name, or if this has less than SURE. In
# training a third of the things is damaged, in pictures fewer: of training renders DOUBT 1 judged 99.4 % right, DOUBT 0
# 98.9 %, and of ones that were damaged as in no training 4 in 100 more.
DOUBT, SURE = 1.0, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The names that a judge distinguishes, in the order of its outputs, and the things with colour or headgear."""

    things: tuple[str, ...]
    colours: tuple[str, ...]
    worn: tuple[str | None, ...]  # the first is None, for no headgear
    places: tuple[str, ...]
    coloured: tuple[str, ...]
    hatted: tuple[str, ...]
    relations: tuple[str, ...]  # between things, in its training
    numbers: tuple[str, ...]  # of a thing, in its training: one, two, ...

    def knows(self, scene: Scene) -> bool:
        """Whether these labels cover everything that the scene shows."""
        usual = scene.place in self.places and scene.relation in (None, *self.relations)
        few = all(noun.counted and noun.count <= len(self.numbers) for noun in scene.nouns)
        return (
            usual
            and few
            and all(
                item.thing in self.things
                and (item.colour is None or (item.colour in self.colours and item.thing in self.coloured))
                and (item.worn is None or (item.worn in self.worn and item.thing in self.hatted))
                for item in scene.items
            )
        )


LABELS = Labels(  # of today's scenes
    things=(*NAMES, UNCLEAR),
    colours=tuple(COLOURS),
    worn=(None, *WORN),
    places=tuple(PLACES),
    coloured=COLOURED,
    hatted=tuple(name for name in NAMES if name in HATTED),
    relations=tuple(RELATIONS),
    numbers=NUMBERS,
)


class Found(NamedTuple):
    """A thing in a picture: its centre in px, and the judge's score."""

    thing: str  # one of NAMES, or UNCLEAR
    x: float
    y: float
    score: float
    colour: str | None  # the likeliest; None for a thing of fixed colour
    worn: str | None  # headgear; None for none, and for things that never wear any


class Seen(NamedTuple):
    """The judge's findings in one picture, by falling score."""

    found: tuple[Found, ...]
    place: str


Look = Callable[[Tensor], list[Seen]]  # pictures (B, 3, H, W) uint8 -> what each shows


def config(labels: Labels = LABELS) -> DetectorConfig:
    """The configuration of a detector with these labels."""
    return DetectorConfig(
        things=len(labels.things), colours=len(labels.colours), worn=len(labels.worn), places=len(labels.places)
    )


def peaks(centre: Tensor, threshold: float) -> Tensor:
    """Whether cells of `centre` (B, h, w), in 0..1, are the highest of their 3 x 3 and reach `threshold`."""
    highest = F.max_pool2d(centre[:, None], 3, stride=1, padding=1)[:, 0]
    return (centre == highest) & (centre >= threshold)


def read(detection: Detection, stride: int, threshold: float, labels: Labels = LABELS) -> list[Seen]:
    """The things and the place of each picture."""
    scores = detection.centre.float().sigmoid()
    offset = detection.offset.float().tanh()
    logits = detection.thing.float().clone()
    if UNCLEAR in labels.things:
        logits[:, labels.things.index(UNCLEAR)] -= DOUBT
    kinds, kind = logits.softmax(1).max(1)
    colour, worn = detection.colour.argmax(1), detection.worn.argmax(1)
    found: list[list[Found]] = [[] for _ in scores]
    for b, i, j in peaks(scores, threshold).nonzero().tolist():
        name = labels.things[kind[b, i, j]] if kinds[b, i, j] >= SURE else UNCLEAR
        x, y = (j + 0.5 + float(offset[b, 0, i, j])) * stride, (i + 0.5 + float(offset[b, 1, i, j])) * stride
        tint = labels.colours[colour[b, i, j]] if name in labels.coloured else None
        hat = labels.worn[worn[b, i, j]] if name in labels.hatted else None
        found[b].append(Found(name, x, y, float(scores[b, i, j]), tint, hat))
    places = detection.place.argmax(1).tolist()
    return [
        Seen(tuple(sorted(some, key=lambda one: -one.score)), labels.places[place])
        for some, place in zip(found, places, strict=True)
    ]


def look(
    module: Detector, pictures: Tensor, threshold: float = THRESHOLD, labels: Labels = LABELS, batch: int = 32
) -> list[Seen]:
    """Find the things and places of `pictures` (B, 3, H, W) uint8; ValueError for other tensors."""
    if pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[1] != 3:
        raise ValueError(f"pictures must be (B, 3, H, W) uint8, not {tuple(pictures.shape)} {pictures.dtype}")
    device = next(module.parameters()).device
    seen: list[Seen] = []
    with torch.inference_mode():
        for start in range(0, len(pictures), batch):
            some = pictures[start : start + batch]
            seen += read(module(some.to(device).float() / 127.5 - 1), module.stride, threshold, labels)
    return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A trained detector with the labels and the threshold of its file."""

    module: Detector
    threshold: float
    labels: Labels

    def __call__(self, pictures: Tensor) -> list[Seen]:
        """The things and the place of each of the pictures (B, 3, H, W) uint8."""
        return look(self.module, pictures, self.threshold, self.labels)


def notes(threshold: float, labels: Labels = LABELS) -> dict[str, Json]:
    """The notes in the header of a judge's file, by which it is read."""
    return {"threshold": threshold, "labels": {name: list(each) for name, each in asdict(labels).items()}}


def _labels(stored: Json) -> Labels:
    """The labels of a file's header; ValueError if some are missing or are not names."""
    names = Labels.__dataclass_fields__
    if not isinstance(stored, Mapping) or stored.keys() != names.keys():
        raise ValueError("its labels are not those of a judge")
    found: dict[str, tuple[str, ...]] = {}
    for name, each in stored.items():
        if not isinstance(each, list) or not all(isinstance(one, str) or one is None for one in each):
            raise ValueError(f"its {name} are not names")
        found[name] = tuple(str(one) for one in each) if name != "worn" else tuple(each)  # type: ignore[arg-type]
    return Labels(**found)


def load(path: Path = FILE) -> Judge:
    """Load a judge, by default the packaged one; DamagedError for a damaged file."""
    tensors, header = scorefield_file.load(path, "judge")
    threshold = header.notes.get("threshold")
    try:
        labels = _labels(header.notes.get("labels"))
        if not isinstance(threshold, float):
            raise ValueError("it has no threshold")
    except ValueError as error:
        message = f"{path} was made by another version of scorefield ({error}); train or install it again"
        raise DamagedError(message) from None
    with torch.device("meta"):
        module = Detector(config(labels))
    scorefield_file.fill(module, tensors, torch.float32, path)
    module.eval().requires_grad_(False)
    return Judge(module=module, threshold=threshold, labels=labels)
