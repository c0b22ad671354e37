"""A new word for what a few pictures show (Gal et al. 2022). `scorefield train textual-inversion`."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from scorefield import zoo
from scorefield.data.folder import pictures
from scorefield.files import atomic
from scorefield.prompt.inversion import Learned, Table
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.text import TextConditioner
from scorefield.train.batches import Batch, in_order
from scorefield.train.errors import TrainError
from scorefield.train.objective import levels, logit_normal, objective
from scorefield.train.recipe import Progress, Recipe
from scorefield.train.schedule import Wsd

Conditioner = TextConditioner | PublishedConditioner

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
    """All that is trained: the vectors (n, D) of the new word."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(start.clone())


def loaded(model: str, token: str, count: int, init: str | None) -> tuple[zoo.Model, Conditioner, Tensor]:
    """A model, its conditioner that knows `token`, and the vectors (count, D) from which the token begins.

    These are the vectors of the word `init`, over and over, or else the mean of all words; and some noise, a tenth of
    how far words are apart, so that no two are the same.
    """
    try:
        held = zoo.load(model)
        conditioner = held.conditioner
        if not isinstance(conditioner, TextConditioner | PublishedConditioner):
            raise TrainError(f"the model {model} reads no words")
        rows = conditioner.encoder.tokens.weight.detach().float()
        words = rows[conditioner.tokenizer.word(init)] if init else rows.mean(0, keepdim=True)
        noise = torch.randn(count, rows.shape[1], generator=torch.Generator().manual_seed(0))
        start = words[torch.arange(count) % len(words)] + 0.1 * rows.std() * noise
        return held, conditioner.with_learned([Learned(token=token, vectors=start)]), start
    except ValueError as error:
        raise TrainError(str(error)) from None


def latents(model: zoo.Model, folder: Path, size: int | None) -> Tensor:
    """The pictures of a folder as the model's network knows them, x0 (N, C, H, W)."""
    defaults = model.spec.defaults
    try:
        found = pictures(folder, size or defaults.width, size or defaults.height)
        pixels = torch.from_numpy(found).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            return torch.cat([model.codec.encode(one[None]) for one in pixels])
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

    The network stays as it is. `init` is a word of the model that says roughly what it is; with `style` it is how they
    are painted, not what they show. `size` is the side in px where the model's own is too much for the memory.
    """
    held, conditioner, start = loaded(model, token, vectors, init)
    x0 = latents(held, images, size)
    known = conditioner.encoder.tokens
    captions = [one.format(token) for one in (STYLE if style else THING)]
    captions = [one for one in captions if not conditioner.unknown([one])]

    def build() -> Vectors:
        return Vectors(start)

    def make(indices: range) -> Batch:
        said = [captions[np.random.default_rng([seed, index]).integers(len(captions))] for index in indices]
        ids, mask = conditioner.tokenizer.encode(said)
        return {"x0": x0[[index % len(x0) for index in indices]], "ids": ids, "mask": mask}

    def errors(module: Vectors, batch: Batch, generator: torch.Generator) -> Tensor:
        device = batch["x0"].device
        held.denoiser.to(device)
        conditioner.encoder.to(device)
        cond = conditioner.read(Table(known, module.vectors)(batch["ids"]), batch["ids"], batch["mask"])
        at = levels(held.spec.gauge, DENSITY, len(batch["x0"]), generator, device)
        eps = torch.randn(batch["x0"].shape, generator=generator).to(device)
        return objective(held.denoiser, batch["x0"], cond, at, eps)

    def loss(module: Vectors, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        return errors(module, batch, generator).mean(), {"length": module.vectors.detach().norm(dim=1).mean()}

    def measured(module: Vectors) -> float:
        generator, found = torch.Generator().manual_seed(1), []
        for first in range(0, MEASURED, batch):
            some = make(range(first, first + batch))
            found.append(errors(module, {k: v.to(module.vectors.device) for k, v in some.items()}, generator).mean())
        return float(torch.stack(found).mean())

    def evaluate(module: Vectors) -> Mapping[str, float]:
        return {"loss": measured(module), "loss_at_start": measured(build().to(module.vectors.device))}

    def finish(module: Vectors, progress: Progress) -> Path:
        told = {
            "model": model, "model_sha256": held.sha256, "pictures": len(x0), "init": init, "step": progress.step,
            "samples": progress.samples, "figures": dict(progress.figures),
        }  # fmt: skip
        data = save({token: module.vectors.detach().cpu().contiguous()}, {"textual_inversion": json.dumps(told)})
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
