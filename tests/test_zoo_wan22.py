"""Wan 2.2 from the files of diffusers and of the original: two experts, and the model with its own autoencoder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, WanImageToVideoPipeline, WanPipeline
from PIL import Image
from safetensors.torch import save_file
from tests import peer_networks
from tests.pipelines import randomised
from tests.test_prompt_umt5 import folder as tokenizer_folder  # noqa: F401 - a fixture
from torch import nn
from transformers import AutoTokenizer

import scorefield as sf
from scorefield.api import Pipeline
from scorefield.api.outlook import outlook
from scorefield.core import noise
from scorefield.errors import DamagedError, MissingError, RequestError
from scorefield.families.fill import hollow
from scorefield.families.wan import configs, separate_files
from scorefield.families.wan.specs import WAN22_5B, WAN22_I2V, WAN22_T2V, Networks, spec_of
from scorefield.latent.wan_latents import WAN_22
from scorefield.model.codec import Canvas
from scorefield.model.events import Loading, Step
from scorefield.nets.causal_vae import WAN_22_VAE, CausalVae, CausalVaeConfig
from scorefield.nets.experts import Experts
from scorefield.nets.umt5 import Umt5Config
from scorefield.nets.video_dit import WAN22_I2V_A14B, WAN22_TI2V_5B, WAN_T2V_14B, VideoDit, VideoDitConfig
from scorefield.request import parse
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.key_map import Entry, write
from scorefield.weights.key_maps import umt5_keys, wan_keys, wan_vae_keys

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnseenWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

DIT = VideoDitConfig(width=32, mlp_width=48, depth=2, heads=2, text_width=32, like="diffusers")
VAE = CausalVaeConfig(width=4, decoder_width=4, resblocks=1)
DIT_5B = replace(DIT, in_channels=48, out_channels=48)
VAE_5B = CausalVaeConfig(channels=48, width=8, decoder_width=8, resblocks=1, patch_size=2, shortcuts=True)
SIZE = {"frames": 9, "steps": 8, "seed": 5, "negative_prompt": "fog"}
ASKED = {"sampler": "dpmpp_2m", "schedule": "flow_unipc"}  # the sigmas of diffusers' DPM++
PROMPT = "a cat runs in the park"


class Made(NamedTuple):
    peer: Any
    pipe: Pipeline
    folder: Path


def made(
    tokenizer: Path, to: Path, dit: VideoDitConfig, vae: CausalVaeConfig, pipeline: Any = WanPipeline, **settings: Any
) -> Made:
    torch.manual_seed(0)
    words = AutoTokenizer.from_pretrained(tokenizer)
    text = Umt5Config(vocab_size=len(words), width=32, layers=2, heads=2, head_width=8, mlp_width=48)
    second = randomised(peer_networks.video_dit(dit)) if "boundary_ratio" in settings else None
    if second is not None:
        second.load_state_dict({name: one.flip(0) for name, one in second.state_dict().items()})
    coder = peer_networks.causal_vae(vae)
    if vae.patch_size > 1:
        statistics = [[0.1 * (k % 5 - 2) for k in range(48)], [1 + 0.1 * (k % 7) for k in range(48)]]
        sides = {"scale_factor_spatial": 8 * vae.patch_size}
        coder.register_to_config(latents_mean=statistics[0], latents_std=statistics[1], **sides)
    peer = pipeline(
        tokenizer=words,
        text_encoder=randomised(peer_networks.umt5(text)),
        transformer=randomised(peer_networks.video_dit(dit)),
        transformer_2=second,
        vae=randomised(coder),
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0, num_train_timesteps=1000
        ),
        **settings,
    )
    peer.save_pretrained(to)
    peer.set_progress_bar_config(disable=True)
    return Made(peer, sf.load(to, device="cpu"), to)


@pytest.fixture(scope="module")
def experts(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:  # noqa: F811
    return made(tokenizer_folder, tmp_path_factory.mktemp("experts"), DIT, VAE, boundary_ratio=0.875)


@pytest.fixture(scope="module")
def continued(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:  # noqa: F811
    dit = replace(DIT, in_channels=36)
    return made(tokenizer_folder, tmp_path_factory.mktemp("i2v"), dit, VAE, WanImageToVideoPipeline, boundary_ratio=0.9)


@pytest.fixture(scope="module")
def dense(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:  # noqa: F811
    return made(tokenizer_folder, tmp_path_factory.mktemp("5b"), DIT_5B, VAE_5B, expand_timesteps=True)


def theirs(model: Made, side: int, **options: Any) -> np.ndarray:
    """The frames (F, H, W, 3) of diffusers, from our noise."""
    shape = model.pipe.codec.shape(Canvas(side, side, SIZE["frames"]))
    latents = noise.initial([SIZE["seed"]], shape, torch.device("cpu"))
    frames = model.peer(
        prompt=PROMPT,
        negative_prompt=SIZE["negative_prompt"],
        height=side,
        width=side,
        num_frames=SIZE["frames"],
        num_inference_steps=SIZE["steps"],
        latents=latents,
        output_type="np",
        **options,
    ).frames
    return (frames[0] * 255).round().astype(int)


def ours(pipe: Pipeline, side: int = 32, **options: Any) -> np.ndarray:
    (film,) = pipe(PROMPT, **(SIZE | {"size": side} | options)).films
    return np.stack([np.asarray(frame) for frame in film.frames]).astype(int)


@pytest.mark.parametrize("second", [2.0, 1.0, None])
def test_a_film_of_two_experts_and_two_guidances_is_that_of_diffusers(second: float | None, experts: Made) -> None:
    """Without a second guidance both take the first; with 1, the second expert is not guided."""
    drawn = ours(experts.pipe, **ASKED, cfg_scale=5, **({} if second is None else {"guidance_scale_2": second}))
    assert np.abs(drawn - theirs(experts, 32, guidance_scale=5.0, guidance_scale_2=second)).max() <= 1
    assert drawn.std() > 10


def test_each_expert_draws_some_steps_and_another_boundary_another_film(experts: Made) -> None:
    (stage,) = experts.pipe.system.stages
    net, times = stage.denoiser.net, []
    hooks = [
        one.register_forward_pre_hook(lambda _, args, name=name: times.append((name, args[1].tolist())))
        for name, one in (("high", net.high), ("low", net.low))
    ]
    with_both = ours(experts.pipe, **ASKED)
    for hook in hooks:
        hook.remove()
    assert [name for name, _ in times] == ["high"] * 4 + ["low"] * 4  # guided: both prompts in one run
    assert all((time[0] >= 875) == (name == "high") for name, time in times)
    experts.peer.register_to_config(boundary_ratio=0.9)
    other = theirs(experts, 32, guidance_scale=4.0, guidance_scale_2=3.0)
    experts.peer.register_to_config(boundary_ratio=0.875)
    assert np.abs(with_both - other).max() > 1


def test_offloaded_one_expert_is_in_memory_at_a_time_and_each_is_read_once_a_walk(
    experts: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ours(experts.pipe)
    pipe = sf.load(experts.folder, device="cpu", offload=True)
    net, read = pipe.stage.denoiser.net, list[str]()
    for name in ("high", "low"):
        turns = getattr(net, name).on_demand
        real = turns._read
        monkeypatch.setattr(turns, "_read", lambda name=name, real=real: read.append(name) or real())
    assert np.array_equal(ours(pipe), plain)
    assert read == ["high", "low"]
    assert all(weight.is_meta for weight in net.parameters())
    assert pipe.system.sha256 == experts.pipe.system.sha256


def test_a_job_says_which_expert_it_will_read_before_the_step_that_does(experts: Made) -> None:
    pipe = sf.load(experts.folder, device="cpu", offload=True)
    net, told = pipe.stage.denoiser.net, list[str]()
    for event in pipe.job(PROMPT, size=32, **SIZE):
        if isinstance(event, Loading):
            told.append(str(event.part))
            name = told[-1].partition("-noise")[0]
            assert name not in ("high", "low") or getattr(net, name).on_demand.absent
        elif isinstance(event, Step):
            told.append(".")
    walk = told[told.index("high-noise transformer") :]
    high = walk.index("low-noise transformer") - 1  # steps
    assert walk == [
        "high-noise transformer",
        *["."] * high,
        "low-noise transformer",
        *["."] * (9 - high),
        "autoencoder",
    ]
    assert 0 < high < 8


def test_the_record_has_both_guidances_and_draws_the_film_again(experts: Made) -> None:
    (film,) = experts.pipe(PROMPT, size=32, **SIZE).films
    assert (film.request.cfg_scale, film.request.cfg_scale_2) == (4, 3)
    (again,) = experts.pipe(film.request).films
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(film.frames, again.frames, strict=True))


@pytest.mark.parametrize(
    ("asked", "scales"),
    [
        ({}, (4, 3)),
        ({"cfg_scale": 6}, (6, 6)),
        ({"cfg_scale_2": 6}, (4, 6)),
        ({"guidance_scale": 2, "guidance_scale_2": 0}, (2, 0)),
    ],
)
def test_one_guidance_alone_serves_both_experts(
    asked: dict[str, float], scales: tuple[float, float], experts: Made
) -> None:
    request = experts.pipe.plan(PROMPT, size=32, **SIZE, **asked).request
    assert (request.cfg_scale, request.cfg_scale_2) == scales


def test_models_of_one_network_take_no_second_guidance(dense: Made) -> None:
    with pytest.raises(RequestError, match=r"cfg_scale_2 is not an option of the model .*; it is for models of two"):
        dense.pipe.plan(PROMPT, size=32, **SIZE, guidance_scale_2=3)
    assert dense.pipe.plan(PROMPT, size=32, **SIZE).request.cfg_scale_2 is None


def test_a_film_of_the_model_with_its_own_autoencoder_is_that_of_diffusers(dense: Made) -> None:
    assert dense.pipe.codec.stride == (4, 16, 16)
    drawn = ours(dense.pipe, 64, **ASKED)
    assert drawn.shape == (9, 64, 64, 3)
    assert np.abs(drawn - theirs(dense, 64, guidance_scale=5.0)).max() <= 1
    assert drawn.std() > 10
    with pytest.raises(RequestError, match="width 48 is not a multiple of 32; use 32 or 64"):
        dense.pipe.plan(PROMPT, size="48x32", **SIZE)
    assert dense.pipe.plan(PROMPT, size=32, seed=1).canvas[2:] == (121, 24)


def picture(side: int) -> Image.Image:
    values = np.random.default_rng(side).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC)


def test_a_film_of_two_experts_from_a_picture_is_that_of_diffusers(continued: Made) -> None:
    """They see the picture's latents and no image encoder's states."""
    with pytest.raises(RequestError, match=r"needs a first frame \(--image\)"):
        continued.pipe.plan(PROMPT, size=32, **SIZE)
    drawn = ours(continued.pipe, **ASKED, image=picture(32), cfg_scale=5, cfg_scale_2=2)
    expected = theirs(continued, 32, image=picture(32), guidance_scale=5.0, guidance_scale_2=2.0)
    assert np.abs(drawn - expected).max() <= 1
    assert drawn.std() > 10


def test_the_model_with_its_own_autoencoder_begins_a_film_with_a_picture_as_in_diffusers(dense: Made) -> None:
    """The first latent is the picture's and of time 0, for the network as well."""
    peer = WanImageToVideoPipeline(
        **dense.peer.components, image_encoder=None, image_processor=None, expand_timesteps=True
    )
    peer.set_progress_bar_config(disable=True)
    drawn = ours(dense.pipe, 64, **ASKED, image=picture(64))
    expected = theirs(dense._replace(peer=peer), 64, image=picture(64), guidance_scale=5.0)
    assert np.abs(drawn - expected).max() <= 1
    assert np.abs(drawn - ours(dense.pipe, 64, **ASKED)).max() > 1


