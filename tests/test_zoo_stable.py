"""Stable Diffusion from files: tiny ones, written by diffusers and transformers, give the picture that they draw."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import published
from tests.loading import load as load_system
from tests.loading import stable
from tests.pipelines import PROMPT, SAMPLERS, SIZE, as_one_file, drawn, drawn_there, scheduler, written, zeroed
from tests.tiny import TEXT, TINY, TINY_2

from scorefield.api import Pipeline, load
from scorefield.cli.main import run
from scorefield.core import grid, predict
from scorefield.errors import DamagedError, RequestError, ScorefieldError, UnsupportedError
from scorefield.families.stable_diffusion.build import StableDiffusion
from scorefield.families.stable_diffusion.parts import Weights, parts
from scorefield.families.stable_diffusion.specs import NETWORKS, STABLE_1, STABLE_2_BASE, STABLE_2_V, Networks
from scorefield.latent.kl_codec import KlCodec
from scorefield.model.system import System
from scorefield.nets.clip import EncoderConfig
from scorefield.nets.packed import packs
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.rules import Rules
from scorefield.request import ModelChoice
from scorefield.weights import key_map
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.identity import Family
from scorefield.zoo import opened_model

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

CPU = torch.device("cpu")


class Made(NamedTuple):
    peer: Any
    model: System  # out of the folder
    folder: Path
    file: Path
    networks: Networks

    def load(self, path: Path, prediction: str | None = None) -> System:
        return stable(path, CPU, torch.float32, prediction, self.networks)


def _made(folder: Path, networks: Networks, prediction: str) -> Made:
    peer = written(folder, networks, prediction)
    model = stable(folder / "model", CPU, torch.float32, networks=networks)
    as_one_file(folder / "model.safetensors", model, networks)
    return Made(peer, model, folder / "model", folder / "model.safetensors", networks)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Stable Diffusion 1, small."""
    return _made(tmp_path_factory.mktemp("sd1"), TINY, "epsilon")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Stable Diffusion 2 that predicts v, small."""
    return _made(tmp_path_factory.mktemp("sd2"), TINY_2, "v_prediction")


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", ["one", "two"])
def test_a_picture_is_that_of_diffusers(kind: str, sampler: str, request: pytest.FixtureRequest) -> None:
    made: Made = request.getfixturevalue(kind)
    name, schedule, options = SAMPLERS[sampler]
    theirs = drawn_there(made.peer, scheduler(name, "epsilon" if kind == "one" else "v_prediction", **options))
    ours = drawn(made.model, sampler, schedule)
    assert theirs.std() > 20  # a picture of something
    assert abs(ours - theirs).max() <= 1


def test_the_picture_depends_on_the_prompt_and_on_what_the_network_predicts(one: Made) -> None:
    fox = drawn(one.model, "euler", "trailing")
    assert abs(fox - drawn(one.model, "euler", "trailing", "a dog")).max() > 20
    assert abs(fox - drawn(one.load(one.folder, "v"), "euler", "trailing")).max() > 20


@pytest.mark.parametrize("kind", ["one", "two"])
def test_a_folder_a_single_file_and_a_ckpt_give_the_identical_picture(
    kind: str, one: Made, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    made: Made = request.getfixturevalue(kind)
    prompt = "a red fox, in the Snow"  # without the "!" that pads in Stable Diffusion 2's folder alone
    ours = drawn(made.model, "euler", "trailing", prompt)
    ckpt = tmp_path / "model.ckpt"
    torch.save({"state_dict": load_file(made.file), "global_step": 110000}, ckpt)
    for path in (made.file, ckpt):
        model = made.load(path, "eps" if kind == "one" else "v")
        assert (drawn(model, "euler", "trailing", prompt) == ours).all()
        assert model.name == str(path)
        if made is one:  # the file of Stable Diffusion 2 has more of the text encoder
            assert model.sha256 == made.model.sha256


def test_one_other_number_is_another_hash(one: Made, tmp_path: Path) -> None:
    held = load_file(one.file)
    held["model.diffusion_model.out.2.bias"][0] += 1e-6
    save_file(held, tmp_path / "other.safetensors")
    assert one.load(tmp_path / "other.safetensors", "eps").sha256 != one.model.sha256


def test_the_hash_of_a_model_stays_as_it_stands_in_records(one: Made, tmp_path: Path) -> None:
    model = one.load(zeroed(one.folder, tmp_path / "zero"))
    assert model.sha256 == "14b368cf31a14611d8b7998cd915a53e2f39155e71e2f0dd23ce5415c7c165fa"


def test_weights_come_in_the_dtype_that_is_asked_for_and_channels_last_or_packed(one: Made) -> None:
    model = stable(one.folder, CPU, torch.bfloat16, networks=TINY)
    net, codec = model.stages[0].denoiser.net, cast(KlCodec, model.stages[0].codec.pictures)
    encoder = cast(PublishedConditioner, model.stages[0].conditioner).encoder
    for module in (net, codec.autoencoder, encoder):
        assert {weight.dtype for weight in module.parameters()} == {torch.bfloat16}
        for weight in module.parameters():
            assert weight.ndim < 4 or weight.is_mkldnn or weight.is_contiguous(memory_format=torch.channels_last)
    assert any(weight.is_mkldnn for weight in net.parameters()) == packs(CPU, torch.bfloat16)
    picture = drawn(model, "euler", "trailing")
    assert 0 < abs(picture - drawn(one.model, "euler", "trailing")).mean() < 8


def test_states_are_float32_and_the_codec_is_that_of_the_published_scale(one: Made) -> None:
    codec, pixels = cast(KlCodec, one.model.stages[0].codec.pictures), torch.rand(2, 3, 32, 48) * 2 - 1
    x0 = codec.encode(pixels)
    torch.testing.assert_close(x0, one.peer.vae.encode(pixels).latent_dist.mean * 0.18215, rtol=0, atol=1e-5)
    theirs = one.peer.vae.decode(x0 / 0.18215).sample
    torch.testing.assert_close(codec.decode(x0), theirs.clamp(-1, 1), rtol=0, atol=1e-5)
    half = KlCodec(copy.deepcopy(codec.autoencoder).bfloat16())
    assert half.encode(pixels).dtype == half.decode(x0).dtype == half.preview(x0).dtype == torch.float32
    assert codec.shape(48, 32) == x0.shape[1:] == (4, 4, 6)
    assert half.decode(9 * x0).abs().max() <= 1


def test_the_preview_is_the_published_map_of_latents_to_colours(one: Made) -> None:
    x0 = torch.tensor([1.0, 0.5, -0.5, -1.0]).reshape(1, 4, 1, 1)
    expected = torch.tensor([0.6545, 0.5265, 0.6355]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(one.model.stages[0].codec.pictures.preview(x0), expected)
    assert one.model.stages[0].codec.pictures.preview(9 * x0).max() == 1


def test_the_condition_is_that_of_the_text_encoder_without_a_mask(two: Made) -> None:
    words = two.peer.tokenizer([PROMPT, ""], padding="max_length", return_tensors="pt").input_ids
    cond = two.model.stages[0].conditioner([PROMPT, ""])
    assert cond.tensors().keys() == {"tokens"}
    assert cond.tokens is not None
    torch.testing.assert_close(cond.tokens, two.peer.text_encoder(words)[0], rtol=0, atol=1e-5)
    assert two.model.stages[0].conditioner.unknown([PROMPT, "xyzzy"]) == {}


@pytest.mark.parametrize("kind", ["one", "two"])
@torch.no_grad()
def test_clip_skip_takes_an_earlier_block_and_its_final_norm_as_diffusers_does(
    kind: str, request: pytest.FixtureRequest
) -> None:
    made: Made = request.getfixturevalue(kind)
    encoder = made.peer.text_encoder  # encode_prompt(clip_skip=1) asks transformers 5 for a level that it has no more
    words = made.peer.tokenizer([PROMPT], padding="max_length", return_tensors="pt").input_ids
    hidden = encoder(words, output_hidden_states=True).hidden_states
    for skip in (1, 2):
        ours = made.model.stages[0].conditioner([PROMPT], Rules(clip_skip=skip)).tokens
        assert ours is not None
        torch.testing.assert_close(ours, encoder.final_layer_norm(hidden[-skip]), rtol=0, atol=1e-5)
    assert (hidden[-1] - hidden[-2]).std() > 0.05
    most = made.networks.text.text.layers - made.networks.text.skip
    with pytest.raises(
        RequestError, match=f"clip_skip {most + 1} is too large: this text encoder allows at most {most}"
    ):
        Pipeline(made.model).plan("a fox", clip_skip=most + 1)


def test_clip_skip_changes_the_picture(one: Made) -> None:
    plain, earlier = (drawn(one.model, "ddim", "ddim_uniform", clip_skip=skip) for skip in (1, 2))
    assert abs(plain - earlier).max() > 2


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_drawn_if_asked(one: Made) -> None:
    with pytest.raises(RequestError, match=r"^the prompt has 80 tokens, 5 more than the 75 that this model reads"):
        Pipeline(one.model).plan("tree " * 80, long_prompt="refuse")


@pytest.mark.parametrize("size", [60, "64x68"])
def test_an_odd_size_is_one_line(one: Made, size: int | str) -> None:
    with pytest.raises(RequestError, match=r"^(width 60|height 68) is not a multiple of 8; use (56 or 64|64 or 72)$"):
        Pipeline(one.model).plan("a tree", size=size)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer"])
def test_a_folder_that_lacks_a_part_says_which(one: Made, tmp_path: Path, part: str) -> None:
    folder = shutil.copytree(one.folder, tmp_path / "model")
    shutil.rmtree(folder / part)
    assert_one_line(one, folder, UnsupportedError, rf"lacks its {part}; get it whole|a StableDiffusionPipeline")


def test_a_file_that_lacks_a_part_or_a_key_or_has_one_more_says_which(one: Made, tmp_path: Path) -> None:
    held, path = load_file(one.file), tmp_path / "model.safetensors"
    vae = {name for name in held if name.startswith("first_stage_model")}
    save_file({name: tensor for name, tensor in held.items() if name not in vae}, path)
    assert_one_line(one, path, UnsupportedError, "lacks its vae; get it whole")
    save_file({name: tensor for name, tensor in held.items() if "conv_in.bias" not in name}, path)
    assert_one_line(
        one, path, DamagedError, r"the autoencoder: .* 2 missing \(first_stage_model.decoder.conv_in.bias, "
    )
    save_file(held | {"model.diffusion_model.odd": torch.ones(1)}, path)
    assert_one_line(one, path, DamagedError, r"the U-Net: .* 1 unknown \(model.diffusion_model.odd\)")
    save_file(held | {"control_model.odd": torch.ones(1)}, path)
    assert_one_line(
        one, path, UnsupportedError, "unexpected tensor 'control_model.odd', not part of a Stable Diffusion"
    )


def test_a_wrong_text_encoder_is_one_line(one: Made, two: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(one.folder, tmp_path / "model")
    wide = replace(TINY, text=EncoderConfig(text=replace(TEXT, width=40)))
    with pytest.raises(
        ScorefieldError, match=r"^[^\n]*the text encoder: \S* has shape \(49408, 32\), .* \(49408, 40\): .*$"
    ):
        stable(folder, CPU, torch.float32, networks=wide)
    deep = replace(TINY, text=EncoderConfig(text=replace(TEXT, layers=3)))
    with pytest.raises(ScorefieldError, match=r"^[^\n]*the text encoder: .* 16 missing [^\n]*$"):
        stable(folder, CPU, torch.float32, networks=deep)
    with pytest.raises(DamagedError, match="has Stable Diffusion 2's text encoder with another model's U-Net"):
        stable(two.file, CPU, torch.float32, "eps", replace(TINY_2, openclip=None))


def test_a_tokenizer_of_another_vocabulary_is_one_line(one: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(one.folder, tmp_path / "model")
    told = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())
    told["added_tokens"].append({"id": 49408, "content": "<cat>", "special": True})
    (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps(told))
    assert_one_line(one, folder, DamagedError, "the tokenizer has 49409 tokens .* they do not fit each other")


def test_other_levels_of_noise_are_refused(one: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(one.folder, tmp_path / "model")
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_end": 0.02}))
    with pytest.raises(UnsupportedError, match=r"scheduler beta_end 0\.02 is not supported \(0\.012 is\)"):
        stable(folder)


def test_a_model_that_was_trained_to_pure_noise_draws_the_picture_of_diffusers(two: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(two.folder, tmp_path / "model")
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rescale_betas_zero_snr": True}))
    options = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": False}
    theirs = drawn_there(two.peer, scheduler("DDIMScheduler", "v_prediction", set_alpha_to_one=True, **options))
    model = two.load(folder)
    assert model.stages[0].spec.defaults.schedule == "trailing"
    ours = drawn(model, "ddim", "trailing")
    assert theirs.std() > 20
    assert abs(ours - theirs).max() <= 1
    assert abs(ours - drawn(two.model, "ddim", "trailing")).max() > 5
    assert_one_line(
        two, folder, UnsupportedError, "trained with zero terminal SNR, which needs v-prediction, not eps", "eps"
    )


def test_a_file_that_does_not_tell_what_it_predicts_wants_it_said(two: Made) -> None:
    assert_one_line(two, two.file, RequestError, r"say eps or v \(prediction='v', or --prediction v\)", None)
    with pytest.raises(UnsupportedError, match="a Stable Diffusion predicts eps or v, not flow"):
        two.load(two.file, "flow")


def few(path: Path, channels: int = 4, words: int = 768, vector: int | None = None) -> Path:
    """The few tensors that tell a family."""
    held = {"input_blocks.0.0.weight": (320, channels, 3, 3), "middle_block.0.in_layers.0.weight": (1,)}
    held |= {"x.attn2.to_k.weight": (2, words)} | ({} if vector is None else {"label_emb.0.0.weight": (1, vector)})
    save_file({f"model.diffusion_model.{name}": torch.zeros(shape) for name, shape in held.items()}, path)
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"words": 2048, "vector": 2816}, "lacks its vae and its text_encoder and its text_encoder_2; get it whole"),
        ({"words": 1024, "vector": 2048}, "lacks its vae and its text_encoder and its image_encoder; get it whole"),
        ({"words": 640}, "is a checkpoint (Stable Diffusion of other widths) that cannot be drawn with: `scorefield"),
        ({"channels": 9}, "lacks its vae and its text_encoder; get it whole"),
        ({"channels": 8}, "is Stable Diffusion 1 for editing by instruction; only text to image, inpainting"),
        ({"channels": 5, "words": 1024}, "is Stable Diffusion 2 for depth to image; only text to image"),
        ({}, "lacks its vae and its text_encoder; get it whole"),
    ],
)
def test_what_cannot_be_drawn_with_yet_is_named(options: dict[str, int], words: str, tmp_path: Path) -> None:
    path = few(tmp_path / "model.safetensors", **options)
    with pytest.raises(UnsupportedError) as caught:
        load(str(path))
    assert str(caught.value).startswith(f"{path} {words}")


def test_the_averaged_copy_of_a_file_is_drawn_with_where_it_is_asked_for(one: Made, tmp_path: Path) -> None:
    held, path = load_file(one.file), tmp_path / "both.safetensors"
    held = {name: tensor for name, tensor in held.items() if not name.startswith("model_ema.")}
    names = [name for name in held if name.startswith("model.diffusion_model.")]
    held |= {"model_ema." + name.removeprefix("model.").replace(".", ""): held[name] for name in names}
    held |= {name: held[name] + 1 for name in names} | {"model_ema.decay": torch.ones(())}
    save_file({name: tensor.clone() for name, tensor in held.items()}, path)
    ema = stable(path, CPU, torch.float32, "eps", TINY, ema=True)
    assert ema.sha256 == one.model.sha256 != one.load(path, "eps").sha256
    assert (drawn(ema, "euler", "trailing") == drawn(one.model, "euler", "trailing")).all()
    assert ema.choice.ema
    with pytest.raises(ScorefieldError, match=r"the U-Net: .* missing \(model_ema\.diffusion_modelinput_blocks00bias"):
        stable(one.file, CPU, torch.float32, "eps", TINY, ema=True)
    save_file({name: tensor for name, tensor in held.items() if "model_ema" not in name}, path)
    with pytest.raises(RequestError, match="has no averaged copy of its U-Net"):
        stable(path, CPU, torch.float32, "eps", TINY, ema=True)
    with pytest.raises(RequestError, match="is a folder, whose U-Net is averaged unless its variant is non_ema"):
        stable(one.folder, CPU, torch.float32, networks=TINY, ema=True)


def test_another_autoencoder_takes_the_place_of_the_models_own(one: Made, tmp_path: Path) -> None:
    held = load_file(one.folder / "vae" / "diffusion_pytorch_model.safetensors")
    save_file({name: tensor * 0.9 for name, tensor in held.items()}, tmp_path / "vae.safetensors")
    model = stable(one.folder, CPU, torch.float32, networks=TINY, vae=str(tmp_path / "vae.safetensors"))
    ours, own = (cast(KlCodec, m.stages[0].codec.pictures).autoencoder.state_dict() for m in (model, one.model))
    assert all(torch.equal(ours[name], own[name] * 0.9) for name in own)
    assert model.sha256 != one.model.sha256
    for whole in (one.folder, one.file, one.folder / "vae"):
        same = stable(one.folder, CPU, torch.float32, networks=TINY, vae=str(whole))
        assert same.sha256 == one.model.sha256


def test_what_is_given_as_an_autoencoder_and_is_something_else_is_named(one: Made, tmp_path: Path) -> None:
    lora, odd = tmp_path / "lora.safetensors", tmp_path / "odd.safetensors"
    save_file({f"lora_unet_mid_block.lora_{end}.weight": torch.ones(2, 2) for end in ("up", "down")}, lora)
    save_file({"odd": torch.ones(1)}, odd)
    for path, error, why in [
        (one.folder / "unet", UnsupportedError, r"unet holds no autoencoder: it is a U-Net"),
        (lora, UnsupportedError, r"lora.safetensors holds no autoencoder: it is a LoRA"),
        (odd, DamagedError, r"odd.safetensors: the autoencoder: the file's keys are not those of this network"),
    ]:
        with pytest.raises(error, match=why):
            stable(one.folder, CPU, torch.float32, networks=TINY, vae=str(path))


def test_a_part_alone_is_named(one: Made, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"is not a whole model but U-Net"):
        load_system(str(one.folder / "unet"))
    save_file({"odd": torch.ones(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(UnsupportedError, match=r"is not a whole model but of an unknown kind: "):
        load(str(tmp_path / "odd.safetensors"))


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_every_key_of_the_published_files_is_accounted_for(kind: str, tmp_path: Path) -> None:
    path = published.sparse(tmp_path / "model.safetensors", getattr(published, kind)())
    checkpoint = Checkpoint(path)
    found = StableDiffusion().recognise(checkpoint).found
    assert len(found.parts) == 3
    for place in parts(checkpoint, NETWORKS[found.family], ModelChoice())[:3]:
        key_map.check(*cast(Weights, place)[::2])


@pytest.mark.parametrize("name", ["./folder/model", "model.safetensors", "model.ckpt"])
def test_a_path_that_is_not_there_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(ScorefieldError, match="no such file or folder"):
        load(str(tmp_path / name))


def test_the_defaults_are_those_that_were_published() -> None:
    for spec, side, scale in ((STABLE_1, 512, 7.5), (STABLE_2_BASE, 512, 9.0), (STABLE_2_V, 768, 9.0)):
        defaults = spec.defaults
        assert (defaults.width, defaults.height, defaults.cfg_scale, defaults.steps) == (side, side, scale, 50)
        levels = grid.levels(spec.gauge, grid.find(defaults.schedule)(spec.ladder)(50))
        assert [round(float(spec.clock(at.lam))) for at in levels[:-1]] == list(range(981, 0, -20))
    assert (STABLE_1.prediction, STABLE_2_BASE.prediction, STABLE_2_V.prediction) == (
        predict.eps,
        predict.eps,
        predict.v,
    )


@pytest.mark.parametrize("name", ["scenes", "./model.safetensors"])
def test_float16_on_a_cpu_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="float16 needs a GPU; on a CPU use float32, or bfloat16"):
        load(name, device="cpu", dtype="float16")


def test_the_format_of_a_file_is_that_of_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened_model, "_device", torch.device)
    monkeypatch.setattr(opened_model, "_recognised", lambda choice: (None, None, choice.model))
    choices = (ModelChoice(model="./model.safetensors", device=device) for device in ("cpu", "cuda", "mps"))
    assert [opened_model.OpenedModel(choice).dtype for choice in choices] == [
        torch.float32, torch.float16, torch.float32
    ]  # fmt: skip


def assert_one_line(made: Made, path: Path, kind: type[ValueError], words: str, prediction: str | None = "eps") -> None:
    with pytest.raises(kind, match=words) as caught:
        made.load(path, prediction)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small networks stand for the published ones, and their files for published files."""
    monkeypatch.setitem(cast(dict[Family, Networks], NETWORKS), Family.UNKNOWN, TINY_2)


