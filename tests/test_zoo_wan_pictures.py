"""Wan 2.1 from pictures and words: the films of diffusers' pipeline, from the same noise and the same pictures."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, WanImageToVideoPipeline
from PIL import Image
from tests import networks, peer_networks
from tests.pipelines import randomised
from tests.test_prompt_umt5 import folder as tokenizer_folder  # noqa: F401 - a fixture
from torch import nn
from transformers import AutoTokenizer, CLIPImageProcessorPil

import scorefield as sf
from scorefield.api import Pipeline
from scorefield.cli.main import run
from scorefield.core import noise
from scorefield.errors import DamagedError, MissingError, RequestError, UnsupportedError
from scorefield.families.wan import configs, separate_files
from scorefield.families.wan.specs import FLF2V_14B, I2V_14B, I2V_14B_720P, NEGATIVE_PROMPT, Networks, spec_of
from scorefield.nets.causal_vae import CausalVaeConfig
from scorefield.nets.clip import ClipConfig, VisionConfig
from scorefield.nets.umt5 import Umt5Config
from scorefield.nets.video_dit import WAN_FLF2V_14B, WAN_I2V_14B, VideoDitConfig
from scorefield.prompt.film_pictures import FilmPicturesConditioner
from scorefield.request import parse
from scorefield.stages import input_images
from scorefield.stages.given_frames import StartFrames
from scorefield.weights.key_map import Entry, write
from scorefield.weights.key_maps import clip_keys, umt5_keys, wan_keys, wan_vae_keys

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnseenWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

EYE = ClipConfig(vision=VisionConfig(width=24, layers=3, heads=2, patch_size=7, image_size=28))
STATES = 1 + (28 // 7) ** 2
DIT = VideoDitConfig(
    width=32, mlp_width=48, depth=2, heads=2, text_width=32, in_channels=36, image_width=24, like="diffusers"
)  # fmt: skip
VAE = CausalVaeConfig(width=4, decoder_width=4, resblocks=1)
KINDS = {"i2v": DIT, "flf2v": replace(DIT, image_positions=2 * STATES)}
SIZE = {"width": 48, "height": 32, "frames": 9, "steps": 8, "seed": 5}
PROMPT = "a cat runs in the park"


def picture(number: int, width: int = 60, height: int = 41) -> Image.Image:
    """A picture with soft and hard edges, in colours."""
    y, x = np.mgrid[:height, :width]
    channels = [127 + 120 * np.sin(0.11 * (k + number + 1) * x + 0.2 * number * y) for k in range(3)]
    pixels = np.stack(channels, -1)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (250, 20 * number, 40)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


class Made(NamedTuple):
    kind: str
    peer: Any
    pipe: Pipeline
    folder: Path

    @property
    def pictures(self) -> dict[str, Image.Image]:
        """What a film of this kind is given."""
        last = {"last_image": picture(2)} if self.kind == "flf2v" else {}
        return {"image": picture(1), **last}

    @property
    def conditioner(self) -> FilmPicturesConditioner:
        conditioner = self.pipe.stage.conditioner
        assert isinstance(conditioner, FilmPicturesConditioner)
        return conditioner


@pytest.fixture(scope="module", params=KINDS)
def made(
    request: pytest.FixtureRequest,
    tokenizer_folder: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    text = Umt5Config(vocab_size=len(tokenizer), width=32, layers=2, heads=2, head_width=8, mlp_width=48)
    transformer = randomised(peer_networks.video_dit(KINDS[request.param]))
    for block in transformer.blocks:
        block.attn2.to_out[0].weight *= 4  # so that the film shows what the pictures and words are
    peer = WanImageToVideoPipeline(
        tokenizer=tokenizer,
        text_encoder=randomised(peer_networks.umt5(text)),
        image_encoder=randomised(peer_networks.vision(EYE)),
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=28),
        transformer=transformer,
        vae=randomised(peer_networks.causal_vae(VAE)),
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, num_train_timesteps=1000
        ),
    )
    folder = tmp_path_factory.mktemp("wan") / "folder"
    peer.save_pretrained(folder)
    peer.set_progress_bar_config(disable=True)
    return Made(request.param, peer, sf.load(folder, device="cpu"), folder)


def theirs(made: Made, **options: Any) -> np.ndarray:
    """The frames (F, H, W, 3) of diffusers, from our noise."""
    shape = made.pipe.codec.shape(made.pipe.plan(PROMPT, **made.pictures, **SIZE).canvas)
    latents = noise.initial([SIZE["seed"]], shape, torch.device("cpu"))
    asked: dict[str, Any] = {"width": 48, "height": 32, "num_frames": 9, "num_inference_steps": 8}
    frames = made.peer(prompt=PROMPT, latents=latents, output_type="np", **asked | made.pictures | options).frames
    return (frames[0] * 255).round().astype(int)


def ours(pipe: Pipeline, **options: Any) -> np.ndarray:
    (film,) = pipe(PROMPT, **(SIZE | options)).films
    return np.stack([np.asarray(frame) for frame in film.frames]).astype(int)


@pytest.mark.parametrize("negative", ["fog", ""])
def test_a_film_is_that_of_diffusers(negative: str, made: Made) -> None:
    """diffusers' DPM++ has the sigmas of Wan's own UniPC, so one table serves both."""
    drawn = ours(made.pipe, sampler="dpmpp_2m", schedule="flow_unipc", negative_prompt=negative, **made.pictures)
    assert np.abs(drawn - theirs(made, negative_prompt=negative, guidance_scale=5.0)).max() <= 1
    assert drawn.std() > 10


def test_an_offloaded_film_is_the_same_to_the_bit(made: Made) -> None:
    offloaded = sf.load(made.folder, device="cpu", offload=True)
    drawn = [ours(pipe, steps=2, **made.pictures) for pipe in (made.pipe, offloaded)]
    assert np.array_equal(*drawn)
    assert offloaded.system.sha256 == made.pipe.system.sha256
    assert all(weight.is_meta for weight in offloaded.stage.conditioner.image_encoder.parameters())


def test_a_film_depends_on_each_picture_and_on_the_words(made: Made) -> None:
    drawn = ours(made.pipe, steps=2, **made.pictures)
    for changed in made.pictures:
        assert np.abs(ours(made.pipe, steps=2, **made.pictures | {changed: picture(3)}) - drawn).max() > 1
    (film,) = made.pipe("a dog", **(SIZE | {"steps": 2} | made.pictures)).films
    assert np.abs(np.stack([np.asarray(frame) for frame in film.frames]) - drawn).max() > 1


def test_what_the_network_sees_of_the_pictures_is_what_it_sees_in_diffusers(made: Made) -> None:
    """To rounding, where one part in 255 of a film could hide an error."""
    seen: list[dict[str, torch.Tensor]] = []
    transformer = made.peer.transformer
    hook = transformer.register_forward_pre_hook(lambda _, __, given: seen.append(given), with_kwargs=True)
    theirs(made, num_inference_steps=1)
    hook.remove()
    plan = made.pipe.plan(PROMPT, **made.pictures, **SIZE)
    stage, planned = made.pipe.stage, plan.stages[0]
    assert isinstance(planned.start, StartFrames)
    start = planned.start.encoded(stage.codec, plan.canvas, torch.device("cpu"))
    joined = seen[0]["hidden_states"][:, 16:]
    assert start.image is not None
    assert torch.equal(start.image[:, :4], joined[:, :4])
    assert networks.relative_error(start.image[:, 4:], joined[:, 4:], least=0.1) <= 1e-5
    encoder, shown = made.conditioner.image_encoder, planned.pictures
    states = encoder.states(encoder.normalised(shown), 2)
    wanted = seen[0]["encoder_hidden_states_image"]
    assert networks.relative_error(states, wanted, least=0.1) <= 1e-5


def test_a_record_keeps_the_pictures_hashes_and_draws_the_film_again(made: Made, tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.png" for name in made.pictures}
    for name, path in paths.items():
        made.pictures[name].save(path)
    (film,) = made.pipe(PROMPT, steps=2, frames=5, seed=1, size="48x32", **paths).films
    record = film.record()["request"]
    assert isinstance(record, Mapping)
    assert all(len(record[name]["sha256"]) == 64 for name in paths)
    request = parse(record)  # without the pictures' bytes
    (again,) = made.pipe(request).films
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(film.frames, again.frames, strict=True))
    picture(4).save(paths["image"])
    with pytest.raises(RequestError, match="has changed since it was recorded"):
        made.pipe(request)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"image": None}, r"needs a first frame \(--image\)"),
        ({"strength": 0.5}, "strength is not an option of the model"),
        ({"mask": picture(1)}, "mask is not an option of the model"),
        ({"image_prompt": picture(1)}, "image_prompt is not an option of the model"),
        ({"frames": 10}, r"frames 10 is not 4k \+ 1; use 9 or 13"),
    ],
)
def test_what_such_a_wan_cannot_draw_is_one_line(options: dict[str, Any], line: str, made: Made) -> None:
    with pytest.raises(RequestError, match=line):
        made.pipe.plan(PROMPT, **(SIZE | made.pictures | options))


def test_a_last_picture_is_for_models_that_end_with_one_and_they_need_it(made: Made) -> None:
    if made.kind == "i2v":
        with pytest.raises(RequestError, match=r"last_image is not an option of the model .*; a last frame needs"):
            made.pipe.plan(PROMPT, image=picture(1), last_image=picture(2), **SIZE)
    else:
        with pytest.raises(RequestError, match=r"needs a last frame \(--last-image\)"):
            made.pipe.plan(PROMPT, image=picture(1), **SIZE)
        with pytest.raises(RequestError, match="needs more than 1 frame"):
            made.pipe.plan(PROMPT, **(SIZE | made.pictures | {"frames": 1}))


@pytest.mark.parametrize(
    ("sides", "options", "expected"),
    [
        ((832, 480), {}, (832, 480)),
        ((480, 832), {}, (480, 832)),
        ((1000, 1000), {}, (624, 624)),
        ((1600, 900), {}, (832, 464)),
        ((1600, 900), {"width": 1280}, (1280, 720)),
        ((1600, 900), {"size": "480x832"}, (480, 832)),
    ],
)  # fmt: skip
def test_the_picture_decides_the_proportions_and_the_model_the_area(
    sides: tuple[int, int], options: dict[str, Any], expected: tuple[int, int]
) -> None:
    asked = parse({"prompt": PROMPT, "image": picture(1, *sides), **options})
    opened = input_images.open_image(asked.image, "image")
    assert input_images.sides(asked, opened, (832, 480), 16, keeps_area=True) == expected


def test_a_picture_without_a_size_of_a_film_says_so(made: Made) -> None:
    with pytest.raises(RequestError, match="an aspect ratio that no film can have; give a size"):
        made.pipe.plan(PROMPT, **{**made.pictures, "image": picture(1, 4000, 2)}, frames=5)


def test_a_picture_of_other_proportions_is_cropped_or_stretched(made: Made) -> None:
    """By `fit`; a step of the grid or less is stretched, as in Wan's own code."""
    wide = Image.new("RGB", (300, 50), "red")
    wide.paste("blue", (125, 0, 175, 50))
    starts = {}
    for fit in ("crop", "stretch"):
        plan = made.pipe.plan(PROMPT, **SIZE | {"height": 48} | made.pictures | {"image": wide}, fit=fit)
        starts[fit] = plan.stages[0].start.first  # type: ignore[attr-defined]
    assert (starts["crop"][0, 0] < -0.9).all()  # blue alone
    assert (starts["stretch"][0, 0, :, :16] > 0.9).all()
    plan = made.pipe.plan(PROMPT, **SIZE | made.pictures)
    near = plan.stages[0].start.first  # type: ignore[attr-defined]
    wanted = np.asarray(picture(1).resize((48, 32), Image.Resampling.LANCZOS))
    assert np.array_equal(((near[0] + 1) * 127.5).round().movedim(0, -1).numpy(), wanted)