def original(model: Made, to: Path) -> Path:
    """The same weights in the folder of the original, which has a folder for each of two transformers."""
    (stage,) = model.pipe.system.stages
    net, coder, encoder = stage.denoiser.net, stage.codec.autoencoder, stage.conditioner.encoder
    two = isinstance(net, Experts)
    for name, one in {"high_noise_model": net.high, "low_noise_model": net.low}.items() if two else [("", net)]:
        (to / name).mkdir(exist_ok=True)
        save_file(written([*wan_keys.original(one.config)], one), to / name / "diffusion_pytorch_model.safetensors")
        task = "ti2v" if not two else "t2v" if one.config.in_channels == 16 else "i2v"
        sizes = {"model_type": task, "dim": 32, "ffn_dim": 48, "num_heads": 2, "num_layers": 2}
        channels = {"in_dim": one.config.in_channels, "out_dim": one.config.out_channels}
        (to / name / "config.json").write_text(json.dumps(sizes | channels | {"text_len": 512, "freq_dim": 256}))
    vae = "Wan2.1_VAE.pth" if two else "Wan2.2_VAE.pth"
    torch.save(written([*wan_vae_keys.original(coder.config)], coder), to / vae)
    torch.save(written([*umt5_keys.wan(encoder.config)], encoder), to / "models_t5_umt5-xxl-enc-bf16.pth")
    shutil.copytree(model.folder / "tokenizer", to / "google" / "umt5-xxl")
    return to


