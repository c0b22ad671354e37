"""Stable Diffusion from a picture: under the same noise it draws what diffusers draws, 4 channels in or 9."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from tests.loading import stable
from tests.pipelines import GUIDANCE, NEGATIVE, PROMPT, SAMPLERS, SIZE, Pixels, scheduler, written, written_xl
from tests.tiny import TINY, TINY_XL

from scorefield.api import Pipeline
from scorefield.core import noise
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.model.system import System

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

CPU = torch.device("cpu")
STEPS = 5


class Made(NamedTuple):
    peer: Any
    model: System


def _made(folder: Path, networks: Networks) -> Made:
    peer = written(folder, networks, "epsilon")
    peer.unet.register_to_config(sample_size=64)
    return Made(peer, stable(folder / "model", CPU, torch.float32))


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return _made(tmp_path_factory.mktemp("four"), TINY)


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return _made(tmp_path_factory.mktemp("nine"), replace(TINY, unet=replace(TINY.unet, in_channels=9)))


@pytest.fixture(scope="module")
def nine_xl(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("nine xl")
    peer = written_xl(folder, replace(TINY_XL, unet=replace(TINY_XL.unet, in_channels=9)))
    return Made(peer, stable(folder / "model", CPU, torch.float32))


@pytest.fixture(autouse=True)
def mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where diffusers would draw from what the encoder sees, it takes the mean."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())


def picture() -> Image.Image:
    """Bands of colour, and some noise."""
    values = np.random.default_rng(0).integers(0, 80, (SIZE, SIZE, 3))
    values[:, : SIZE // 2, 0] += 150
    values[SIZE // 3 :, :, 1] += 120
    return Image.fromarray(values.astype(np.uint8))


def mask() -> Image.Image:
    """A region with no edge on a multiple of 8."""
    values = np.zeros((SIZE, SIZE), np.uint8)
    values[13:51, 10:43] = 255
    return Image.fromarray(values)


def ours(model: System, sampler: str, strength: float, **options: Any) -> Pixels:
    made = Pipeline(model)(
        PROMPT, negative_prompt=NEGATIVE, steps=STEPS, guidance=GUIDANCE, seed=7, image=picture(), strength=strength,
        sampler=sampler, schedule=SAMPLERS[sampler][1], **options,
    )  # fmt: skip
    return np.asarray(made.image).astype(int)


def theirs(
    made: Made, kind: Any, sampler: str, strength: float, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Pixels:
    """diffusers' picture from our noise: where it starts from the largest sigma, not from the whole deviation there."""
    name, _, settings = SAMPLERS[sampler]
    free = {"add_watermarker": False} if "XL" in kind.__name__ else {"requires_safety_checker": False}
    peer = kind(**made.peer.components, **free)
    peer.scheduler = scheduler(name, "epsilon", **settings)
    peer.set_progress_bar_config(disable=True)
    eps = noise.initial([7], (4, SIZE // 8, SIZE // 8))
    if "mask_image" in options and strength == 1 and sampler == "euler":
        eps *= math.hypot(1, 1 / float(peer.scheduler.init_noise_sigma))
    monkeypatch.setattr(sys.modules[kind.__module__], "randn_tensor", lambda *_, **__: eps)
    result = peer(
        prompt=PROMPT, negative_prompt=NEGATIVE, image=picture(), strength=strength, num_inference_steps=STEPS,
        guidance_scale=GUIDANCE, **options,
    )  # fmt: skip
    return np.asarray(result.images[0]).astype(int)


def assert_same(one: Pixels, other: Pixels) -> None:
    assert other.std() > 20  # a picture of something
    assert abs(one - other).max() <= 1


@pytest.mark.parametrize("strength", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("sampler", ["ddim", "euler", "heun", "dpmpp_2m"])
def test_from_a_picture_it_draws_what_diffusers_draws(
    four: Made, sampler: str, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = theirs(four, diffusers.StableDiffusionImg2ImgPipeline, sampler, strength, monkeypatch)
    assert_same(ours(four.model, sampler, strength), peer)


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize("sampler", ["ddim", "euler"])
def test_an_inpainting_network_paints_what_it_paints_in_diffusers(
    nine: Made, sampler: str, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nine.model.stages[0].spec.inpaints
    options = {"mask_image": mask(), "height": SIZE, "width": SIZE}
    peer = theirs(nine, diffusers.StableDiffusionInpaintPipeline, sampler, strength, monkeypatch, **options)
    assert_same(ours(nine.model, sampler, strength, mask=mask(), paste=False), peer)


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize("sampler", ["ddim", "euler"])
def test_the_inpainting_network_of_xl_paints_what_it_paints_in_diffusers(
    nine_xl: Made, sampler: str, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"mask_image": mask(), "height": SIZE, "width": SIZE}
    peer = theirs(nine_xl, diffusers.StableDiffusionXLInpaintPipeline, sampler, strength, monkeypatch, **options)
    assert_same(ours(nine_xl.model, sampler, strength, mask=mask(), paste=False), peer)


@pytest.mark.parametrize("sampler", ["ddim", "euler"])
def test_an_ordinary_network_keeps_the_region_as_it_does_in_diffusers(
    four: Made, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mask ends on latents here: where it does not, we paint every latent anew that has any of it."""
    values = np.zeros((SIZE, SIZE), np.uint8)
    values[16:48, 8:40] = 255
    region = Image.fromarray(values)
    options = {"mask_image": region, "height": SIZE, "width": SIZE}
    peer = theirs(four, diffusers.StableDiffusionInpaintPipeline, sampler, 0.8, monkeypatch, **options)
    assert_same(ours(four.model, sampler, 0.8, mask=region, paste=False), peer)


def test_an_inpainting_network_without_a_picture_paints_all_of_nothing(
    nine: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As others do: a mask of ones over a picture that it cannot see."""
    options = {"mask_image": Image.new("L", (SIZE, SIZE), 255), "height": SIZE, "width": SIZE}
    peer = theirs(nine, diffusers.StableDiffusionInpaintPipeline, "ddim", 1.0, monkeypatch, **options)
    made = Pipeline(nine.model)(
        PROMPT, negative_prompt=NEGATIVE, steps=STEPS, guidance=GUIDANCE, seed=7, size=SIZE, sampler="ddim",
        schedule="ddim_uniform",
    )  # fmt: skip
    assert_same(np.asarray(made.image).astype(int), peer)
    assert_same(ours(nine.model, "ddim", 1.0, mask=options["mask_image"]), peer)
