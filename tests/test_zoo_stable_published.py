"""Stable Diffusion at its published sizes, written by the reference libraries and read by us, is theirs: `make parity`.

The weights are random, so nothing is downloaded. The reference answers first and is forgotten before ours is loaded: a
model needs 10 GB of memory and 6 of room on the disk. What was measured is told as it is measured, line by line.
"""

import gc
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, cast

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from tests import networks
from tests.loading import stable
from tests.pipelines import SAMPLERS, Pixels, as_one_file, drawn, drawn_there, scheduler, written
from torch import Tensor

from scorefield.core import predict
from scorefield.core.denoiser import Preconditioned
from scorefield.families.stable_diffusion.specs import NETWORKS, Networks
from scorefield.latent.kl_codec import KlCodec
from scorefield.model.system import System
from scorefield.nets.unet import SD1, SD2, UnetConfig
from scorefield.weights.detect.identity import Family

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

WIDTH, HEIGHT, STEPS = 128, 136, 3  # 17 latents high: no half of it is even
PROMPT = "a red fox, in the Snow"  # without the "!" that pads in Stable Diffusion 2's folder alone
NETS = ("text encoder", "U-Net", "encoder", "decoder")
MEANT = {"epsilon": predict.eps, "v_prediction": predict.v}
Parts = Mapping[str, Tensor]
Pictures = Mapping[tuple[str, str], Pixels]  # by sampler and prediction
Tell = Callable[[str, str], None]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A published network; the same random weights stand for a model of each prediction."""

    family: Family
    unet: UnetConfig
    predictions: tuple[str, ...] = ("epsilon",)

    @property
    def networks(self) -> Networks:
        return replace(NETWORKS[self.family], unet=self.unet)


KINDS = {
    "SD 1.5": Kind(family=Family.SD1, unet=SD1),
    "SD 2.1": Kind(family=Family.SD2, unet=SD2, predictions=("epsilon", "v_prediction")),
    "SD 1.5 inpainting": Kind(family=Family.SD1, unet=replace(SD1, in_channels=9)),
}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What both programs made: the answers of their networks, and pictures."""

    theirs: Parts
    ours: Parts
    again: Parts  # of our networks, loaded from the single file of the same weights
    their_pictures: Pictures
    our_pictures: Pictures


