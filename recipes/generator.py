"""The embedded generator: a latent diffusion transformer trained by flow matching. `scorefield train generator`."""

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
from scorefield.data.render import render
from scorefield.data.scenes import scene
from scorefield.data.vocabulary import kinds
from scorefield.families.scenes import build_scenes
from scorefield.nets.dit import Dit, DitConfig
from scorefield.train.bank import Bank
from scorefield.train.batches import Batch, shuffled
from scorefield.train.objective import flow_matching, logit_normal
from scorefield.train.optim import Muon, Wsd, hidden_matrices
from scorefield.train.recipe import Count, Progress, Rate, Recipe, Samples, Share
from scorefield.weights import scorefield_file

SEED = 3  # of the training scenes
Scenes = Annotated[int, Field(ge=1, le=10**8)]


def recipe(
    steps: Count = 12_000,
    batch: Samples = 96,
    lr: Rate = 2.5e-3,
    decay: Share = 0.4,
    count: Scenes = 160_000,
    bank: Path = Path("runs/latents.bank"),
    parts: Path = build_scenes.ASSETS,
    start: Path | None = None,
) -> Recipe[Dit]:
    """Train by flow matching with logit-normal times and a tenth of the captions dropped.

    `decay` is the share of the run in which the learning rate decays; `bank` is the file for the latents of the `count`
    scenes; `parts` is the folder of the autoencoder, CLIP and tokenizer; `start` is the file of a generator that gives
    the initial weights.
    """
    config = DitConfig()
    density = logit_normal(0.2, 1.0)
    codec = build_scenes.codec(parts, torch.bfloat16)
    conditioner = build_scenes.conditioner(parts, torch.float32)
    tokenizer = conditioner.tokenizer

    @torch.no_grad()
    def encode(indices: NDArray[np.int64]) -> NDArray[np.float16]:
        pictures = torch.from_numpy(np.stack([render(scene(int(index), SEED)) for index in indices]))
        x0 = codec.encode(pictures.permute(0, 3, 1, 2).float() / 127.5 - 1)
        return x0.float().numpy().astype(np.float16)

    rows = Bank(bank, count, (config.channels, 16, 16), encode)

    def make(indices: NDArray[np.int64]) -> Batch:
        ids, mask = tokenizer.encode([scene(int(index), SEED).caption for index in indices])
        length = int(mask.sum(1).max())
        return {"x0": torch.from_numpy(rows[indices]), "ids": ids[:, :length], "mask": mask[:, :length]}

    def build() -> Dit:
        module = Dit(config)
        if start:
            tensors, _ = scorefield_file.load(start, "generator")
            scorefield_file.fill(module, tensors, torch.float32, start)
        return module

    def loss(module: Dit, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        x0, ids, mask = batch["x0"].float(), batch["ids"], batch["mask"]
        text = conditioner.clip.to(x0.device)
        blank, blank_mask = (t[:, : ids.shape[1]].to(x0.device) for t in tokenizer.encode([""]))
        with torch.no_grad():
            cond = Cond(tokens=text.text_hidden(ids, mask).float(), mask=mask)
            empty = Cond(tokens=text.text_hidden(blank, blank_mask).float(), mask=blank_mask)
        return flow_matching(module, x0, cond, empty, density, generator), {}

    def optimizer(module: Dit) -> torch.optim.Optimizer:
        hidden = hidden_matrices(module, ("patch", "time", "modulation", "last"))
        return Muon(module, hidden, lr, other_lr=lr / 2)

    def finish(module: Dit, progress: Progress) -> Path:
        header = scorefield_file.Header(
            kind="generator",
            config=asdict(config),
            step=progress.step,
            samples=progress.samples,
            figures=progress.figures,
            notes={
                "knows": {kind: [*phrases] for kind, phrases in kinds().items()},
                "words": [*tokenizer.spelt()],
            },
        )
        return scorefield_file.save(progress.folder / "scenes-generator.safetensors", module.state_dict(), header)

    return Recipe(
        name="generator",
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