def test_what_a_file_predicts_is_said_to_load_and_stands_in_the_record(two: Made, small: None) -> None:
    with pytest.raises(RequestError, match="say eps or v"):
        load(str(two.file))
    pipe = load(str(two.file), prediction="v")
    settled = pipe.plan("a tree", size=SIZE).request
    assert (settled.model, settled.prediction) == (str(two.file), "v")
    with pytest.raises(RequestError, match="was not loaded with the prediction eps; pass it to load"):
        pipe.plan(settled.model_copy(update={"prediction": "eps"}))
    with pytest.raises(RequestError, match="--prediction applies to checkpoint files only; scenes is built in"):
        load(prediction="v")
    with pytest.raises(RequestError, match="prediction must be eps or v, not 'flow'"):
        load(str(two.file), prediction="flow")


def test_another_autoencoder_stands_in_the_record_and_draws_the_picture_again(
    one: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = load_file(one.folder / "vae" / "diffusion_pytorch_model.safetensors")
    save_file({name: tensor * 0.9 for name, tensor in held.items()}, tmp_path / "vae.safetensors")
    picture, call = tmp_path / "tree.png", ["generate", "a tree", "--model", str(one.folder), "--size", "64"]
    vae = ["--vae", str(tmp_path / "vae.safetensors")]
    assert run([*call, *vae, "--steps", "2", "--seed", "1", "--quiet", "-o", str(picture)]) == 0
    assert run(["inspect", str(picture)]) == 0
    assert f"vae: {vae[1]}\n" in capsys.readouterr().out
    assert run(["replay", str(picture)]) == 0
    assert capsys.readouterr().out.endswith("identical\n")
    moved = Path(vae[1]).rename(tmp_path / "moved.safetensors")
    assert run(["replay", str(picture)]) == 1
    told = f"{vae[1]}: no such file or folder; if it was moved, give its new path with --vae"
    assert capsys.readouterr().err == f"error: {told}\n"
    assert run(["replay", str(picture), "--vae", str(moved)]) == 0


def test_the_command_line_draws_from_a_file_and_draws_the_picture_again(
    two: Made, small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "tree.png"
    monkeypatch.chdir(two.file.parent)
    call = ["generate", "a tree", "--model", f"./{two.file.name}", "--size", "64", "--steps", "2", "--seed", "1"]
    assert run([*call, "--quiet", "-o", str(picture)]) == 2
    assert "say eps or v (prediction='v', or --prediction v)" in capsys.readouterr().err
    assert run([*call, "--quiet", "-o", str(picture), "--prediction", "v"]) == 0
    assert run(["replay", str(picture)]) == 0
    assert capsys.readouterr().out.endswith("identical\n")
