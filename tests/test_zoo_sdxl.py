"""Stable Diffusion XL: a tiny one, written by diffusers and transformers, gives the picture that they draw."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import pytest
import torch
from diffusers.loaders import single_file_utils
from safetensors.torch import save_file
from tests import networks, peer_networks, pipelines, published
from tests.loading import stable
from tests.pipelines import (
    PROMPT,
    SAMPLERS,
    Pixels,
    assert_same_weights,
    drawn_there,
    scheduler,
    there_and_back,
)  # fmt: skip
from tests.test_zoo_convert import planned
from tests.tiny import TINY_XL as TINY
from torch import Tensor, nn

from scorefield.cli.main import run
from scorefield.conversion.plan import conversion
from scorefield.errors import UnsupportedError
from scorefield.families.stable_diffusion.specs import NETWORKS
from scorefield.model.system import System
from scorefield.nets.clip import SDXL_TEXT_2, TextEncoder
from scorefield.nets.kl import Kl
from scorefield.nets.unet import SDXL, Unet
from scorefield.prompt.conditioner import PromptBatch
from scorefield.prompt.sdxl import XlConditioner
from scorefield.weights import key_map
from scorefield.weights.checkpoint_layout import XL_TEXT as FIRST
from scorefield.weights.checkpoint_layout import XL_TEXT_2 as SECOND
from scorefield.weights.detect.identity import Family
from scorefield.weights.key_maps import clip_keys, kl_keys, unet_keys

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

CPU = torch.device("cpu")


class Made(NamedTuple):
    peer: Any
    model: System
    folder: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("xl")
    peer = pipelines.written_xl(folder, TINY)
    return Made(peer, stable(folder / "model", CPU, torch.float32), folder / "model")


def drawn(model: System, sampler: str = "ddim", prompt: str = PROMPT, **sides: int) -> Pixels:
    return pipelines.drawn(model, sampler, SAMPLERS[sampler][1], prompt, **sides)


def test_the_hash_of_a_model_stays_as_it_stands_in_records(made: Made, tmp_path: Path) -> None:
    model = stable(pipelines.zeroed(made.folder, tmp_path / "zero"), CPU, torch.float32)
    assert model.sha256 == "1bd5c27ecb5f1af257c3df9e40d00c2b92d46537a012a4446e7b9a16b705ea71"


@pytest.mark.parametrize("sampler", ["ddim", "euler", "heun", "dpmpp_2m"])
def test_a_picture_is_that_of_diffusers(sampler: str, made: Made) -> None:
    name, _, options = SAMPLERS[sampler]
    theirs = drawn_there(made.peer, scheduler(name, "epsilon", **options), width=64, height=80)
    assert theirs.std() > 20
    assert abs(drawn(made.model, sampler, width=64, height=80) - theirs).max() <= 1


def test_without_a_negative_prompt_too_a_picture_is_that_of_diffusers(made: Made) -> None:
    theirs = drawn_there(made.peer, scheduler("DDIMScheduler", "epsilon", **SAMPLERS["ddim"][2]), negative="")
    ours = pipelines.drawn(made.model, "ddim", SAMPLERS["ddim"][1], negative="")
    assert abs(ours - theirs).max() <= 1
    assert abs(ours - drawn(made.model)).max() > 20


@pytest.mark.parametrize("negative", ["", "blurry"])
@torch.no_grad()
def test_the_condition_is_that_of_diffusers_zeros_where_there_is_no_negative_prompt(negative: str, made: Made) -> None:
    batch = PromptBatch(prompts=[PROMPT, "a dog"], negative_prompt=negative, seeds=[1, 2], width=64, height=80)
    pos, neg = made.model.stages[0].conditioner.pair(batch)
    told = [negative] * 2 if negative else None
    tokens, blank, pooled, none = made.peer.encode_prompt([PROMPT, "a dog"], negative_prompt=told)
    sizes = made.peer.unet.add_time_proj(torch.tensor([80, 64, 0, 0, 80, 64])).flatten().expand(2, -1)
    for ours, words, summary in ((pos, tokens, pooled), (neg, blank, none)):
        given = ours.tensors()
        torch.testing.assert_close(given["tokens"], words, rtol=0, atol=1e-5)
        torch.testing.assert_close(given["pooled"], torch.cat([summary, sizes], 1), rtol=0, atol=1e-5)
    assert bool(negative) == bool(neg.tensors()["tokens"].any())


def test_the_picture_depends_on_the_prompt_and_on_the_size_that_it_is_told(made: Made) -> None:
    assert abs(drawn(made.model) - drawn(made.model, prompt="a dog")).max() > 20
    conditioner = made.model.stages[0].conditioner
    small, large = (
        conditioner.pair(PromptBatch(prompts=["a"], negative_prompt="", seeds=[1], width=side, height=64))[0].tensors()
        for side in (64, 512)
    )
    assert (small["pooled"] != large["pooled"]).any()


def as_one_file(path: Path, model: System) -> None:
    conditioner = model.stages[0].conditioner
    assert isinstance(conditioner, XlConditioner)
    assert TINY.text_2 is not None
    parts: list[tuple[str, list[key_map.Entry], dict[str, Tensor]]] = [
        ("model.diffusion_model.", list(unet_keys.ldm(TINY.unet)), model.stages[0].denoiser.net.state_dict()),
        ("first_stage_model.", list(kl_keys.ldm(TINY.kl)), model.stages[0].codec.pictures.autoencoder.state_dict()),  # type: ignore[attr-defined]
        (
            "conditioner.embedders.0.transformer.",
            list(clip_keys.transformers_text(TINY.text.text, projected=False)),
            conditioner.first.encoder.state_dict(),
        ),
        (
            "conditioner.embedders.1.model.",
            list(clip_keys.openai_text(TINY.text_2.text)),
            conditioner.second.encoder.state_dict(),
        ),
    ]
    held = {
        name: tensor.contiguous().clone()
        for prefix, listed, ours in parts
        for name, tensor in key_map.write(list(key_map.under("", prefix, listed)), ours).items()
    }
    held |= {"conditioner.embedders.1.model.logit_scale": torch.ones(()), "denoiser.sigmas": torch.ones(1000)}
    save_file(held, path)


def test_a_folder_and_a_single_file_have_one_hash_and_give_the_identical_picture(made: Made, tmp_path: Path) -> None:
    as_one_file(tmp_path / "model.safetensors", made.model)
    model = stable(tmp_path / "model.safetensors", CPU, torch.float32, "eps", TINY)
    assert model.sha256 == made.model.sha256
    prompt = "a red fox, in the Snow"  # without the "!" that pads in the folder alone
    assert (drawn(model, prompt=prompt) == drawn(made.model, prompt=prompt)).all()


def test_a_folder_comes_back_from_one_file_and_draws_the_identical_picture(made: Made, tmp_path: Path) -> None:
    file, folder = there_and_back(made.folder, TINY, tmp_path)
    again = diffusers.StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    assert_same_weights(again, made.peer, "unet", "vae", "text_encoder", "text_encoder_2")
    assert (again.tokenizer.pad_token, again.tokenizer_2.pad_token) == ("<|endoftext|>", "!")
    assert again.config.force_zeros_for_empty_prompt is True
    euler = type(again.scheduler).from_config(again.scheduler.config)
    theirs = drawn_there(again, euler)
    assert theirs.std() > 20
    assert (theirs == drawn_there(made.peer, euler)).all()
    models = [stable(path, CPU, torch.float32, networks=TINY) for path in (file, folder)]
    assert {one.sha256 for one in models} == {made.model.sha256}
    prompt = "a red fox, in the Snow"  # without the "!" that pads
    ours = [drawn(one, prompt=prompt) for one in (made.model, *models)]
    assert (ours[0] == ours[1]).all()
    assert (ours[0] == ours[2]).all()


def test_a_model_for_inpainting_goes_there_and_back_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = replace(TINY, unet=replace(TINY.unet, in_channels=9))
    peer = pipelines.written_xl(tmp_path, tiny)
    file, folder = there_and_back(tmp_path / "model", tiny, tmp_path)
    again = diffusers.StableDiffusionXLInpaintPipeline.from_pretrained(folder, add_watermarker=False)
    assert_same_weights(again, peer, "unet", "vae", "text_encoder", "text_encoder_2")
    models = [stable(tmp_path / "model", CPU, torch.float32), stable(file, CPU, torch.float32, networks=tiny)]
    assert models[0].sha256 == models[1].sha256
    assert [(one.stages[0].spec.inpaints, one.stages[0].spec.defaults.width) for one in models] == [(True, 1024)] * 2
    assert run(["inspect", str(folder)]) == 0
    assert "inpainting" in capsys.readouterr().out


def changed(made: Made, tmp_path: Path, file: str, **said: object) -> Path:
    """A copy of the folder where one of its texts says something else."""
    folder = shutil.copytree(made.folder, tmp_path / "changed")
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | said))
    return folder


def test_a_model_of_v_that_was_trained_to_pure_noise_stays_one(made: Made, tmp_path: Path) -> None:
    said = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    source = changed(made, tmp_path, "scheduler/scheduler_config.json", **said)
    file, folder = there_and_back(source, TINY, tmp_path)
    again = diffusers.StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False).scheduler
    assert isinstance(again, diffusers.EulerDiscreteScheduler)
    assert {name: again.config[name] for name in said} == said
    options = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": False}
    theirs = drawn_there(made.peer, scheduler("DDIMScheduler", "v_prediction", set_alpha_to_one=True, **options))
    assert theirs.std() > 20
    models = [stable(path, CPU, torch.float32, networks=TINY) for path in (source, file, folder)]
    ours = [pipelines.drawn(one, "ddim", "trailing") for one in (models[0], models[2])]
    assert abs(ours[0] - theirs).max() <= 1
    assert (ours[0] == ours[1]).all()
    prompt = "a red fox, in the Snow"
    ours = [pipelines.drawn(one, "ddim", "trailing", prompt) for one in models[:2]]
    assert (ours[0] == ours[1]).all()


def test_what_one_file_cannot_say_is_refused_with_the_way_out(made: Made, tmp_path: Path) -> None:
    source = changed(made, tmp_path, "model_index.json", force_zeros_for_empty_prompt=False)
    with pytest.raises(
        UnsupportedError, match=r"^[^\n]*which a single file cannot store: use the folder, or set force_zeros[^\n]*$"
    ):
        conversion(source, to="ldm", networks=TINY)
    said = json.loads(conversion(source, to="diffusers", networks=TINY).texts["model_index.json"])
    assert said["force_zeros_for_empty_prompt"] is False
    shutil.rmtree(source)
    source = changed(made, tmp_path, "tokenizer_2/tokenizer_config.json", pad_token="<|endoftext|>")
    with pytest.raises(
        UnsupportedError, match=r"^\S* pads prompts with '<\|endoftext\|>', which a single file [^\n]*$"
    ):
        conversion(source, to="ldm", networks=TINY)
    assert conversion(source, to="diffusers", networks=TINY).texts["tokenizer_2/merges.txt"]


def shapes(net: nn.Module, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {f"{prefix}{name.removeprefix('text_model.')}": tuple(one.shape) for name, one in net.state_dict().items()}


@pytest.mark.parametrize(
    ("channels", "kind"), [(4, "StableDiffusionXLPipeline"), (9, "StableDiffusionXLInpaintPipeline")]
)
def test_every_published_key_goes_there_and_back_by_the_names_that_diffusers_reads(
    channels: int, kind: str, tmp_path: Path
) -> None:
    known = NETWORKS[Family.SDXL]
    known = replace(known, unet=replace(known.unet, in_channels=channels))
    assert known.text_2 is not None
    with torch.device("meta"):
        listed: list[tuple[str, Iterator[key_map.Entry], nn.Module]] = [
            ("model.diffusion_model.", unet_keys.ldm(known.unet), Unet(known.unet)),
            ("first_stage_model.", kl_keys.ldm(known.kl), Kl(known.kl)),
            (FIRST, clip_keys.transformers_text(known.text.text, projected=False), TextEncoder(known.text)),
            (SECOND, clip_keys.openai_text(known.text_2.text), TextEncoder(known.text_2)),
        ]
        peers = {
            "unet/diffusion_pytorch_model": shapes(peer_networks.unet(known.unet, sdxl=True)),
            "vae/diffusion_pytorch_model": shapes(peer_networks.kl(known.kl)),
            "text_encoder/model": shapes(peer_networks.text(known.text), "text_model."),
            "text_encoder_2/model": shapes(peer_networks.text(known.text_2), "text_model."),
        }
    held = {
        name: tuple(one.shape)
        for prefix, names, net in listed
        for name, one in key_map.write(list(key_map.under("", prefix, names)), net.state_dict()).items()
    }
    made = conversion(published.sparse(tmp_path / "x.safetensors", held), to="diffusers")
    second = peers["text_encoder_2/model"]
    second["text_projection.weight"] = second.pop("text_model.text_projection.weight")
    found = planned(made)
    assert found == {f"{name}.safetensors": one for name, one in peers.items()}
    for name, one in found.items():
        published.sparse(tmp_path / "folder" / name, one)
    for name, text in made.texts.items():
        (tmp_path / "folder" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "folder" / name).write_text(text, encoding="utf-8")
    (back,) = planned(conversion(tmp_path / "folder", to="ldm")).values()
    assert back == held
    assert json.loads(made.texts["model_index.json"])["_class_name"] == kind
    config = json.loads(made.texts["unet/config.json"])
    assert config["in_channels"] == channels
    assert config["transformer_layers_per_block"] == [1, 2, 10]
    assert (config["addition_time_embed_dim"], config["sample_size"], config["upcast_attention"]) == (256, 128, False)
    tensors = {name: torch.empty(one, device="meta") for name, one in back.items()}
    read = single_file_utils.convert_ldm_unet_checkpoint(tensors, config)
    assert {name: tuple(one.shape) for name, one in read.items()} == peers["unet/diffusion_pytorch_model"]
    with torch.device("meta"):
        encoder = peer_networks.text(known.text_2)
    read = single_file_utils.convert_open_clip_checkpoint(encoder, tensors, SECOND)
    assert {name: tuple(one.shape) for name, one in read.items()} == second


def test_the_latents_are_of_another_scale_and_have_other_colours(made: Made) -> None:
    x0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = made.peer.vae.decode(x0 / 0.13025).sample.clamp(-1, 1)
    assert networks.relative_error(made.model.stages[0].codec.pictures.decode(x0), theirs, least=0.1) <= 1e-5
    none = made.model.stages[0].codec.pictures.preview(torch.zeros(1, 4, 1, 1)).flatten()
    torch.testing.assert_close(none, torch.tensor([0.1084, -0.0175, -0.0011]))


def test_the_published_model_is_known() -> None:
    found = NETWORKS[Family.SDXL]
    assert (found.unet, found.text_2) == (SDXL, SDXL_TEXT_2)
    assert found.unet.pooled_width == 1280 + 6 * 256
    assert found.unet.context_width == 768 + 1280


def test_the_mean_and_deviation_of_latents_are_read_as_diffusers_reads_them(made: Made, tmp_path: Path) -> None:
    said = {"scaling_factor": 0.5, "latents_mean": [-1.6, 1.8, -1.3, 2.5], "latents_std": [8.4, 5.9, 6.5, 5.2]}
    source = changed(made, tmp_path, "vae/config.json", **said)
    peer = diffusers.StableDiffusionXLPipeline.from_pretrained(source, add_watermarker=False)
    peer.set_progress_bar_config(disable=True)
    euler = scheduler("EulerDiscreteScheduler", "epsilon", timestep_spacing="trailing")
    theirs = drawn_there(peer, euler)
    ours = pipelines.drawn(stable(source), "euler", "trailing")
    assert theirs.std() > 20
    assert abs(ours - theirs).max() <= 1
    assert abs(ours - pipelines.drawn(stable(made.folder), "euler", "trailing")).max() > 5
    written = json.loads(conversion(source, to="diffusers").texts["vae/config.json"])
    assert {name: written[name] for name in said} == said
    with pytest.raises(UnsupportedError, match=r"scaling_factor 0\.5"):
        conversion(source, to="ldm")