def written(entries: list[Entry], net: nn.Module) -> dict[str, torch.Tensor]:
    return {key: one.contiguous().clone() for key, one in write(entries, net.state_dict()).items()}


@pytest.mark.parametrize("kind", ["experts", "continued", "dense"])
def test_the_original_folder_holds_the_same_model(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    model: Made = request.getfixturevalue(kind)
    folder, real, sizes = original(model, tmp_path), configs.original, configs.of_folder(Checkpoint(model.folder))
    published = real(folder)
    assert (published.boundary, published.vae.shortcuts) == (sizes.boundary, sizes.vae.shortcuts)

    def small(path: Path) -> Networks:
        """Its configuration says the sizes of the transformers alone."""
        return replace(real(path), transformer=replace(real(path).transformer, text_width=32, like="diffusers"))

    monkeypatch.setattr(configs, "original", small)
    monkeypatch.setitem(separate_files.LATENTS, sizes.vae.channels, sizes.latents)
    pipe = sf.load(folder, device="cpu")
    assert pipe.system.sha256 == model.pipe.system.sha256
    given = {"steps": 3, "shift": 5.0} | ({"image": picture(64)} if kind == "continued" else {})
    assert np.array_equal(ours(pipe, 64, **given), ours(model.pipe, 64, **given))


def test_half_a_model_is_one_clear_line(experts: Made, tmp_path: Path) -> None:
    folder = original(experts, tmp_path)
    (folder / "low_noise_model" / "config.json").write_text('{"model_type": "t2v"}')
    with pytest.raises(DamagedError, match="num_layers None is not valid for a Wan"):
        sf.load(folder, device="cpu")
    config = json.loads((folder / "high_noise_model" / "config.json").read_text())
    (folder / "low_noise_model" / "config.json").write_text(json.dumps(config | {"num_heads": 1}))
    with pytest.raises(DamagedError, match="the two transformers of a Wan are of one size"):
        sf.load(folder, device="cpu")
    shutil.rmtree(folder / "low_noise_model")
    with pytest.raises(MissingError, match="low_noise_model"):
        sf.load(folder, device="cpu")


@pytest.mark.parametrize("ratio", [None, "0.875", 1.5, True])
def test_a_folder_of_two_experts_needs_its_boundary(ratio: object, experts: Made, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(experts.folder, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"boundary_ratio": ratio}))
    with pytest.raises(DamagedError, match=f"needs a boundary_ratio between 0 and 1, not {ratio}"):
        sf.load(folder, device="cpu")


