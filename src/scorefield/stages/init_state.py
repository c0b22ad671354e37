"""The start of a walk: noise alone, or a picture under noise, to change all of it or a masked region."""

import math
from dataclasses import dataclass
from math import hypot
from typing import Protocol

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from scorefield.core.level import Level, noisy
from scorefield.errors import RequestError
from scorefield.latent.tiling import Tile
from scorefield.model.codec import Canvas, Codec
from scorefield.stages.input_images import as_tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class InitState:
    """The start of a walk, besides its noise."""

    x0: Tensor | None = None  # (1, C, H, W): latents of the picture; None to start from noise alone
    keep: Tensor | None = None  # (1, 1, H, W): 1 where the picture stays as it is, for an ordinary network
    image: Tensor | None = None  # (1, M, ...): channels that the network sees besides the state
    from_noise: bool = False  # the masked region starts from pure noise, without a trace of what was there

    def state(self, eps: Tensor, at: Level) -> Tensor:
        """The state (B, ...) at level `at` with the unit normal noise `eps` (B, ...)."""
        blank = hypot(*at) * eps  # data and noise both have unit variance
        if self.x0 is None or (self.from_noise and self.keep is None):
            return blank
        state = noisy(self.x0, eps, at)
        return state if self.keep is None or not self.from_noise else torch.where(self.keep > 0, state, blank)


class Start(Protocol):
    """The pictures that a request starts from, read and in its size."""

    @property
    def tile(self) -> Tile: ...

    @property
    def encodes(self) -> bool:
        """Whether the autoencoder runs before the walk."""
        ...

    def encoded(self, codec: Codec, canvas: Canvas, device: torch.device) -> InitState:
        """The start of the walk, the same for all outputs of a request."""
        ...

    def pasted(self, frames: Tensor) -> Tensor:
        """Frames (B, f, H, W, 3) uint8 with what must stay as it was."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StartImages:
    """The pictures that a walk starts from, in the size of the request.

    A network that `inpaints` sees the mask and what is kept of the picture besides the state.
    """

    image: Image.Image | None = None  # RGB
    mask: Image.Image | None = None  # 255 where to repaint, else 0
    strength: float | None = None
    paste: bool = True
    tile: Tile = "auto"
    inpaints: bool = False

    @property
    def encodes(self) -> bool:
        """Whether there is a picture, or a network that sees one anyway."""
        return self.image is not None or self.inpaints

    def encoded(self, codec: Codec, canvas: Canvas, device: torch.device) -> InitState:
        """The encoded start, the same for all pictures of a request: encoding is not random (in diffusers it is)."""
        if not self.encodes:
            return InitState()
        blank = torch.zeros(1, 3, canvas.height, canvas.width)
        pixels = blank if self.image is None else as_tensor(self.image) / 127.5 - 1
        paint = torch.ones_like(pixels[:, :1]) if self.mask is None else as_tensor(self.mask) / 255
        shape = codec.shape(canvas)[-2:]
        seen = keep = None
        if self.inpaints:  # without a mask the whole picture is masked, and without a picture a grey one is
            masked = codec.encode((pixels * (1 - paint)).to(device)[:, None], self.tile)
            seen = torch.cat([F.interpolate(paint, shape).to(device), masked], 1)
        elif self.mask is not None:
            keep = 1 - F.adaptive_max_pool2d(paint, shape).to(device)
        return InitState(
            x0=None if self.image is None else codec.encode(pixels.to(device)[:, None], self.tile),
            keep=keep,
            image=seen,
            from_noise=self.mask is not None and self.strength == 1,
        )

    def pasted(self, frames: Tensor) -> Tensor:
        """Frames (B, f, H, W, 3) uint8 with the pixels outside the mask restored, unless `paste` is off."""
        if self.image is None or self.mask is None or not self.paste:
            return frames
        kept, painted = (as_tensor(one).movedim(1, -1).to(torch.uint8) for one in (self.image, self.mask))
        return torch.where(painted > 0, frames, kept)


def steps_walked(steps: int, strength: float | None, *, exact: bool) -> tuple[int, int]:
    """How many steps the schedule has, and how many of its last ones are walked.

    A strength s walks the last int(N s) of N steps, as in diffusers. `exact` walks N steps, of the shortest schedule
    that leaves N. RequestError if no step is left.
    """
    if strength is None:
        return steps, steps
    if strength == 0 or not (exact or int(steps * strength)):
        raise RequestError(f"strength {strength:g} leaves none of {steps} steps; {_least(steps):g} leaves one")
    if not exact:
        return steps, int(steps * strength)
    whole = math.ceil(steps / strength)
    return whole + (int(whole * strength) < steps), steps


def _least(steps: int) -> float:
    """The smallest strength that leaves a step, in as few digits as possible."""
    digits = next(k for k in range(2, 10) if int(steps * math.ceil(10**k / steps) / 10**k))
    return float(math.ceil(10**digits / steps) / 10**digits)