def original(made: Made, to: Path) -> Path:
    """The same weights in the folder of the original, whose .pth files are pickles."""
    from safetensors.torch import save_file

    stage, transformer, conditioner = made.pipe.stage, KINDS[made.kind], made.conditioner
    maps: dict[str, tuple[list[Entry], nn.Module]] = {
        "diffusion_pytorch_model.safetensors": ([*wan_keys.original(transformer)], stage.denoiser.net),
        "Wan2.1_VAE.pth": ([*wan_vae_keys.original(VAE)], stage.codec.autoencoder),  # type: ignore[attr-defined]
        "models_t5_umt5-xxl-enc-bf16.pth": ([*umt5_keys.wan(conditioner.encoder.config)], conditioner.encoder),
        "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth": (
            [*clip_keys.wan_vision(EYE.vision)], conditioner.image_encoder,
        ),
    }  # fmt: skip
    for name, (entries, net) in maps.items():
        tensors = {key: one.contiguous().clone() for key, one in write(entries, net.state_dict()).items()}
        if "clip" in name:  # which holds more than films need
            tensors |= {"log_scale": torch.ones(()), "visual.head": torch.ones(24, 8)}
            tensors |= {"textual.token_embedding.weight": torch.ones(7, 3)}
        if name.endswith(".pth"):
            torch.save(tensors, to / name)
        else:
            save_file(tensors, to / name)
    shutil.copytree(made.folder / "tokenizer", to / "google" / "umt5-xxl")
    config = {"_class_name": "WanModel", "model_type": made.kind, "dim": 32, "ffn_dim": 48, "num_heads": 2,
              "num_layers": 2, "in_dim": 36, "out_dim": 16, "text_len": 512, "freq_dim": 256}  # fmt: skip
    (to / "config.json").write_text(json.dumps(config))
    return to