PUBLISHED = {
    WAN22_T2V.name: (Networks(transformer=WAN_T2V_14B, boundary=875.0), WAN22_T2V),
    WAN22_I2V.name: (Networks(transformer=WAN22_I2V_A14B, boundary=900.0), WAN22_I2V),
    WAN22_5B.name: (Networks(transformer=WAN22_TI2V_5B, vae=WAN_22_VAE, latents=WAN_22), WAN22_5B),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_those_that_diffusers_builds(name: str) -> None:
    """Every key and shape, without memory."""
    networks, spec = PUBLISHED[name]
    with hollow():
        ours = VideoDit(networks.transformer), CausalVae(networks.vae)
    with torch.device("meta"):
        theirs = peer_networks.video_dit(networks.transformer), peer_networks.causal_vae(networks.vae)
    listed = [*wan_keys.diffusers(networks.transformer)], [*wan_vae_keys.diffusers(networks.vae)]
    for entries, one, other in zip(listed, ours, theirs, strict=True):
        shapes = {key: tensor.shape for key, tensor in write(entries, one.state_dict()).items()}
        assert shapes == {key: tensor.shape for key, tensor in other.state_dict().items()}
    assert spec_of(networks, "Wan2.2") == spec


def test_the_published_kinds_have_the_settings_of_wans_code() -> None:
    """wan/configs of Wan 2.2: steps, the guidance of high and of low noise, shift, frames and frames a second."""
    settings = {
        spec.name: (one.steps, one.cfg_scale, one.cfg_scale_2, one.shift, one.frames, one.fps)
        for spec in (WAN22_T2V, WAN22_I2V, WAN22_5B)
        for one in [spec.defaults]
    }
    assert settings == {
        "wan-2.2-t2v-a14b": (40, 4.0, 3.0, 12.0, 81, 16.0),
        "wan-2.2-i2v-a14b": (40, 3.5, 3.5, 5.0, 81, 16.0),
        "wan-2.2-ti2v-5b": (50, 5.0, None, 5.0, 121, 24.0),
    }


def test_memory_is_told_before_a_model_of_two_experts_is_loaded(experts: Made) -> None:
    asked = {"model": str(experts.folder), "prompt": PROMPT, "device": "cpu", "size": 32, "frames": 9, "steps": 2}
    found = [outlook(parse(asked | {"offload": offload})).forecast for offload in (False, True)]
    sizes = {part.name: part.bytes for part in found[0].parts}
    net = experts.pipe.stage.denoiser.net
    assert sizes["denoiser"] == sum(one.numel() * one.element_size() for one in net.parameters())
    assert 2 * {part.name: part.bytes for part in found[1].parts}["denoiser"] == sizes["denoiser"]
    assert all(part.peak_bytes > part.bytes for one in found for part in one.parts)
