"""A family of films, in one file: a codec of three dimensions, and the diffusion stage as it is."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from tests import toy
from torch import Tensor, nn

from scorefield.core.denoiser import Preconditioned
from scorefield.model.codec import Canvas
from scorefield.model.spec import ModelSpec
from scorefield.model.system import Place, System
from scorefield.request import ModelChoice
from scorefield.request.size import Film
from scorefield.weights.checkpoint import Checkpoint

STRIDE = 4  # frames that a latent stands for, but for the first, which has a frame of its own


class Frames:
    """Latents (B, 3, T, H, W) to frames (B, 4 T - 3, 3, H, W), a latent at a time."""

    stride = (STRIDE, 1, 1)

    def shape(self, canvas: Canvas) -> tuple[int, ...]:
        return 3, (canvas.frames - 1) // STRIDE + 1, canvas.height, canvas.width

    def encode(self, frames: Tensor, tile: object = "auto") -> Tensor:
        return frames[:, ::STRIDE].movedim(1, 2)

    def decode(self, x0: Tensor, tile: object = "auto") -> Iterator[Tensor]:
        for t in range(x0.shape[2]):
            yield x0[:, :, t].clamp(-1, 1)[:, None].repeat_interleave(STRIDE if t else 1, 1)

    def preview(self, x0: Tensor) -> Tensor:
        return x0.movedim(2, 1)[..., ::4, ::4]


class Net(nn.Module):
    """The toy's network on every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = toy.Net()

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        frames = [self.frame(x[:, :, t], time, tokens, mask) for t in range(x.shape[2])]
        return torch.stack(frames, 2)


class Family:
    """Loaded by the name `toy-film`."""

    names = {"toy-film": None}  # noqa: RUF012

    def specs(self) -> Sequence[ModelSpec]:
        return ()

    def recognise(self, checkpoint: Checkpoint) -> None:
        return None

    def build(self, identity: None, choice: ModelChoice, place: Place) -> System:
        torch.manual_seed(0)
        net = Net().eval().requires_grad_(False)
        plain = toy.model().stages[0]
        denoiser = Preconditioned(net, toy.TOY.prediction, toy.TOY.clock)
        spec = replace(plain.spec, defaults=replace(plain.spec.defaults, frames=9, fps=8.0))
        stage = replace(plain, spec=spec, denoiser=denoiser, codec=Frames(), further=frozenset({Film}))
        return System(choice=choice, stages=(stage,), device=place.device, dtype=torch.float32, sha256="3" * 64)