def given(unet: UnetConfig) -> dict[str, Tensor]:
    """What the networks are asked, the same for both; the U-Net is asked at two times at once."""
    source = torch.Generator().manual_seed(3)
    return {
        "x": torch.randn(2, unet.in_channels, HEIGHT // 8, WIDTH // 8, generator=source),
        "time": torch.tensor([981.0, 321.0]),
        "tokens": torch.randn(2, 77, unet.context_width, generator=source),
        "pixels": torch.rand(1, 3, HEIGHT, WIDTH, generator=source) * 2 - 1,
    }


def painted() -> tuple[Image.Image, Image.Image]:
    """A picture, and the mask of what an inpainting network shall paint anew."""
    values = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    mask = Image.new("L", (WIDTH, HEIGHT))
    mask.paste(255, (13, 10, 91, 103))
    return Image.fromarray(values).resize((WIDTH, HEIGHT)), mask


@torch.inference_mode()
def their_answers(peer: Any, kind: Kind) -> Parts:
    words = peer.tokenizer([PROMPT, ""], padding="max_length", return_tensors="pt").input_ids
    asked = given(kind.unet)
    return {
        "text encoder": peer.text_encoder(words)[0],
        "U-Net": peer.unet(asked["x"], asked["time"], asked["tokens"]).sample,
        "encoder": peer.vae.encode(asked["pixels"]).latent_dist.mean,
        "decoder": peer.vae.decode(asked["x"][:1, :4]).sample,
    }


def their_pictures(peer: Any, kind: Kind) -> Iterator[tuple[tuple[str, str], Pixels]]:
    options: dict[str, Any] = {}
    if kind.unet.in_channels == 9:
        peer.unet.register_to_config(sample_size=64)  # else diffusers takes it for an old one
        peer = diffusers.StableDiffusionInpaintPipeline(**peer.components, requires_safety_checker=False)
        options = dict(zip(("image", "mask_image"), painted(), strict=True)) | {"strength": 1.0}
    for prediction, (sampler, (name, _, settings)) in product(kind.predictions, SAMPLERS.items()):
        steps = scheduler(name, prediction, **settings)
        size = {"width": WIDTH, "height": HEIGHT, "steps": STEPS}
        yield (sampler, prediction), drawn_there(peer, steps, PROMPT, **size, **options)


@torch.inference_mode()
def our_answers(model: System, kind: Kind) -> Parts:
    asked, codec = given(kind.unet), cast(KlCodec, model.stages[0].codec.pictures)
    return {
        "text encoder": cast(Tensor, model.stages[0].conditioner([PROMPT, ""]).tokens),
        "U-Net": model.stages[0].denoiser.net(asked["x"], asked["time"], asked["tokens"]),
        "encoder": codec.autoencoder.encode(asked["pixels"])[0],
        "decoder": codec.autoencoder.decode(asked["x"][:1, :4]),
    }


def our_pictures(model: System, kind: Kind, prediction: str) -> Iterator[tuple[tuple[str, str], Pixels]]:
    options: dict[str, Any] = {}
    if kind.unet.in_channels == 9:
        options = dict(zip(("image", "mask"), painted(), strict=True)) | {"strength": 1.0, "paste": False}
    for sampler, (_, schedule, _) in SAMPLERS.items():
        size = {"width": WIDTH, "height": HEIGHT, "steps": STEPS}
        yield (sampler, prediction), drawn(model, sampler, schedule, PROMPT, **size, **options)


def predicting(model: System, prediction: predict.Prediction) -> System:
    """`model` with its network's output taken for a prediction of that kind."""
    (stage,) = model.stages
    denoiser = Preconditioned(stage.denoiser.net, prediction, stage.spec.clock)
    return replace(model, stages=(replace(stage, spec=replace(stage.spec, prediction=prediction), denoiser=denoiser),))


@pytest.fixture(scope="module", params=KINDS)
def compared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compared]:
    """One published model, drawn with by both programs; its files are gone when the next is made."""
    kind, cpu = KINDS[request.param], torch.device("cpu")
    folder: Path = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:  # where diffusers would draw from what the encoder sees
        patch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
        peer = written(folder, kind.networks, kind.predictions[0])
        theirs, there = their_answers(peer, kind), dict(their_pictures(peer, kind))
    del peer
    gc.collect()
    model = stable(folder / "model", cpu, torch.float32)
    ours = our_answers(model, kind)
    here: dict[tuple[str, str], Pixels] = {}
    for prediction in kind.predictions:
        here |= our_pictures(predicting(model, MEANT[prediction]), kind, prediction)
    as_one_file(folder / "model.safetensors", model, kind.networks)
    del model
    gc.collect()
    shutil.rmtree(folder / "model")
    again = our_answers(stable(folder / "model.safetensors", cpu, torch.float32, "eps"), kind)
    yield Compared(theirs=theirs, ours=ours, again=again, their_pictures=there, our_pictures=here)
    shutil.rmtree(folder)


@pytest.fixture
def tell(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Tell:
    """Writes a line of the table: what was compared, and what was measured."""

    def line(what: str, measured: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{request.node.callspec.params['compared']:<18} {what:<18} {measured}")

    return line


@pytest.mark.parametrize("net", NETS)
def test_each_network_answers_as_the_reference_does(net: str, compared: Compared, tell: Tell) -> None:
    error = networks.relative_error(compared.ours[net], compared.theirs[net], least=0.05)
    tell(net, f"relative error {error:.1e}")
    assert error <= 1e-5


@pytest.mark.parametrize("net", NETS)
def test_the_single_file_of_the_same_weights_answers_to_the_bit(net: str, compared: Compared) -> None:
    assert torch.equal(compared.again[net], compared.ours[net])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_picture_is_that_of_diffusers_to_1_of_255(sampler: str, compared: Compared, tell: Tell) -> None:
    for (name, prediction), theirs in compared.their_pictures.items():
        if name == sampler:
            ours = compared.our_pictures[name, prediction]
            most, changed = abs(ours - theirs).max(), (ours != theirs).mean()
            told = f"at most {most} of 255; {changed:.2%} of the values differ, deviation {theirs.std():.0f}"
            tell(f"{name}, {prediction.partition('_')[0]}", told)
            assert theirs.std() > 20  # a picture of something
            assert ((theirs == 0) | (theirs == 255)).mean() < 0.5
            assert most <= 1
