"""Wan 2.1 from the files of diffusers and of the original: the films of diffusers' pipeline, from the same noise."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler, WanPipeline
from tests import peer_networks
from tests.pipelines import randomised
from tests.test_prompt_umt5 import folder as tokenizer_folder  # noqa: F401 - a fixture
from transformers import AutoTokenizer

import scorefield as sf
from scorefield.api import Film, Pipeline
from scorefield.api.replay import read_record, replay_job, replayed
from scorefield.core import noise
from scorefield.errors import DamagedError, MissingError, RequestError, UnsupportedError
from scorefield.families.wan import configs
from scorefield.families.wan.specs import NEGATIVE_PROMPT
from scorefield.nets.causal_vae import CausalVaeConfig
from scorefield.nets.umt5 import Umt5Config
from scorefield.nets.video_dit import VideoDitConfig
from scorefield.request import parse
from scorefield.weights.key_map import Entry, write
from scorefield.weights.key_maps import umt5_keys, wan_keys, wan_vae_keys

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnseenWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

DIT = VideoDitConfig(width=32, mlp_width=48, depth=2, heads=2, text_width=32, like="diffusers")
VAE = CausalVaeConfig(width=4, decoder_width=4, resblocks=1)
SIZE = {"size": 32, "frames": 9, "steps": 8, "seed": 5}
PROMPT = "a cat runs in the park"


SCHEDULER = {
    "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 5.0, "num_train_timesteps": 1000,
}  # fmt: skip
PEERS = {"unipc": UniPCMultistepScheduler, "dpmpp_2m": DPMSolverMultistepScheduler}


class Made(NamedTuple):
    peer: Any
    pipe: Pipeline
    folder: Path


@pytest.fixture(scope="module")
def made(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:  # noqa: F811
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    text = Umt5Config(vocab_size=len(tokenizer), width=32, layers=2, heads=2, head_width=8, mlp_width=48)
    peer = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=randomised(peer_networks.umt5(text)),
        transformer=randomised(peer_networks.video_dit(DIT)),
        vae=randomised(peer_networks.causal_vae(VAE)),
        scheduler=UniPCMultistepScheduler(**SCHEDULER),
    )
    folder = tmp_path_factory.mktemp("wan") / "folder"
    peer.save_pretrained(folder)
    peer.set_progress_bar_config(disable=True)
    return Made(peer, sf.load(folder, device="cpu"), folder)


def theirs(made: Made, sampler: str, steps: int, **options: Any) -> np.ndarray:
    """The frames (F, H, W, 3) of diffusers, from our noise."""
    made.peer.scheduler = PEERS[sampler](**SCHEDULER)
    shape = made.pipe.codec.shape(made.pipe.plan(PROMPT, **SIZE).canvas)
    latents = noise.initial([SIZE["seed"]], shape, torch.device("cpu"))
    frames = made.peer(
        PROMPT,
        height=32,
        width=32,
        num_frames=9,
        num_inference_steps=steps,
        latents=latents,
        output_type="np",
        **options,
    ).frames
    return (frames[0] * 255).round().astype(int)


def ours(pipe: Pipeline, **options: Any) -> np.ndarray:
    (film,) = pipe(PROMPT, **(SIZE | options)).films
    return np.stack([np.asarray(frame) for frame in film.frames]).astype(int)


@pytest.mark.parametrize("steps", [2, 3, 4, 5, 8, 20])
@pytest.mark.parametrize("sampler", PEERS)
def test_a_film_of_few_steps_or_many_is_that_of_diffusers(sampler: str, steps: int, made: Made) -> None:
    drawn = ours(made.pipe, sampler=sampler, steps=steps, negative_prompt="fog")
    assert np.abs(drawn - theirs(made, sampler, steps, negative_prompt="fog", guidance_scale=6.0)).max() <= 1
    assert drawn.std() > 10


def test_a_film_without_a_negative_prompt_is_that_of_diffusers(made: Made) -> None:
    drawn = ours(made.pipe, negative_prompt="")
    assert np.abs(drawn - theirs(made, "unipc", SIZE["steps"], guidance_scale=6.0)).max() <= 1


def test_the_default_negative_prompt_is_wans_and_an_empty_one_is_empty(made: Made) -> None:
    assert made.pipe.plan(PROMPT, **SIZE).request.negative_prompt == NEGATIVE_PROMPT
    assert made.pipe.plan(PROMPT, negative_prompt="", **SIZE).request.negative_prompt == ""


def test_a_record_has_all_that_was_decided_and_draws_the_film_again(made: Made) -> None:
    (film,) = made.pipe(PROMPT, **SIZE).films
    request = film.request
    assert (request.sampler, request.schedule, request.shift, request.frames, request.fps) == (
        "unipc", "flow_unipc_diffusers", 5.0, 9, 16.0,
    )  # fmt: skip
    (again,) = made.pipe(request).films
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(film.frames, again.frames, strict=True))


def test_like_says_whose_numbers_and_levels_a_film_has_and_the_record_keeps_it(made: Made) -> None:
    """Words stay the original's, and the shift that the folder states stays, too."""
    pipe = sf.load(made.folder, device="cpu", like="original")
    assert pipe.system.sha256 == made.pipe.system.sha256
    films = {}
    for one, like, schedules in (
        (made.pipe, "diffusers", ("flow_unipc_diffusers", "flow_unipc")),
        (pipe, "original", ("flow_unipc", "trailing")),
    ):
        assert one.stage.denoiser.net.config.like == like
        (film,) = one(PROMPT, **SIZE).films
        asked = film.request
        assert (asked.like, asked.schedule, asked.shift, asked.negative_prompt) == (
            like, schedules[0], 5.0, NEGATIVE_PROMPT,
        )  # fmt: skip
        assert one.plan(PROMPT, sampler="dpmpp_2m", **SIZE).request.schedule == schedules[1]
        record = read_record(json.loads(json.dumps(film.record())))
        again = replayed(record, replay_job(record))
        assert isinstance(again, Film)
        assert again.frames_sha256 == film.frames_sha256
        films[like] = film.frames_sha256
    assert films["original"] != films["diffusers"]
    with pytest.raises(RequestError, match="was not loaded with the like diffusers; pass it to load"):
        pipe.plan(parse({"model": str(made.folder), "prompts": PROMPT, "like": "diffusers"}))


