"""A model of three channels and sixteen pixels a side, built in an instant: what the faces are tested with."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from scorefield.core import clock, gauge, noise_schedule, predict
from scorefield.core.cond import Cond
from scorefield.core.denoiser import Preconditioned
from scorefield.errors import RequestError
from scorefield.latent.latent_codec import PictureCodec
from scorefield.model.spec import Defaults, ModelSpec
from scorefield.model.system import Place, System
from scorefield.prompt.conditioner import Conditioner, Prompt, Tokenized
from scorefield.prompt.rules import PLAIN, Count, Rules
from scorefield.request import ModelChoice
from scorefield.request.words import ClipWords
from scorefield.stages.diffusion import Diffusion
from scorefield.weights.checkpoint import Checkpoint

WORDS = {"a", "and", "tree", "in", "the", "desert", "cat", "dog", "fog", "red"}
LONGEST = 12

TOY = ModelSpec(
    name="toy",
    about="Noise, coloured by its words.",
    gauge=gauge.rf,
    clock=clock.flow,
    prediction=predict.flow,
    ladder=noise_schedule.flow(),
    defaults=Defaults(steps=4, cfg_scale=3.0, sampler="euler", schedule="trailing", width=16, height=16),
    size_multiple=8,
    knows={"things": ("tree", "cat", "dog"), "places": ("the desert",)},
)

NAMED = (TOY, replace(TOY, name="scenes"))  # the names that load it where it stands for the embedded model


class Net(nn.Module):
    """Convolutions of the state, coloured by the mean token: every pixel depends on seed, level and prompt."""

    def __init__(self) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(1)
        self.kernel = nn.Parameter(torch.randn(3, 3, 3, 3, generator=source) / 4)
        self.colour = nn.Parameter(torch.randn(8, 3, generator=source))

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        colour = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1) @ self.colour
        away = nn.functional.conv2d(x, self.kernel, padding=1)
        return torch.tanh(away) * (1 + time[:, None, None, None] / 1000) - colour[..., None, None]


class Words(Conditioner):
    """Tokens from the spelling of words."""

    def __call__(self, prompts: Sequence[Prompt], rules: Rules = PLAIN) -> Cond:
        prompts = [one.text for one in self.tokenized(prompts, rules)]
        tokens, mask = torch.zeros(len(prompts), LONGEST, 8), torch.zeros(len(prompts), LONGEST, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            for k, word in enumerate(re.findall(r"\w+", prompt.lower())):
                digest = hashlib.sha256(word.encode()).digest()[:8]
                tokens[row, k], mask[row, k] = torch.tensor([byte / 128 - 1 for byte in digest]), True
        return Cond(tokens=tokens, mask=mask)

    def tokenize(self, prompts: Sequence[str], rules: Rules = PLAIN) -> list[Tokenized]:
        found = [Count(tokens=len(re.findall(r"\w+", prompt)), room=LONGEST, chunks=1) for prompt in prompts]
        if (longest := max(one.tokens for one in found)) > LONGEST:
            raise RequestError(f"the prompt has {longest} words, this model reads at most {LONGEST}")
        return [Tokenized(text=text, count=count, tokens=text) for text, count in zip(prompts, found, strict=True)]

    def unknown(self, prompts: Sequence[str]) -> Mapping[str, Sequence[str]]:
        words = [word for prompt in prompts for word in re.findall(r"\w+", prompt.lower())]
        return {word: ["tree"] if word.startswith("t") else [] for word in words if word not in WORDS}


class Pixels:
    """The codec of a model that works on pixels."""

    size_factor = 1

    def shape(self, width: int, height: int) -> tuple[int, int, int]:
        return 3, height, width

    def encode(self, pixels: Tensor) -> Tensor:
        return pixels

    def decode(self, x0: Tensor) -> Tensor:
        return x0.clamp(-1, 1)

    def preview(self, x0: Tensor) -> Tensor:
        return x0[..., ::4, ::4].clamp(-1, 1)


def model(net: nn.Module | None = None, sha256: str = "5ca1ab1e" * 8, choice: ModelChoice | None = None) -> System:
    """The toy, or a model of the same make around another network."""
    stage = Diffusion(
        spec=TOY,
        denoiser=Preconditioned((net or Net()).eval().requires_grad_(False), TOY.prediction, TOY.clock),
        conditioner=Words(),
        codec=PictureCodec(Pixels()),
        device=torch.device("cpu"),
        further=frozenset({ClipWords}),
    )
    return System(
        choice=choice or ModelChoice(model="toy", device="cpu", dtype="float32"),
        stages=(stage,),
        device=torch.device("cpu"),
        dtype=torch.float32,
        sha256=sha256,
    )


class Toys:
    """The family of the toy, which is also loaded where the embedded model is asked for."""

    names: ClassVar = {"toy": TOY, "scenes": TOY}

    def __init__(self, sha256: str = "5ca1ab1e" * 8) -> None:
        self.sha256 = sha256

    def specs(self) -> Sequence[ModelSpec]:
        return NAMED

    def recognise(self, checkpoint: Checkpoint) -> None:
        return None

    def build(self, identity: ModelSpec, choice: ModelChoice, place: Place) -> System:
        return model(sha256=self.sha256, choice=choice.model_copy(update={"model": "toy"}))
