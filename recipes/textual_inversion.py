"""A new word for the subject of a few pictures (Gal et al. 2022). `scorefield train textual-inversion`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save
from torch import Tensor, nn

from scorefield import api, atomic
from scorefield.api import Pipeline
from scorefield.core.cond import Cond
from scorefield.data.folder import pictures
from scorefield.errors import RequestError, UnsupportedError
from scorefield.files.output_names import slug
from scorefield.prompt.inversion import Learned, Table
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.sdxl import XlConditioner
from scorefield.prompt.text import TextConditioner
from scorefield.train.batches import Batch, in_order
from scorefield.train.objective import levels, logit_normal, objective
from scorefield.train.optim import Wsd
from scorefield.train.recipe import Count, Progress, Rate, Recipe, Samples, Seed
from scorefield.weights.detect.adapter_shapes import TOKEN

Part = TextConditioner | PublishedConditioner  # with one text encoder
Conditioner = Part | XlConditioner

Word = Annotated[str, Field(min_length=1)]
VectorCount = Annotated[int, Field(ge=1, le=1024)]
Side = Annotated[int, Field(ge=8, le=4096)]

# The captions of the pictures; one with a word that the model does not know is left out.
THING = (
    "a {}", "one {}", "a picture of a {}", "a photo of a {}", "a photo of one {}", "a photo of my {}",
    "a rendering of a {}", "a cropped photo of a {}", "a close-up photo of a {}", "a good photo of a {}",
)  # fmt: skip
STYLE = (
    "a picture in the style of {}", "a painting in the style of {}", "a rendering in the style of {}",
    "a drawing in the style of {}", "a photo in the style of {}", "a picture, {}",
)  # fmt: skip
DENSITY = logit_normal(0.5, 1.0)  # rather high noise levels, which decide what a picture shows
MEASURED = 32  # at least this many noisy pictures for the loss in the file


class Vectors(nn.Module):
    """The only trained parameters: the vectors (n, D) of the new word, for each text encoder."""

    def __init__(self, start: Sequence[Tensor]) -> None:
        super().__init__()
        self.vectors = nn.ParameterList(one.clone() for one in start)


def parts(conditioner: Conditioner) -> Sequence[Part]:
    """The conditioner of each text encoder: Stable Diffusion XL has two, with separate tables."""
    return (conditioner.first, conditioner.second) if isinstance(conditioner, XlConditioner) else (conditioner,)


def load(model: str, token: str, count: int, init: str | None) -> tuple[Pipeline, Conditioner, Sequence[Tensor]]:
    """The model, its conditioner with the word `token`, and for each encoder the initial vectors (count, D).

    These are the vectors of the word `init`, repeated, or the mean of all words, with noise of a tenth of the words'
    standard deviation, so that no two are the same.
    """
    loaded = api.load(model)
    conditioner = loaded.stage.conditioner
    if not isinstance(conditioner, TextConditioner | PublishedConditioner | XlConditioner):
        raise UnsupportedError(f"the model {model} takes no prompts, so it cannot learn a word")
    generator, start = torch.Generator().manual_seed(0), []
    for part in parts(conditioner):
        rows = part.encoder.tokens.weight.detach().float()
        words = rows[part.tokenizer.word(init)] if init else rows.mean(0, keepdim=True)
        noise = torch.randn(count, rows.shape[1], generator=generator)
        start.append(words[torch.arange(count) % len(words)] + 0.1 * rows.std() * noise)
    return loaded, conditioner.with_learned(*([Learned(token=token, vectors=one)] for one in start)), start


def encoded(conditioner: Conditioner, captions: Sequence[str]) -> Batch:
    """The token ids of captions for each text encoder, and masks of the tokens that count."""
    pairs = enumerate(part.tokenizer.encode(captions) for part in parts(conditioner))
    return {f"{name}_{k}": each for k, pair in pairs for name, each in zip(("ids", "mask"), pair, strict=True)}


def condition(conditioner: Conditioner, learned: Sequence[Tensor], batch: Batch, side: int) -> Cond:
    """The condition for a batch's captions with these vectors of the new word, for pictures `side` px wide."""
    tables = [Table(part.encoder.tokens, one) for part, one in zip(parts(conditioner), learned, strict=True)]
    vectors = [table(batch[f"ids_{k}"]) for k, table in enumerate(tables)]
    if isinstance(conditioner, XlConditioner):
        return conditioner.read(vectors, [batch["ids_0"], batch["ids_1"]], width=side, height=side)
    return conditioner.read(vectors[0], batch["ids_0"], batch["mask_0"])


