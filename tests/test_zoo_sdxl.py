"""Stable Diffusion XL: a tiny one, written by diffusers and transformers, gives the picture that they draw."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from tests import networks, pipelines
from tests.pipelines import PROMPT, SAMPLERS, Pixels, drawn_there, scheduler
from tests.tiny import TINY_XL as TINY
from torch import Tensor

from scorefield import zoo
from scorefield.nets.clip import SDXL_TEXT_2
from scorefield.nets.unet import SDXL
from scorefield.prompt.conditioner import Asked
from scorefield.prompt.sdxl import XlConditioner
from scorefield.weights import entries
from scorefield.weights.found import Family
from scorefield.weights.maps import clip, kl, unet
from scorefield.zoo.stable import NETWORKS, stable

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.api.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

CPU = torch.device("cpu")


class Made(NamedTuple):
    peer: Any
    model: zoo.Model
    folder: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("xl")
    peer = pipelines.written_xl(folder, TINY)
    return Made(peer, stable(folder / "model", CPU, torch.float32, networks=TINY), folder / "model")


def drawn(model: zoo.Model, sampler: str = "ddim", prompt: str = PROMPT, **sides: int) -> Pixels:
    return pipelines.drawn(model, sampler, SAMPLERS[sampler][1], prompt, **sides)


@pytest.mark.parametrize("sampler", ["ddim", "euler", "heun", "dpmpp_2m"])
def test_a_picture_is_that_of_diffusers(sampler: str, made: Made) -> None:
    name, _, options = SAMPLERS[sampler]
    theirs = drawn_there(made.peer, scheduler(name, "epsilon", **options), width=64, height=80)
    assert theirs.std() > 20
    assert abs(drawn(made.model, sampler, width=64, height=80) - theirs).max() <= 1


@pytest.mark.parametrize("negative", ["", "blurry"])
@torch.no_grad()
def test_the_condition_is_that_of_diffusers_zeros_where_there_is_no_negative_prompt(negative: str, made: Made) -> None:
    asked = Asked(prompts=[PROMPT, "a dog"], negative_prompt=negative, seeds=[1, 2], width=64, height=80)
    pos, neg = made.model.conditioner.pair(asked)
    told = [negative] * 2 if negative else None
    tokens, blank, pooled, none = made.peer.encode_prompt([PROMPT, "a dog"], negative_prompt=told)
    sizes = made.peer.unet.add_time_proj(torch.tensor([80, 64, 0, 0, 80, 64])).flatten().expand(2, -1)
    for ours, words, summary in ((pos, tokens, pooled), (neg, blank, none)):
        given = ours.given()
        torch.testing.assert_close(given["tokens"], words, rtol=0, atol=1e-5)
        torch.testing.assert_close(given["pooled"], torch.cat([summary, sizes], 1), rtol=0, atol=1e-5)
    assert bool(negative) == bool(neg.given()["tokens"].any())


def test_the_picture_depends_on_the_prompt_and_on_the_size_that_it_is_told(made: Made) -> None:
    assert abs(drawn(made.model) - drawn(made.model, prompt="a dog")).max() > 20
    conditioner = made.model.conditioner
    small, large = (
        conditioner.pair(Asked(prompts=["a"], negative_prompt="", seeds=[1], width=side, height=64))[0].given()
        for side in (64, 512)
    )
    assert (small["pooled"] != large["pooled"]).any()


def as_one_file(path: Path, model: zoo.Model) -> None:
    conditioner = model.conditioner
    assert isinstance(conditioner, XlConditioner)
    assert TINY.text_2 is not None
    parts: list[tuple[str, list[entries.Entry], dict[str, Tensor]]] = [
        ("model.diffusion_model.", list(unet.ldm(TINY.unet)), model.denoiser.net.state_dict()),
        ("first_stage_model.", list(kl.ldm(TINY.kl)), model.codec.autoencoder.state_dict()),  # type: ignore[attr-defined]
        (
            "conditioner.embedders.0.transformer.",
            list(clip.transformers_text(TINY.text.text, projected=False)),
            conditioner.first.encoder.state_dict(),
        ),
        (
            "conditioner.embedders.1.model.",
            list(clip.openai_text(TINY.text_2.text)),
            conditioner.second.encoder.state_dict(),
        ),
    ]
    held = {
        name: tensor.contiguous().clone()
        for prefix, listed, ours in parts
        for name, tensor in entries.write(list(entries.under("", prefix, listed)), ours).items()
    }
    held |= {"conditioner.embedders.1.model.logit_scale": torch.ones(()), "denoiser.sigmas": torch.ones(1000)}
    save_file(held, path)


def test_a_folder_and_a_single_file_have_one_hash_and_give_the_identical_picture(made: Made, tmp_path: Path) -> None:
    as_one_file(tmp_path / "model.safetensors", made.model)
    model = stable(tmp_path / "model.safetensors", CPU, torch.float32, "eps", TINY)
    assert model.sha256 == made.model.sha256
    prompt = "a red fox, in the Snow"  # without the "!" that pads in the folder alone
    assert (drawn(model, prompt=prompt) == drawn(made.model, prompt=prompt)).all()


def test_the_latents_are_of_another_scale_and_have_other_colours(made: Made) -> None:
    x0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = made.peer.vae.decode(x0 / 0.13025).sample.clamp(-1, 1)
    assert networks.relative_error(made.model.codec.decode(x0), theirs, least=0.1) <= 1e-5
    none = made.model.codec.preview(torch.zeros(1, 4, 1, 1)).flatten()
    torch.testing.assert_close(none, torch.tensor([0.1084, -0.0175, -0.0011]))


def test_the_published_model_is_known() -> None:
    found = NETWORKS[Family.SDXL]
    assert (found.unet, found.text_2) == (SDXL, SDXL_TEXT_2)
    assert found.unet.pooled_width == 1280 + 6 * 256
    assert found.unet.context_width == 768 + 1280