def small(made: Made, monkeypatch: pytest.MonkeyPatch, like: str) -> None:
    """The original's configurations with the sizes that its config.json does not state."""
    real = configs.original

    def read(path: Path) -> Networks:
        found, kind = real(path), KINDS[made.kind]
        transformer = replace(
            found.transformer, text_width=32, image_width=24, image_positions=kind.image_positions, like=like
        )  # type: ignore[arg-type]
        text = made.conditioner.encoder.config
        return replace(found, transformer=transformer, vae=VAE, text=text, image_clip=replace(EYE, embed_dim=9))

    monkeypatch.setattr(configs, "original", read)


def test_the_original_folder_holds_the_same_model(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = original(made, tmp_path)
    small(made, monkeypatch, "diffusers")
    pipe = sf.load(folder, device="cpu")
    assert pipe.system.sha256 == made.pipe.system.sha256
    options = {"steps": 2, "shift": 3.0, "negative_prompt": ""} | made.pictures
    assert np.array_equal(ours(pipe, **options), ours(made.pipe, **options))
    (folder / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth").unlink()
    with pytest.raises(MissingError, match="lacks models_clip_open-clip"):
        sf.load(folder, device="cpu")


def test_the_original_sees_pictures_squeezed_and_resized_without_a_filter(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = original(made, tmp_path)
    small(made, monkeypatch, "original")
    (planned,) = sf.load(folder, device="cpu").plan(PROMPT, **SIZE | made.pictures).stages
    pixels = torch.from_numpy(np.array(picture(1))).permute(2, 0, 1)[None].float() / 255  # torchvision's to_tensor
    shown = nn.functional.interpolate(pixels.sub(0.5).div(0.5), (28, 28), mode="bicubic") * 0.5 + 0.5
    first = nn.functional.interpolate(pixels.sub(0.5).div(0.5), (32, 48), mode="bicubic")
    assert torch.allclose(planned.pictures[:1], shown, atol=1e-6)  # type: ignore[attr-defined]
    assert torch.allclose(planned.start.first, first, atol=1e-6)  # type: ignore[attr-defined]


def test_odd_folders_are_refused_by_name(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(made.folder, folder)

    def changed(name: str, **settings: object) -> None:
        text = (made.folder / name).read_text()
        (folder / name).write_text(json.dumps(json.loads(text) | settings))

    for name, settings, error, line in (
        ("transformer/config.json", {"in_channels": 32}, DamagedError, "in_channels 32 is not valid for a Wan"),
        ("transformer/config.json", {"image_dim": 16}, DamagedError, "image_dim 16 is not valid for a Wan"),
        ("transformer/config.json", {"pos_embed_seq_len": 5}, DamagedError, "pos_embed_seq_len 5 is not valid"),
        ("image_encoder/config.json", {"hidden_act": "relu"}, DamagedError, "hidden_act relu is not valid for a Wan"),
        ("image_encoder/config.json", {"num_hidden_layers": 4}, DamagedError, "the image encoder"),
        ("image_processor/preprocessor_config.json", {"do_center_crop": False}, UnsupportedError, "do_center_crop"),
        ("image_processor/preprocessor_config.json", {"crop_size": 20}, DamagedError, "crop_size 20 is not valid"),
        ("model_index.json", {"_class_name": "WanPipeline"}, UnsupportedError, "with the transformer of a WanImage"),
    ):
        changed(name, **settings)
        with pytest.raises(error, match=line):
            sf.load(folder, device="cpu")
        changed(name)
    shutil.rmtree(folder / "image_encoder")
    with pytest.raises(MissingError, match="image_encoder"):
        sf.load(folder, device="cpu")


def test_an_image_encoder_of_any_class_of_transformers_loads(made: Made, tmp_path: Path) -> None:
    """CLIPVisionModel writes no prefix in transformers 5, and wrote one before; some folders hold a projection."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "folder"
    shutil.copytree(made.folder, folder)
    file = folder / "image_encoder" / "model.safetensors"
    held = {f"vision_model.{name.removeprefix('vision_model.')}": tensor for name, tensor in load_file(file).items()}
    held |= {"visual_projection.weight": torch.ones(9, 24), "vision_model.embeddings.position_ids": torch.ones(1, 17)}
    save_file(held, file)
    assert sf.load(folder, device="cpu").system.sha256 == made.pipe.system.sha256


def test_the_command_line_draws_a_film_from_its_pictures_and_draws_it_again(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = []
    for name, image in made.pictures.items():
        image.save(tmp_path / f"{name}.png")
        given += [f"--{name.replace('_', '-')}", str(tmp_path / f"{name}.png")]
    film = tmp_path / "film.mp4"
    options = ["--model", str(made.folder), "--frames", "5", "--steps", "2", "--size", "48x32", "--seed", "1"]
    assert run(["generate", PROMPT, *options, *given, "--output", str(film), "--device", "cpu"]) == 0
    assert film.exists()
    moved = tmp_path / "moved"
    moved.mkdir()
    places = []
    for name in made.pictures:
        (tmp_path / f"{name}.png").rename(moved / f"{name}.png")
        places += [f"--{name.replace('_', '-')}", str(moved / f"{name}.png")]
    assert run(["replay", str(film), *places]) == 0
    capsys.readouterr()
    assert run(["generate", PROMPT, *options, "--output", str(film), "--device", "cpu"]) == 2
    assert "needs a first frame (--image)" in capsys.readouterr().err


def test_the_published_kinds_have_the_settings_of_wans_code() -> None:
    """generate.py and wan/configs of the original."""
    i2v, flf = Networks(transformer=WAN_I2V_14B), Networks(transformer=WAN_FLF2V_14B)
    low, high, both = (
        spec_of(i2v, "Wan2.1-I2V-14B-480P"),
        spec_of(i2v, "hf:Wan-AI/Wan2.1-I2V-14B-720P"),
        spec_of(flf, "x"),
    )
    for spec, known, shift, steps, sides in (
        (low, I2V_14B, 3.0, 40, (832, 480)), (high, I2V_14B_720P, 5.0, 40, (1280, 720)),
        (both, FLF2V_14B, 16.0, 50, (1280, 720)),
    ):  # fmt: skip
        defaults = spec.defaults
        assert spec.name == known.name
        assert (defaults.shift, defaults.steps, defaults.width, defaults.height) == (shift, steps, *sides)
        assert (defaults.cfg_scale, defaults.frames, defaults.fps) == (5.0, 81, 16.0)
    assert low.defaults.negative_prompt == high.defaults.negative_prompt == "镜头晃动，" + NEGATIVE_PROMPT
    assert both.defaults.negative_prompt == "镜头切换，" + NEGATIVE_PROMPT
    assert [spec.given_frames and spec.given_frames.last for spec in (low, both)] == [False, True]


def test_sizes_are_those_of_the_originals_arithmetic_but_for_its_rounding() -> None:
    """`lat_h = round(np.sqrt(max_area * aspect_ratio) // 8 // 2 * 2)` there, of floats that may fall short of a row."""
    for area in (832 * 480, 1280 * 720):
        for width, height in ((640, 427), (500, 500), (1023, 1037), (1920, 1080), (300, 801), (833, 480)):
            ratio = height / width
            wanted = [round(float(np.sqrt(one)) // 8 // 2 * 2) * 8 for one in (area / ratio, area * ratio)]
            assert [*input_images._of_area(Image.new("L", (width, height)), area, 16)] == wanted
    for exact in ((832, 480), (480, 832)):
        assert input_images._of_area(Image.new("L", exact), 832 * 480, 16) == exact


@pytest.fixture
def tiny_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes of separate files are those of their tensors, but for two that every published Wan shares."""
    monkeypatch.setattr(separate_files, "IMAGE_CLIP", EYE)
    monkeypatch.setattr(separate_files, "HEAD", DIT.width // DIT.heads)


def film(pipe: Pipeline, made: Made) -> np.ndarray:
    (drawn,) = pipe(PROMPT, **(SIZE | made.pictures), shift=3.0).films
    return np.stack([np.asarray(frame) for frame in drawn.frames])


@pytest.mark.usefixtures("tiny_parts")
def test_the_files_of_a_folder_draw_its_film_by_themselves(made: Made) -> None:
    file = made.folder / "transformer" / "diffusion_pytorch_model.safetensors"
    pipe = sf.load(file, device="cpu", vae=made.folder, text_encoder=made.folder, image_encoder=made.folder)
    assert pipe.system.sha256 == made.pipe.system.sha256
    assert pipe.stage.spec.given_frames == made.pipe.stage.spec.given_frames
    assert np.array_equal(film(pipe, made), film(made.pipe, made))


@pytest.mark.usefixtures("tiny_parts")
def test_an_image_encoder_is_found_in_comfyuis_folder_and_another_one_is_refused(made: Made, tmp_path: Path) -> None:
    names = {
        "transformer/diffusion_pytorch_model": "diffusion_models/wan2.1_i2v_480p_14B_fp16",
        "vae/diffusion_pytorch_model": "vae/wan_2.1_vae",
        "text_encoder/model": "text_encoders/umt5_xxl_fp16",
        "image_encoder/model": "clip_vision/clip_vision_h",
    }
    for stored, named in names.items():
        (tmp_path / named).parent.mkdir()
        shutil.copy(made.folder / f"{stored}.safetensors", tmp_path / f"{named}.safetensors")
    shutil.copytree(made.folder / "tokenizer", tmp_path / "tokenizer")
    model, *_, eye = (tmp_path / f"{named}.safetensors" for named in names.values())
    pipe = sf.load(model, device="cpu")
    assert pipe.system.choice.image_encoder == str(eye)
    assert np.array_equal(film(pipe, made), film(made.pipe, made))
    with pytest.raises(UnsupportedError, match="not CLIP ViT-H/14, the image encoder of Wan; take clip_vision_h"):
        sf.load(model, device="cpu", image_encoder=tmp_path / "vae" / "wan_2.1_vae.safetensors")
    eye.unlink()
    with pytest.raises(MissingError, match="its image encoder was not found: give it with --image-encoder, or put"):
        sf.load(model, device="cpu")
