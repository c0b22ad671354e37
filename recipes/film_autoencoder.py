"""The embedded autoencoder of films: 17 frames to 9 x 16 x 16 latents and back. `scorefield train film-autoencoder`."""

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.data.film_render import behind, render_film
from scorefield.data.film_scenes import film
from scorefield.data.scenes import Split
from scorefield.data.scripts import FRAMES
from scorefield.families.scenes import build_film
from scorefield.latent.latent_codec import fit_statistics
from scorefield.latent.wan_latents import FilmLatents
from scorefield.nets.causal_layers import CausalConv
from scorefield.nets.causal_vae import CausalBlock, CausalVae
from scorefield.train.batches import Batch, in_order
from scorefield.train.optim import Muon, Wsd, hidden_matrices
from scorefield.train.recipe import Count, Frames, Progress, Rate, Recipe, Samples, Share
from scorefield.weights import scorefield_file

THINGS = 6.0  # how much more the pixels of things count than those of places


def films(indices: range, split: Split = "train", seed: int = 0) -> Tensor:
    """The frames (B, 17, 3, 128, 128) uint8 of rendered films."""
    rendered = np.stack([render_film(film(index, seed, split)) for index in indices])
    return torch.from_numpy(rendered).permute(0, 1, 4, 2, 3)


def parts(indices: range, frames: int) -> Batch:
    """The `frames` (B, F, 3, 128, 128) of a part of each film, and the pixels that `differ` from its place, (B, F, 1).

    Where a part begins depends on the film's index.
    """
    shown, places = [], []
    for index in indices:
        first, one = int(np.random.default_rng(index).integers(FRAMES - frames + 1)), film(index)
        shown.append(render_film(one)[first : first + frames])
        places.append([behind(one, k) for k in range(first, first + frames)])
    drawn, empty = (torch.from_numpy(np.stack(each)).permute(0, 1, 4, 2, 3) for each in (shown, places))
    return {"frames": drawn, "differ": (drawn != empty).any(2, True)}


def pixels(frames: Tensor) -> Tensor:
    """uint8 frames, scaled to [-1, 1]."""
    return frames.float() / 127.5 - 1


def film_psnr(module: CausalVae, count: int = 32) -> float:
    """Mean PSNR in dB over held-out films; decoded frames are rounded to 8 bits."""
    values = []
    for index in range(count):
        wanted = films(range(index, index + 1), split="heldout")
        decoded = module.decode(module.encode(pixels(wanted))[0])
        error = (((decoded.clamp(-1, 1) + 1) * 127.5).round() - wanted).square().mean().clamp(min=1e-4)
        values.append(10 * math.log10(255**2 / float(error)))
    return sum(values) / len(values)


def film_statistics(module: CausalVae, count: int = 96) -> FilmLatents:
    """The mean and deviation of the latents of training films, and the linear map from x0 to mean colours."""
    raw, colours = [], []
    for index in range(count):
        frames = pixels(films(range(index, index + 1), seed=1))
        latents = module.encode(frames)[0]
        time, factor, _ = module.stride
        small = F.avg_pool2d(frames[0], factor)  # (F, 3, h, w)
        means = torch.cat([small[:1], small[1:].view(-1, time, *small.shape[1:]).mean(1)])
        raw.append(latents[0].movedim(0, -1).flatten(0, 2))
        colours.append(means.movedim(1, -1).flatten(0, 2))
    return FilmLatents(*(one.tolist() for one in fit_statistics(torch.cat(raw), torch.cat(colours))))


def loss(
    module: CausalVae, batch: Batch, generator: torch.Generator, weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared and a little absolute error, and by `weight` the divergence of the latents from unit noise.

    The pixels of things count more than those of places, which fill nine tenths of most frames and seldom change.
    """
    wanted = pixels(batch["frames"])
    shape = len(wanted), *module.latent_shape(wanted.shape[1], *wanted.shape[-2:])
    decoded, mean, log_variance = module(wanted, torch.randn(shape, generator=generator).to(wanted.device))
    error = decoded.float() - wanted
    share = 1 + (THINGS - 1) * batch["differ"].float()
    share = share / share.mean()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    total = (share * (error.square() + 0.1 * error.abs())).mean() + weight * divergence
    square = error.detach().square()
    things = (square * batch["differ"]).sum() / (3 * batch["differ"].sum()).clamp(min=1)
    figures = {"db": 10 * torch.log10(4 / square.mean()), "things_db": 10 * torch.log10(4 / things.clamp(min=1e-6))}
    return total, {**figures, "divergence": divergence.detach()}


def recipe(
    steps: Count = 2400,
    batch: Samples = 2,
    lr: Rate = 1.2e-3,
    frames: Frames = FRAMES,
    divergence: Share = 1e-4,
    start: Path | None = None,
) -> Recipe[CausalVae]:
    """Train on parts of films, of 2k + 1 `frames`; `divergence` is the weight of the latents' divergence.

    Many short parts teach more than a few long ones, whose frames are alike: start with single frames. Whole films must
    come last: after parts of 9 frames, PSNR was 24 dB in these and fell to 12 dB in the eight after them, since the
    zeros before the first frame had never been far.

    `start` is the file of a film autoencoder that gives the initial weights.
    """
    config = build_film.VAE

    def build() -> CausalVae:
        module: CausalVae = CausalVae(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for layer in module.modules():
            if isinstance(layer, CausalBlock):  # begins as the identity
                nn.init.zeros_(layer.conv2.weight)
        with torch.no_grad():  # noise that leaves the latents readable
            module.moments.bias[config.channels :] = -4
        if start:
            tensors, _ = scorefield_file.load(start, "film-autoencoder")
            scorefield_file.fill(module, tensors, torch.float32, start)
        return module

    def optimizer(module: CausalVae) -> torch.optim.Optimizer:
        ends = ("encoder.first", "decoder.last", "moments", "entry")
        kernels = [
            layer.weight
            for name, layer in module.named_modules()
            if isinstance(layer, CausalConv)
            and not name.startswith(ends)
            and name not in ("encoder.last", "decoder.first")
        ]
        return Muon(module, [*hidden_matrices(module, ends), *kernels], lr)

    def finish(module: CausalVae, progress: Progress) -> Path:
        header = scorefield_file.Header(
            kind="film-autoencoder",
            config=asdict(config),
            step=progress.step,
            samples=progress.samples,
            figures={"heldout_psnr_db": round(film_psnr(module), 2)},
            notes=build_film.latents_notes(film_statistics(module)),
        )
        return scorefield_file.save(progress.folder / build_film.AUTOENCODER, module.state_dict(), header)

    return Recipe(
        name="film-autoencoder",
        build=build,
        batches=in_order(lambda indices: parts(indices, frames), batch),
        loss=lambda module, given, generator: loss(module, given, generator, divergence),
        optimizer=optimizer,
        finish=finish,
        steps=steps,
        batch=batch,
        schedule=Wsd(warmup=100, decay=0.6),
        ema=0.998,
        evaluate=lambda module: {"heldout_psnr_db": film_psnr(module, 12)},
        evaluate_every=500,
    )
