"""Describe a kind of model as data: the five choices, its defaults, and what it knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from scorefield.core.clock import Clock
from scorefield.core.gauge import Gauge
from scorefield.core.noise_schedule import Ladder
from scorefield.core.predict import Prediction
from scorefield.prompt.rules import LongPrompt

Like = Literal["original", "diffusers"]  # whose numbers, where the two differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """The settings for a request that leaves them out."""

    steps: int
    cfg_scale: float
    sampler: str
    schedule: str
    width: int  # px
    height: int  # px
    long_prompt: LongPrompt = "refuse"
    negative_prompt: str = ""
    frames: int = 1
    fps: float | None = None  # frames per second, of a film
    cfg_scale_2: float | None = None  # below the boundary; None for models without one
    shift: float | None = None  # of the schedule, see `noise_schedule.shifted`; None for models that are not shifted
    schedules: Mapping[str, str] = field(default_factory=dict)  # the default schedule of samplers that have their own


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFrames:
    """Which frames of a film a model is given as pictures, and how it sees them.

    The original of Wan resizes them without a filter against aliasing, and squeezes what its image encoder sees into a
    square; diffusers filters, and cuts the square out of the middle.
    """

    last: bool = False  # the last frame besides the first
    needed: bool = True  # no film without them
    as_latents: bool = False  # the first latent itself is given, at time 0; else the network sees it besides the state
    encoder_side: int | None = None  # px: of the square that an image encoder sees of each; None without one
    like: Like = "original"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A diffusion model before it is loaded: its name, what it was trained for, and what it can draw."""

    name: str
    about: str  # one sentence
    gauge: Gauge
    clock: Clock
    prediction: Prediction
    ladder: Ladder
    defaults: Defaults
    size_multiple: int  # px: both sides of a picture are multiples of it
    lower_order_long: bool = True  # in multistep samplers; no other program does
    boundary: float | None = None  # the clock's number from which on one expert works, before which the other
    inpaints: bool = False  # besides the state, the network sees a mask and the picture without its masked region
    image_prompt: int | None = None  # px: the side of the image prompt, if the model reads one
    given_frames: GivenFrames | None = None  # of films that begin with a picture
    knows: Mapping[str, Sequence[str]] = field(default_factory=dict)  # kind of word -> phrases; empty: any prompt
