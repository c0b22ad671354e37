"""What a walk starts from: noise alone, or a picture under noise that is painted anew, in a region or everywhere."""

import math
from dataclasses import dataclass
from math import hypot

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from scorefield.api import given
from scorefield.core.level import Level, noisy
from scorefield.latent import tiling
from scorefield.request import Request, RequestError, Settled
from scorefield.zoo import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a walk starts from besides its noise; what is None there is not.

    `x0` (1, C, H, W) is the picture, `keep` (1, 1, H, W) is 1 where it stays as it is, and `image` (1, C + 1, H, W) is
    what an inpainting network sees beside the state. `anew`: what is painted hears nothing of what was there before.
    """

    x0: Tensor | None = None
    keep: Tensor | None = None
    image: Tensor | None = None
    anew: bool = False

    def state(self, eps: Tensor, at: Level) -> Tensor:
        """The state (B, C, H, W) at level `at` with the unit normal noise `eps` (B, C, H, W)."""
        blank = hypot(*at) * eps  # data and noise both have unit variance
        if self.x0 is None or (self.anew and self.keep is None):
            return blank
        seen = noisy(self.x0, eps, at)
        return seen if self.keep is None or not self.anew else torch.where(self.keep > 0, seen, blank)


def start(model: Model, request: Settled) -> Start:
    """The start of a request's pictures: the same for all of them. The codec draws nothing (diffusers' does)."""
    picture, mask = given.picture(request), given.mask(request)
    pixels = torch.zeros(1, 3, request.height, request.width) if picture is None else tensor(picture) / 127.5 - 1
    paint = torch.ones_like(pixels[:, :1]) if mask is None else tensor(mask) / 255
    shape = model.codec.shape(request.width, request.height)[1:]
    image = keep = None
    if model.spec.inpaints:  # without a mask all of the picture is hidden, and without a picture all of nothing
        hidden = tiling.encode(model.codec, (pixels * (1 - paint)).to(model.device), request.tile)
        image = torch.cat([F.interpolate(paint, shape).to(model.device), hidden], 1)
    elif mask is not None:
        keep = 1 - F.adaptive_max_pool2d(paint, shape).to(model.device)
    return Start(
        x0=None if picture is None else tiling.encode(model.codec, pixels.to(model.device), request.tile),
        keep=keep,
        image=image,
        anew=mask is not None and request.strength == 1,
    )


def tensor(image: Image.Image) -> Tensor:
    """A picture (1, C, H, W) from 0 to 255."""
    values = np.array(image, dtype=np.float32)
    return torch.from_numpy(values).reshape(1, image.height, image.width, -1).movedim(-1, 1).contiguous()


def strength(request: Request) -> float | None:
    """How much of the picture to change: a masked region is painted wholly anew unless the request says else."""
    if request.strength is not None or request.image is None:
        return request.strength
    return 0.75 if request.mask is None else 1.0


def walked(request: Settled) -> tuple[int, int]:
    """(steps of the schedule, how many of its last ones are walked); RequestError if strength leaves none.

    A strength s walks the last int(N s) of N steps, as in diffusers. With `exact_steps` the schedule is the shortest
    of which strength leaves N.
    """
    steps, share = request.steps, request.strength
    if share is None:
        return steps, steps
    if share == 0 or not (request.exact_steps or int(steps * share)):
        raise RequestError(
            f"strength {share:g} leaves none of {steps} steps; {math.ceil(100 / steps) / 100:g} leaves one"
        )
    if not request.exact_steps:
        return steps, int(steps * share)
    whole = math.ceil(steps / share)
    return whole + (int(whole * share) < steps), steps


def told(request: Settled) -> str:
    """How many steps are walked, and why; empty where it is as many as were asked for, from noise on."""
    steps, few = walked(request)
    return "" if few == steps else f"strength {request.strength:g}: the last {few} of {steps} steps are walked"
