"""A new word for what a few pictures show (Gal et al. 2022). `scorefield train textual-inversion`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from scorefield.api import Pipeline, load
from scorefield.core.cond import Cond
from scorefield.data.folder import pictures
from scorefield.files import atomic
from scorefield.prompt.inversion import Learned, Table
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.sdxl import XlConditioner
from scorefield.prompt.text import TextConditioner
from scorefield.train.batches import Batch, in_order
from scorefield.train.errors import TrainError
from scorefield.train.lr_schedule import Wsd
from scorefield.train.objective import levels, logit_normal, objective
from scorefield.train.recipe import Progress, Recipe
from scorefield.weights.detect.inversion_shapes import TOKEN

Tower = TextConditioner | PublishedConditioner
Conditioner = Tower | XlConditioner

# What is said of the pictures; a caption with a word that the model never saw is left out.
THING = (
    "a {}", "one {}", "a picture of a {}", "a photo of a {}", "a photo of one {}", "a photo of my {}",
    "a rendering of a {}", "a cropped photo of a {}", "a close-up photo of a {}", "a good photo of a {}",
)  # fmt: skip
STYLE = (
    "a picture in the style of {}", "a painting in the style of {}", "a rendering in the style of {}",
    "a drawing in the style of {}", "a photo in the style of {}", "a picture, {}",
)  # fmt: skip
DENSITY = logit_normal(0.5, 1.0)  # rather noisy, where it is decided what a picture shows
MEASURED = 32  # noisy pictures, or a few more, whose loss the file records


class Vectors(nn.Module):
    """All that is trained: the vectors (n, D) of the new word, for each text tower."""

    def __init__(self, start: Sequence[Tensor]) -> None:
        super().__init__()
        self.vectors = nn.ParameterList(one.clone() for one in start)


def towers(conditioner: Conditioner) -> Sequence[Tower]:
    """What reads a prompt: Stable Diffusion XL has two text towers, each with a table of its own."""
    return (conditioner.first, conditioner.second) if isinstance(conditioner, XlConditioner) else (conditioner,)


def loaded(model: str, token: str, count: int, init: str | None) -> tuple[Pipeline, Conditioner, Sequence[Tensor]]:
    """A model, its conditioner that knows `token`, and for each tower the vectors (count, D) from which it begins.

    These are the vectors of the word `init`, over and over, or else the mean of all words; and some noise, a tenth of
    how far words are apart, so that no two are the same.
    """
    try:
        held = load(model)
        conditioner = held.stage.conditioner
        if not isinstance(conditioner, TextConditioner | PublishedConditioner | XlConditioner):
            raise TrainError(f"the model {model} reads no words")
        generator, start = torch.Generator().manual_seed(0), []
        for tower in towers(conditioner):
            rows = tower.encoder.tokens.weight.detach().float()
            words = rows[tower.tokenizer.word(init)] if init else rows.mean(0, keepdim=True)
            noise = torch.randn(count, rows.shape[1], generator=generator)
            start.append(words[torch.arange(count) % len(words)] + 0.1 * rows.std() * noise)
        return held, conditioner.with_learned(*([Learned(token=token, vectors=one)] for one in start)), start
    except ValueError as error:
        raise TrainError(str(error)) from None


def encoded(conditioner: Conditioner, captions: Sequence[str]) -> Batch:
    """The tokens of captions as each tower numbers them, and which of them are words."""
    found = enumerate(tower.tokenizer.encode(captions) for tower in towers(conditioner))
    return {f"{name}_{k}": each for k, both in found for name, each in zip(("ids", "mask"), both, strict=True)}


def condition(conditioner: Conditioner, learned: Sequence[Tensor], batch: Batch, side: int) -> Cond:
    """The condition of a batch's captions with these vectors of the new word, for pictures `side` px wide."""
    tables = [Table(tower.encoder.tokens, one) for tower, one in zip(towers(conditioner), learned, strict=True)]
    vectors = [table(batch[f"ids_{k}"]) for k, table in enumerate(tables)]
    if isinstance(conditioner, XlConditioner):
        return conditioner.read(vectors, [batch["ids_0"], batch["ids_1"]], width=side, height=side)
    return conditioner.read(vectors[0], batch["ids_0"], batch["mask_0"])