def latents(model: Pipeline, folder: Path, size: int | None) -> Tensor:
    """The pictures of a folder as latents of the model, x0 (N, C, H, W)."""
    defaults, multiple = model.stage.spec.defaults, model.stage.spec.size_multiple
    if size and size % multiple:
        raise RequestError(f"--set size={size}: the size must be a multiple of {multiple} for this model")
    arrays = pictures(folder, size or defaults.width, size or defaults.height)
    pixels = torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        return torch.cat([model.codec.encode(one[None, None]) for one in pixels])


def known_captions(conditioner: Conditioner, token: str, style: bool) -> Sequence[str]:
    """The captions whose words the model knows."""
    captions = [one.format(token) for one in (STYLE if style else THING)]
    known = [one for one in captions if not conditioner.unknown([one])]
    if not known:
        raise UnsupportedError(f"every caption has words that this model does not know, such as {captions[0]!r}")
    return known


def serialised(vectors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with its header sorted: the library's order differs between processes."""
    data = save(dict(vectors), dict(metadata))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    ordered = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **dict(sorted(header.items()))}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def recipe(
    images: Path = Path("images"),
    token: Word = "<thing>",
    init: Word | None = None,
    vectors: VectorCount = 8,
    model: Word = "scenes",
    style: bool = False,
    size: Side | None = None,
    steps: Count = 500,
    batch: Samples = 8,
    lr: Rate = 1e-2,
    seed: Seed = 0,
) -> Recipe[Vectors]:
    """Learn the word `token`, made of several `vectors`, from the pictures in the folder `images`.

    The network and its text encoders do not change; both encoders of Stable Diffusion XL get vectors. `init` is a word
    of the model with roughly the same meaning. With `style` the word means how the pictures are painted, not what they
    show. `size` is their side in px, if the model's default takes too much memory.
    """
    base, conditioner, start = load(model, token, vectors, init)
    x0 = latents(base, images, size)
    side = x0.shape[-1] * base.codec.stride[-1]
    captions = known_captions(conditioner, token, style)

    def build() -> Vectors:
        return Vectors(start)

    def make(indices: range) -> Batch:
        drawn = [captions[int(np.random.default_rng([seed, index]).integers(len(captions)))] for index in indices]
        return {"x0": x0[[index % len(x0) for index in indices]], **encoded(conditioner, drawn)}

    def errors(module: Vectors, batch: Batch, generator: torch.Generator) -> Tensor:
        device = batch["x0"].device
        base.stage.denoiser.to(device)
        for part in parts(conditioner):
            part.encoder.to(device)
        cond = condition(conditioner, [*module.vectors], batch, side)
        at = levels(base.stage.spec.gauge, DENSITY, len(batch["x0"]), generator, device)
        eps = torch.randn(batch["x0"].shape, generator=generator).to(device)
        return objective(base.stage.denoiser, batch["x0"], cond, at, eps)

    def loss(module: Vectors, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        length = torch.cat([one.detach().norm(dim=1) for one in module.vectors]).mean()
        return errors(module, batch, generator).mean(), {"length": length}

    def measured(module: Vectors) -> float:
        generator, losses = torch.Generator().manual_seed(1), []
        for first in range(0, MEASURED, batch):
            some = {name: one.to(module.vectors[0].device) for name, one in make(range(first, first + batch)).items()}
            losses.append(errors(module, some, generator).mean())
        return float(torch.stack(losses).mean())

    def evaluate(module: Vectors) -> Mapping[str, float]:
        return {"loss": measured(module), "loss_at_start": measured(build().to(module.vectors[0].device))}

    def finish(module: Vectors, progress: Progress) -> Path:
        names = ("clip_l", "clip_g") if len(start) == 2 else (token,)
        facts = {
            "model": model, "model_sha256": base.system.sha256, "pictures": len(x0), "init": init,
            "step": progress.step, "samples": progress.samples, "figures": dict(progress.figures),
        }  # fmt: skip
        learned = {one: each.detach().cpu().contiguous() for one, each in zip(names, module.vectors, strict=True)}
        data = serialised(learned, {TOKEN: token, "textual_inversion": json.dumps(facts)})
        name = progress.folder / f"{slug(token)}.safetensors"
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
        evaluate_every=10**9,  # only at the end
    )
