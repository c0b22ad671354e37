"""What a model is, as data: the five choices, its defaults, and what it knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scorefield.core.clock import Clock
from scorefield.core.gauge import Gauge
from scorefield.core.noise_schedule import Ladder
from scorefield.core.predict import Prediction
from scorefield.prompt.rules import LongPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """The settings of a request that leaves them out."""

    steps: int
    cfg_scale: float
    sampler: str
    schedule: str
    width: int  # px
    height: int  # px
    long_prompt: LongPrompt = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which files and weights of a model to take, where there are several."""

    variant: str | None = None  # of a folder's files, such as fp16
    ema: bool = False  # the averaged copy of the U-Net, in a single file that has both
    vae: str | None = None  # a path whose autoencoder takes the place of the model's own


PLAIN = Choice()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model before it is loaded: what it is called, what it was trained for, and what it can draw."""

    name: str
    about: str  # one sentence
    gauge: Gauge
    clock: Clock
    prediction: Prediction
    ladder: Ladder
    defaults: Defaults
    size_multiple: int  # px: both sides of a picture are multiples of it
    inpaints: bool = False  # the network sees a mask and the picture without its masked region beside the state
    image_prompt: int | None = None  # px: the side of the picture that it reads beside the words, if it reads one
    files: tuple[str, ...] = ()  # package data, for an embedded model
    loaded_as: str | None = None  # of a model from the hub: the name that it was asked for; `name` adds the commit
    choice: Choice = PLAIN
    knows: Mapping[str, Sequence[str]] = field(default_factory=dict)  # kind of word -> phrases; empty: any prompt