def latents(model: Pipeline, folder: Path, size: int | None) -> Tensor:
    """The pictures of a folder as the model's network knows them, x0 (N, C, H, W)."""
    defaults, codec = model.stage.spec.defaults, model.codec
    try:
        found = pictures(folder, size or defaults.width, size or defaults.height)
        pixels = torch.from_numpy(found).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            return torch.cat([codec.encode(one[None, None]) for one in pixels])
    except ValueError as error:
        raise TrainError(str(error)) from None


def recipe(
    images: Path = Path("images"),
    token: str = "<thing>",
    init: str | None = None,
    vectors: int = 8,
    model: str = "scenes",
    style: bool = False,
    size: int | None = None,
    steps: int = 500,
    batch: int = 8,
    lr: float = 1e-2,
    seed: int = 0,
) -> Recipe[Vectors]:
    """The word `token`, of several `vectors`, for what the pictures in the folder `images` show.

    The network and its text towers stay as they are; the two of Stable Diffusion XL have vectors each. `init` is a
    word of the model that says roughly what it is; with `style` it is how they are painted, not what they show. `size`
    is the side in px where the model's own is too much for the memory.
    """
    held, conditioner, start = loaded(model, token, vectors, init)
    x0 = latents(held, images, size)
    side = x0.shape[-1] * held.codec.stride[-1]
    captions = [one.format(token) for one in (STYLE if style else THING)]
    captions = [one for one in captions if not conditioner.unknown([one])]

    def build() -> Vectors:
        return Vectors(start)

    def make(indices: range) -> Batch:
        said = [captions[np.random.default_rng([seed, index]).integers(len(captions))] for index in indices]
        return {"x0": x0[[index % len(x0) for index in indices]], **encoded(conditioner, said)}

    def errors(module: Vectors, batch: Batch, generator: torch.Generator) -> Tensor:
        device = batch["x0"].device
        held.stage.denoiser.to(device)
        for tower in towers(conditioner):
            tower.encoder.to(device)
        cond = condition(conditioner, [*module.vectors], batch, side)
        at = levels(held.stage.spec.gauge, DENSITY, len(batch["x0"]), generator, device)
        eps = torch.randn(batch["x0"].shape, generator=generator).to(device)
        return objective(held.stage.denoiser, batch["x0"], cond, at, eps)

    def loss(module: Vectors, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        length = torch.cat([one.detach().norm(dim=1) for one in module.vectors]).mean()
        return errors(module, batch, generator).mean(), {"length": length}

    def measured(module: Vectors) -> float:
        generator, found = torch.Generator().manual_seed(1), []
        for first in range(0, MEASURED, batch):
            some = {name: one.to(module.vectors[0].device) for name, one in make(range(first, first + batch)).items()}
            found.append(errors(module, some, generator).mean())
        return float(torch.stack(found).mean())

    def evaluate(module: Vectors) -> Mapping[str, float]:
        return {"loss": measured(module), "loss_at_start": measured(build().to(module.vectors[0].device))}

    def finish(module: Vectors, progress: Progress) -> Path:
        names = ("clip_l", "clip_g") if len(start) == 2 else (token,)
        told = {
            "model": model, "model_sha256": held.system.sha256, "pictures": len(x0), "init": init,
            "step": progress.step, "samples": progress.samples, "figures": dict(progress.figures),
        }  # fmt: skip
        learned = {one: each.detach().cpu().contiguous() for one, each in zip(names, module.vectors, strict=True)}
        data = save(learned, {TOKEN: token, "textual_inversion": json.dumps(told)})
        name = progress.folder / f"{atomic.slug(token)}.safetensors"
        return atomic.write(data, iter([name]), overwrite=True)

    return Recipe(
        name="textual_inversion",
        build=build,
        batches=in_order(make, batch),
        loss=loss,
        optimizer=lambda module: torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=0.0, fused=True),
        finish=finish,
        steps=steps,
        batch=batch,
        seed=seed,
        schedule=Wsd(warmup=10, decay=0.4),
        ema=0.98,
        evaluate=evaluate,
        evaluate_every=10**9,  # at the end alone
    )
