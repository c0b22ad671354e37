"""A folder's configurations are read or refused by name, setting by setting."""

import importlib
import inspect
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from docs.notebooks.tiny_stable import tiny_stable
from PIL import ImageChops
from safetensors.torch import load_file, save_file
from tests.loading import stable

import scorefield as sf
from scorefield.conversion.plan import conversion
from scorefield.core import noise
from scorefield.errors import RequestError, ScorefieldError, UnsupportedError
from scorefield.families.stable_diffusion.folder_config import check, schedule, stated
from scorefield.families.stable_diffusion.specs import NETWORKS
from scorefield.latent.kl_codec import XL_SCALE, KlCodec, Latents
from scorefield.nets.kl import Kl, KlConfig
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.identity import Family

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
SOLVERS = (
    "PNDM", "EulerDiscrete", "EulerAncestralDiscrete", "DPMSolverMultistep", "UniPCMultistep", "HeunDiscrete",
    "DEISMultistep", "LCM", "KDPM2Discrete", "DPMSolverSinglestep", "SASolver",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable(tmp_path_factory.mktemp("settings") / "model")


@pytest.fixture
def folder(made: Path) -> Iterator[Path]:
    """The folder, whose texts come back as they were."""
    texts = {file: file.read_bytes() for file in made.rglob("*") if file.suffix in (".json", ".txt", ".safetensors")}
    yield made
    for file, held in texts.items():
        if file.read_bytes() != held:
            file.write_bytes(held)


def say(folder: Path, file: str, **settings: object) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize(
    ("file", "setting", "words"),
    [
        ("unet/config.json", {"norm_eps": 1e-6}, r"unet norm_eps 1e-06 is not supported \(1e-05 is\)"),
        ("unet/config.json", {"downsample_padding": 0}, r"unet downsample_padding 0 is not supported \(1 is\)"),
        ("unet/config.json", {"encoder_hid_dim": 64}, "unet encoder_hid_dim 64 is not supported"),
        ("unet/config.json", {"only_cross_attention": [False, True]}, "unet only_cross_attention .* is not supported"),
        ("unet/config.json", {"a\x1bsetting": 1}, r"unet a\\x1bsetting 1 is not supported \(it is not known\)"),
        ("vae/config.json", {"_class_name": "AutoencoderTiny"}, "vae _class_name AutoencoderTiny is not supported"),
        ("vae/config.json", {"shift_factor": 0.0609}, r"vae shift_factor 0.0609 is not supported \(None and 0 are\)"),
        ("vae/config.json", {"use_post_quant_conv": False}, "vae use_post_quant_conv False is not supported"),
        ("vae/config.json", {"latents_mean": [1.0] * 4, "latents_std": [1.0] * 4}, "latents_mean .* is not valid for"),
        ("vae/config.json", {"scaling_factor": "much"}, "scaling_factor much is not valid for"),
        ("text_encoder/config.json", {"layer_norm_eps": 1e-12}, "text_encoder layer_norm_eps 1e-12 is not supported"),
        ("text_encoder/config.json", {"quantization_config": {"bits": 4}}, "quantization_config .* is not"),
        ("scheduler/scheduler_config.json", {"thresholding": True}, "scheduler thresholding True is not supported"),
        ("scheduler/scheduler_config.json", {"timestep_type": "continuous"}, "timestep_type continuous is not"),
        ("scheduler/scheduler_config.json", {"_class_name": "IPNDMScheduler"}, "_class_name IPNDMScheduler is not"),
        ("scheduler/scheduler_config.json", {"sigma_data": 1.0}, "sigma_data 1.0 is not supported"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "prediction_type sample is not"),
        ("model_index.json", {"scheduler": ["diffusers", "EDMEulerScheduler"]}, "_class_name EDMEulerScheduler is not"),
        ("model_index.json", {"is_cosxl_edit": True}, "pipeline is_cosxl_edit True is not supported"),
    ],
)  # fmt: skip
def test_a_setting_that_is_not_here_is_one_line_for_drawing_and_for_conversion(
    file: str, setting: dict[str, object], words: str, folder: Path
) -> None:
    say(folder, file, **setting)
    for use in (lambda: stable(folder), lambda: conversion(folder, to="ldm")):
        with pytest.raises(ScorefieldError, match=rf"^[^\n]*{words}[^\n]*$") as caught:
            use()
        assert "--prediction" not in str(caught.value)


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_diffusers_writes_of_its_solvers_is_accepted(solver: str) -> None:
    kind = getattr(importlib.import_module("diffusers"), f"{solver}Scheduler")
    config = kind(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").config
    check(Path("x"), "scheduler", json.loads(json.dumps(dict(config))))


def test_what_diffusers_and_transformers_write_of_their_networks_is_accepted() -> None:
    diffusers, transformers = map(importlib.import_module, ("diffusers", "transformers"))
    for part, kind in (("unet", diffusers.UNet2DConditionModel), ("vae", diffusers.AutoencoderKL)):
        options = inspect.signature(kind.__init__).parameters
        check(Path("x"), part, {name: list(one.default) if isinstance(one.default, tuple) else one.default
                                for name, one in options.items() if name != "self"})  # fmt: skip
    for part, kind in (("text_encoder", transformers.CLIPTextConfig), ("image_encoder", transformers.CLIPVisionConfig)):
        check(Path("x"), part, kind().to_dict())


def test_a_schedule_that_the_scheduler_states_is_the_models() -> None:
    assert schedule({"use_karras_sigmas": True, "timestep_spacing": "leading"}) == (
        "karras", {"use_karras_sigmas": True},
    )  # fmt: skip
    assert schedule({"use_beta_sigmas": False, "timestep_spacing": "linspace"}) is None


def test_a_stated_schedule_is_drawn_with_and_kept(folder: Path, tmp_path: Path) -> None:
    say(folder, "scheduler/scheduler_config.json", timestep_spacing="trailing")
    assert stable(folder).stages[0].spec.defaults.schedule == "trailing"
    texts = conversion(folder, to="diffusers").texts
    assert json.loads(texts["scheduler/scheduler_config.json"])["timestep_spacing"] == "trailing"
    assert conversion(folder, to="ldm").left == {"the scheduler's timestep_spacing trailing": 1}


def drawn_alike(folder: Path) -> None:
    diffusers = importlib.import_module("diffusers")
    peer = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    peer.scheduler = diffusers.EulerDiscreteScheduler.from_config(peer.scheduler.config, timestep_spacing="trailing")
    peer.scheduler.set_timesteps(2)
    started = math.hypot(1, peer.scheduler.sigmas[0]) / peer.scheduler.init_noise_sigma
    theirs = peer(
        "a red fox", height=64, width=64, num_inference_steps=2, guidance_scale=3.0,
        latents=noise.initial([7], (4, 8, 8)) * float(started),
    ).images[0]  # fmt: skip
    ours = sf.load(str(folder), device="cpu")(
        "a red fox", size=64, steps=2, guidance=3.0, seed=7, sampler="euler", schedule="trailing"
    ).image
    assert max(high for _, high in ImageChops.difference(ours, theirs).getextrema()) <= 1


def test_another_scaling_factor_draws_the_picture_of_diffusers_and_is_in_no_single_file(folder: Path) -> None:
    usual = stable(folder).sha256
    say(folder, "vae/config.json", scaling_factor=0.7)
    drawn_alike(folder)
    assert stable(folder).sha256 != usual
    texts = conversion(folder, to="diffusers").texts
    assert json.loads(texts["vae/config.json"])["scaling_factor"] == 0.7
    with pytest.raises(
        UnsupportedError, match=r"^[^\n]*vae scaling_factor 0.7\), which a single file cannot store[^\n]*$"
    ):
        conversion(folder, to="ldm")


def test_a_text_encoder_with_a_layer_less_draws_the_picture_of_diffusers(folder: Path) -> None:
    say(folder, "text_encoder/config.json", num_hidden_layers=1)
    weights = folder / "text_encoder" / "model.safetensors"
    save_file({name: one for name, one in load_file(weights).items() if ".layers.1." not in name}, weights)
    drawn_alike(folder)


def test_sizes_that_a_folder_states_win_over_the_published_ones(folder: Path) -> None:
    say(folder, "text_encoder/config.json", num_hidden_layers=11, hidden_size=768, intermediate_size=3072,
        num_attention_heads=12, vocab_size=49410)  # fmt: skip
    known = NETWORKS[Family.SD1]
    say(folder, "unet/config.json", cross_attention_dim=768)
    (folder / "vae" / "config.json").rename(folder / "vae" / "kept")
    found = stated(Checkpoint(folder), known)
    (folder / "vae" / "kept").rename(folder / "vae" / "config.json")
    assert (found.text.text.layers, found.text.text.vocab_size) == (11, 49410)
    assert found.kl == known.kl
    assert found.unet != known.unet


def test_a_mean_of_latents_is_taken_off_and_comes_back() -> None:
    own = Latents(0.5, (-1.0, 2.0, 0.5, 0.0), (8.0, 5.0, 6.0, 4.0))
    net = Kl(KlConfig(width=32, multipliers=(1, 1), resblocks=1)).eval().requires_grad_(False)
    codec, plain = KlCodec(net, own, xl=True), KlCodec(net, xl=True)
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = plain.encode(pixels) / XL_SCALE
    x0 = (latents - torch.tensor(own.mean)[:, None, None]) / torch.tensor(own.deviation)[:, None, None] * 0.5
    torch.testing.assert_close(codec.encode(pixels), x0)
    torch.testing.assert_close(codec.decode(x0), plain.decode(latents * XL_SCALE))
    torch.testing.assert_close(codec.preview(x0), plain.preview(latents * XL_SCALE))


@pytest.mark.parametrize("to_folder", [True, False])
def test_a_vocabulary_or_merges_of_its_own_are_not_converted(to_folder: bool, folder: Path) -> None:
    merges = folder / "tokenizer" / "merges.txt"
    head, first, second, *rest = merges.read_text(encoding="utf-8").split("\n")
    merges.write_text("\n".join([head, second, first, *rest]), encoding="utf-8")
    with pytest.raises(
        UnsupportedError, match=r"^[^\n]* has a vocabulary of its own, which cannot be converted[^\n]*$"
    ):
        conversion(folder, to="diffusers" if to_folder else "ldm")


def test_exact_steps_beyond_the_schedule_say_where_they_come_from(folder: Path) -> None:
    pipe = sf.load(str(folder), device="cpu")
    with pytest.raises(RequestError, match=r"^600 steps at strength 0.5 are the last of 1200: .* at most 999"):
        pipe.plan("x", size=64, image=torch_picture(), strength=0.5, steps=600, exact_steps=True)
    with pytest.raises(RequestError, match=r"^this schedule has levels for at most 999 steps, not 1000: try normal$"):
        pipe.plan("x", size=64, steps=1000)
    pipe.plan("x", size=64, steps=1000, schedule="normal")


def torch_picture() -> object:
    return importlib.import_module("PIL.Image").new("RGB", (64, 64))


def test_another_autoencoders_factor_is_read_where_it_states_one(folder: Path) -> None:
    say(folder, "vae/config.json", scaling_factor=0.9)
    for path in (folder, folder / "vae"):
        assert stable(folder, vae=str(path)).stages[0].codec.pictures.factor == 0.9
    say(folder, "vae/config.json", scaling_factor=None)
    assert stable(folder, vae=str(folder / "vae")).stages[0].codec.pictures.factor == 0.18215
    say(folder, "vae/config.json", norm_num_groups=16)
    with pytest.raises(UnsupportedError, match="vae norm_num_groups 16 is not supported"):
        stable(folder, vae=str(folder / "vae"))


def test_a_part_alone_is_not_converted_with_a_setting_that_is_lost(folder: Path) -> None:
    say(folder, "unet/config.json", freq_shift=1)
    with pytest.raises(UnsupportedError, match=r"unet freq_shift 1 is not supported \(0 is\)$"):
        conversion(folder / "unet", to="ldm")
    say(folder, "vae/config.json", scaling_factor=0.9)
    with pytest.raises(UnsupportedError, match=r"a single file cannot store vae scaling_factor 0.9$"):
        conversion(folder / "vae", to="ldm")
