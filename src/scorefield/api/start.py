"""What a walk starts from: noise alone, or a picture under noise, to change all of it or a masked region."""

import math
from dataclasses import dataclass
from math import hypot

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from scorefield.api import inputs
from scorefield.core.level import Level, noisy
from scorefield.errors import RequestError
from scorefield.latent import tiling
from scorefield.request import Request, Settled
from scorefield.zoo import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a walk starts from besides its noise."""

    x0: Tensor | None = None  # (1, C, H, W): latents of the picture; None to start from noise alone
    keep: Tensor | None = None  # (1, 1, H, W): 1 where the picture stays as it is, for an ordinary network
    image: Tensor | None = None  # (1, C + 1, H, W): what an inpainting network sees beside the state
    from_noise: bool = False  # what is painted starts from noise alone, without a trace of what was there

    def state(self, eps: Tensor, at: Level) -> Tensor:
        """The state (B, C, H, W) at level `at` with the unit normal noise `eps` (B, C, H, W)."""
        blank = hypot(*at) * eps  # data and noise both have unit variance
        if self.x0 is None or (self.from_noise and self.keep is None):
            return blank
        state = noisy(self.x0, eps, at)
        return state if self.keep is None or not self.from_noise else torch.where(self.keep > 0, state, blank)


def start(model: Model, request: Settled) -> Start:
    """The start of a request, the same for all of its pictures: encoding is not random (in diffusers it is)."""
    picture, mask = inputs.picture(request), inputs.mask(request)
    pixels = torch.zeros(1, 3, request.height, request.width) if picture is None else tensor(picture) / 127.5 - 1
    paint = torch.ones_like(pixels[:, :1]) if mask is None else tensor(mask) / 255
    shape = model.codec.shape(request.width, request.height)[1:]
    image = keep = None
    if model.spec.inpaints:  # without a mask the whole picture is masked, and without a picture a grey one is
        masked = tiling.encode(model.codec, (pixels * (1 - paint)).to(model.device), request.tile)
        image = torch.cat([F.interpolate(paint, shape).to(model.device), masked], 1)
    elif mask is not None:
        keep = 1 - F.adaptive_max_pool2d(paint, shape).to(model.device)
    return Start(
        x0=None if picture is None else tiling.encode(model.codec, pixels.to(model.device), request.tile),
        keep=keep,
        image=image,
        from_noise=mask is not None and request.strength == 1,
    )


def tensor(image: Image.Image) -> Tensor:
    """The numbers (1, C, H, W) of a picture, float32 from 0 to 255."""
    values = np.array(image, dtype=np.float32)
    return torch.from_numpy(values).reshape(1, image.height, image.width, -1).movedim(-1, 1).contiguous()


def strength(request: Request) -> float | None:
    """The strength of a request: what it says, else 1 with a mask and 0.75 without; None if there is no picture."""
    if request.strength is not None or request.image is None:
        return request.strength
    return 0.75 if request.mask is None else 1.0


def steps_walked(request: Settled) -> tuple[int, int]:
    """How many steps the schedule has, and how many of the last of them are walked.

    A strength s walks the last int(N s) of N steps, as in diffusers. With `exact_steps`, N steps are walked, of the
    shortest schedule that has so many left. RequestError if no step is left.
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


def strength_line(request: Settled) -> str:
    """A line to print on how many steps are walked; empty if they are all of the schedule's."""
    steps, last = steps_walked(request)
    return "" if last == steps else f"strength {request.strength:g}: the last {last} of {steps} steps are walked"
