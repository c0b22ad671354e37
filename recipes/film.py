"""The embedded film model: a small Wan in latents, trained by flow matching. `scorefield train film`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from scorefield.core.cond import Cond
from scorefield.data.film_render import render_film
from scorefield.data.film_scenes import film
from scorefield.data.scripts import FRAMES
from scorefield.data.vocabulary import film_kinds
from scorefield.families.scenes import build_film, build_scenes
from scorefield.nets.video_dit import VideoDit
from scorefield.prompt.text import UnmaskedTextConditioner, unmasked
from scorefield.train.bank import Bank
from scorefield.train.batches import Batch, shuffled
from scorefield.train.objective import flow_matching, logit_normal
from scorefield.train.optim import Muon, Wsd, hidden_matrices
from scorefield.train.recipe import Count, Frames, Progress, Rate, Recipe, Samples, Share
from scorefield.weights import scorefield_file

SEED = 3  # of the training films
STRIDE = 2  # frames of a latent, but for the first
Films = Annotated[int, Field(ge=1, le=10**7)]


def recipe(
    steps: Count = 2400,
    batch: Samples = 24,
    lr: Rate = 2e-3,
    decay: Share = 0.4,
    count: Films = 24_000,
    frames: Frames = FRAMES,
    bank: Path = Path("runs/film-latents.bank"),
    parts: Path = build_scenes.ASSETS,
    start: Path | None = None,
) -> Recipe[VideoDit]:
    """Train by flow matching with logit-normal times and a tenth of the captions dropped.

    With `frames` 1 it learns from first frames alone, at a ninth of the cost: things, places and words come before
    motion. `bank` is the file for the latents of so many frames of the `count` films; `parts` is the folder of the film
    autoencoder, CLIP and tokenizer; `start` is the file of a film model that gives the initial weights.
    """
    config = build_film.DIT
    density = logit_normal(0.4, 1.0)
    codec = build_film.codec(parts, torch.bfloat16)
    conditioner = build_scenes.conditioner(parts, torch.float32, UnmaskedTextConditioner)
    tokenizer = conditioner.tokenizer
    shape = (config.in_channels, 1 + (frames - 1) // STRIDE, 16, 16)

    @torch.no_grad()
    def encode(indices: NDArray[np.int64]) -> NDArray[np.float16]:
        shown = np.stack([render_film(film(int(index), SEED), count=frames) for index in indices])
        x0 = codec.encode(torch.from_numpy(shown).permute(0, 1, 4, 2, 3).float() / 127.5 - 1)
        return x0.numpy().astype(np.float16)

    rows = Bank(bank, count, shape, encode)

    def make(indices: NDArray[np.int64]) -> Batch:
        ids, mask = tokenizer.encode([film(int(index), SEED).caption for index in indices])
        return {"x0": torch.from_numpy(rows[indices]), "ids": ids, "mask": mask}  # of one length, for torch.compile

    def build() -> VideoDit:
        module = VideoDit(config)
        if start:
            tensors, _ = scorefield_file.load(start, "film")
            scorefield_file.fill(module, tensors, torch.float32, start)
        return module

    def read(ids: Tensor, mask: Tensor) -> Cond:
        with torch.no_grad():
            return unmasked(Cond(tokens=conditioner.clip.to(ids.device).text_hidden(ids, mask).float(), mask=mask))

    def loss(module: VideoDit, given: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        x0, ids, mask = given["x0"].float(), given["ids"], given["mask"]
        blank, blank_mask = (one.to(x0.device) for one in tokenizer.encode([""]))
        return flow_matching(module, x0, read(ids, mask), read(blank, blank_mask), density, generator), {}

    def optimizer(module: VideoDit) -> torch.optim.Optimizer:
        hidden = hidden_matrices(module, ("patch", "time", "modulation", "last"))
        return Muon(module, hidden, lr, other_lr=lr / 2)

    def finish(module: VideoDit, progress: Progress) -> Path:
        header = scorefield_file.Header(
            kind="film",
            config=asdict(config),
            step=progress.step,
            samples=progress.samples,
            figures=progress.figures,
            notes={
                "knows": {kind: [*phrases] for kind, phrases in film_kinds().items()},
                "words": [*tokenizer.spelt()],
            },
        )
        return scorefield_file.save(progress.folder / build_film.TRANSFORMER, module.state_dict(), header)

    return Recipe(
        name="film",
        build=build,
        batches=shuffled(make, count, batch, seed=0),
        loss=loss,
        optimizer=optimizer,
        finish=finish,
        steps=steps,
        batch=batch,
        schedule=Wsd(warmup=200, decay=decay),
        ema=0.999,
    )
