"""A small network that learns to add two numbers: an example of a recipe, and a quick way to try training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from scorefield import atomic
from scorefield.train.batches import Batch, in_order
from scorefield.train.optim import Wsd
from scorefield.train.recipe import Progress, Rate, Recipe, Samples, Seed

Width = Annotated[int, Field(ge=1, le=2**16)]


def recipe(width: Width = 16, lr: Rate = 1e-2, batch: Samples = 32, seed: Seed = 0) -> Recipe[nn.Module]:
    """A perceptron with one hidden layer of `width` units."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(2, width), nn.GELU(), nn.Dropout(0.1), nn.Linear(width, 1))

    def make(indices: range) -> Batch:
        drawn = [torch.rand(2, generator=torch.Generator().manual_seed(seed * 2**31 + i)) for i in indices]
        return {"x": torch.stack(drawn)}

    def loss(module: nn.Module, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        noise = 0.01 * torch.randn(len(batch["x"]), 1, generator=generator).to(batch["x"].device)
        error = (module(batch["x"]).float() - batch["x"].sum(1, keepdim=True) - noise).square().mean()
        return error, {"root": error.detach().sqrt()}

    def evaluate(module: nn.Module) -> Mapping[str, float]:
        x = make(range(2**20, 2**20 + 64))["x"].to(next(module.parameters()).device)
        return {"error": float((module(x) - x.sum(1, keepdim=True)).abs().mean())}

    def finish(module: nn.Module, progress: Progress) -> Path:
        path = progress.folder / "tiny.safetensors"
        figures = {"step": str(progress.step), **{name: str(value) for name, value in progress.figures.items()}}
        with atomic.replacing(path) as part:
            save_file({name: value.contiguous() for name, value in module.state_dict().items()}, part, figures)
        return path

    return Recipe(
        name="tiny",
        build=build,
        batches=in_order(make, batch),
        loss=loss,
        optimizer=lambda module: torch.optim.AdamW(module.parameters(), lr=lr, fused=True),
        finish=finish,
        steps=200,
        batch=batch,
        seed=seed,
        schedule=Wsd(warmup=20, decay=0.25),
        evaluate=evaluate,
        evaluate_every=100,
    )
