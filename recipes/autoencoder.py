"""The embedded autoencoder: scenes to 16 x 16 x 8 latents and back. `scorefield train autoencoder`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scorefield.data.render import render
from scorefield.data.scenes import Split, scene
from scorefield.latent.latent_codec import fit_statistics
from scorefield.latent.scenes_codec import Codec
from scorefield.nets.autoencoder import Autoencoder, AutoencoderConfig
from scorefield.train.batches import Batch, in_order
from scorefield.train.optim import Muon, Wsd, hidden_matrices
from scorefield.train.recipe import Count, Progress, Rate, Recipe, Samples
from scorefield.weights import scorefield_file


def pictures(indices: range, split: Split = "train", seed: int = 0) -> Tensor:
    """Rendered scenes, (B, 3, 128, 128) uint8."""
    stacked = np.stack([render(scene(index, seed, split)) for index in indices])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)


def pixels(pictures: Tensor) -> Tensor:
    """uint8 pictures, scaled to [-1, 1]."""
    return pictures.float() / 127.5 - 1


def psnr(module: Autoencoder, count: int = 256) -> float:
    """Mean PSNR in dB over held-out scenes; decoded pictures are rounded to 8 bits."""
    values = []
    for start in range(0, count, 32):
        wanted = pictures(range(start, start + 32), "heldout")
        drawn = ((module(pixels(wanted)).clamp(-1, 1) + 1) * 127.5).round()
        error = (drawn - wanted.float()).square().mean((1, 2, 3)).clamp(min=1e-4)
        values.append(10 * torch.log10(255**2 / error))
    return float(torch.cat(values).mean())


def codec(module: Autoencoder, count: int = 1024) -> Codec:
    """The module with the mean and deviation of its latents over training scenes, and a linear map to mean colours."""
    raw, colours = [], []
    for start in range(0, count, 32):
        batch = pixels(pictures(range(start, start + 32), seed=1))
        raw.append(module.encode(batch).movedim(1, -1).flatten(0, 2))
        colours.append(F.avg_pool2d(batch, module.factor).movedim(1, -1).flatten(0, 2))
    made, fitted = Codec(module), fit_statistics(torch.cat(raw), torch.cat(colours))
    made.shift.copy_(fitted.mean)
    made.scale.copy_(fitted.deviation)
    made.preview_weight.copy_(fitted.colours[:-1].T)
    made.preview_bias.copy_(fitted.colours[-1])
    return made


def recipe(
    steps: Count = 6000,
    batch: Samples = 16,
    lr: Rate = 1.5e-3,
    decoder_only: Path | None = None,
) -> Recipe[Autoencoder]:
    """Train with mean squared error and a little mean absolute error.

    `decoder_only` is a file whose encoder is kept unchanged, so that latents made with it stay valid.
    """
    config = AutoencoderConfig()

    def build() -> Autoencoder:
        module: Autoencoder = Autoencoder(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if decoder_only:
            tensors, _ = scorefield_file.load(decoder_only, "autoencoder")
            scorefield_file.fill(Codec(module), tensors, torch.float32, decoder_only)
            module.encoder.requires_grad_(False)
        return module

    def loss(module: Autoencoder, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        wanted = pixels(batch["pictures"]).contiguous(memory_format=torch.channels_last)
        noise = torch.randn(module.latent_shape(*wanted.shape[0:1], *wanted.shape[2:]), generator=generator)
        error = module(wanted, noise.to(wanted.device)).float() - wanted
        square = error.square().mean()
        return square + 0.1 * error.abs().mean(), {"db": 10 * torch.log10(4 / square.detach())}

    def optimizer(module: Autoencoder) -> torch.optim.Optimizer:
        ends = ["encoder.1", f"decoder.{len(module.decoder) - 2}"]
        return Muon(module, hidden_matrices(module, ends), lr)

    def finish(module: Autoencoder, progress: Progress) -> Path:
        tensors = codec(module).state_dict()
        if decoder_only:  # the latents do not change, and neither must their statistics
            kept, _ = scorefield_file.load(decoder_only, "autoencoder")
            tensors |= {name: value for name, value in kept.items() if not name.startswith("autoencoder.decoder.")}
        header = scorefield_file.Header(
            kind="autoencoder",
            config=asdict(config),
            step=progress.step,
            samples=progress.samples,
            figures={"heldout_psnr_db": round(psnr(module), 2)},
        )
        return scorefield_file.save(progress.folder / "scenes-autoencoder.safetensors", tensors, header)

    return Recipe(
        name="autoencoder",
        build=build,
        batches=in_order(lambda indices: {"pictures": pictures(indices)}, batch),
        loss=loss,
        optimizer=optimizer,
        finish=finish,
        steps=steps,
        batch=batch,
        schedule=Wsd(warmup=100, decay=0.25),
        ema=0.998,
        evaluate=lambda module: {"heldout_psnr_db": psnr(module, 64)},
        evaluate_every=500,
    )