def test_like_is_for_wan_alone(made: Made) -> None:
    with pytest.raises(RequestError, match="like is not an option of the model scenes; it is for Wan"):
        sf.load("scenes", device="cpu", like="original")
    with pytest.raises(RequestError, match="like must be original or diffusers, not 'comfy'"):
        sf.load(made.folder, device="cpu", like="comfy")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"frames": 10}, "frames 10 is not 4k + 1; use 9 or 13"),
        ({"size": "40x32"}, "width 40 is not a multiple of 16; use 32 or 48"),
        ({"weighting": "a1111"}, "weighting is not an option of the model"),
        ({"image": "a.png"}, "image is not an option of the model"),
    ],
)
def test_what_a_wan_cannot_draw_is_one_line(options: dict[str, Any], line: str, made: Made) -> None:
    with pytest.raises(sf.ScorefieldError, match=line.replace("+", r"\+")):
        made.pipe.plan(PROMPT, **(SIZE | options))


def original(made: Made, to: Path) -> Path:
    """The same weights in the folder of the original, whose .pth files are pickles."""
    from safetensors.torch import save_file

    (stage,) = made.pipe.system.stages
    maps: dict[str, tuple[list[Entry], torch.nn.Module]] = {
        "diffusion_pytorch_model.safetensors": ([*wan_keys.original(DIT)], stage.denoiser.net),
        "Wan2.1_VAE.pth": ([*wan_vae_keys.original(VAE)], stage.codec.autoencoder),
        "models_t5_umt5-xxl-enc-bf16.pth": (
            [*umt5_keys.wan(stage.conditioner.encoder.config)], stage.conditioner.encoder,
        ),
    }  # fmt: skip
    for name, (entries, net) in maps.items():
        tensors = {key: one.contiguous().clone() for key, one in write(entries, net.state_dict()).items()}
        if name.endswith(".pth"):
            torch.save(tensors, to / name)
        else:
            save_file(tensors, to / name)
    shutil.copytree(made.folder / "tokenizer", to / "google" / "umt5-xxl")
    config = {"_class_name": "WanModel", "model_type": "t2v", "dim": 32, "ffn_dim": 48, "num_heads": 2, "num_layers": 2,
              "in_dim": 16, "out_dim": 16, "text_len": 512, "freq_dim": 256}  # fmt: skip
    (to / "config.json").write_text(json.dumps(config))
    return to


def test_the_original_folder_holds_the_same_model(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = original(made, tmp_path)
    (stage,) = made.pipe.system.stages
    sizes = {"vae": VAE, "text": stage.conditioner.encoder.config}
    real = configs.original

    def small(path: Path) -> Any:
        from dataclasses import replace

        found = real(path)
        return replace(found, transformer=replace(found.transformer, text_width=32), **sizes)

    monkeypatch.setattr(configs, "original", small)
    assert sf.load(folder, device="cpu").system.choice.like == "original"
    pipe = sf.load(folder, device="cpu", like="diffusers")
    assert pipe.system.sha256 == made.pipe.system.sha256
    assert np.array_equal(ours(pipe, steps=2, shift=5.0), ours(made.pipe, steps=2))
    (folder / "Wan2.1_VAE.pth").rename(folder / "vae.pth")
    with pytest.raises(sf.ScorefieldError):
        sf.load(folder, device="cpu")


def test_other_wans_and_odd_settings_are_refused_by_name(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(made.folder, folder)
    index = json.loads((folder / "model_index.json").read_text())
    for name, line in (
        ("WanVACEPipeline", "is a WanVACEPipeline that cannot be drawn with yet"),
        ("WanImageToVideoPipeline", "is a WanImageToVideoPipeline with the transformer of a WanPipeline"),
    ):
        (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": name}))
        with pytest.raises(UnsupportedError, match=line):
            sf.load(folder, device="cpu")
    (folder / "model_index.json").write_text(json.dumps(index))
    config = json.loads((folder / "transformer" / "config.json").read_text())
    (folder / "transformer" / "config.json").write_text(json.dumps(config | {"qk_norm": "layer_norm"}))
    with pytest.raises(UnsupportedError, match="qk_norm layer_norm is not supported"):
        sf.load(folder, device="cpu")
    (folder / "transformer" / "config.json").write_text(json.dumps(config | {"num_layers": 10**9}))
    with pytest.raises(DamagedError, match="num_layers 1000000000 is not valid for a Wan"):
        sf.load(folder, device="cpu")
    (folder / "transformer" / "config.json").write_text(json.dumps(config | {"num_layers": 3}))
    with pytest.raises(DamagedError, match="video transformer"):
        sf.load(folder, device="cpu")
    with pytest.raises(RequestError, match="prediction is not an option of Wan"):
        sf.load(made.folder, device="cpu", prediction="v")
    shutil.rmtree(made.folder.parent / "none", ignore_errors=True)
    with pytest.raises(MissingError):
        sf.load(tmp_path / "none", device="cpu")
