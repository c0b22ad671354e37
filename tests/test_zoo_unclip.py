"""Stable Diffusion unCLIP: tiny ones, written by diffusers and transformers, see the image prompt as they do."""

import functools
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import diffusers
import numpy as np
import pytest
import torch
import transformers
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from PIL import Image
from safetensors.torch import load_file, save_file
from tests import networks, peer_networks, pipelines, published
from tests.loading import stable
from tests.pipelines import (
    PROMPT,
    SAMPLERS,
    SIZE,
    Pixels,
    as_one_file,
    assert_same_weights,
    drawn_there,
    randomised,
    scheduler,
    there_and_back,
    tokenizer,
)  # fmt: skip
from tests.tiny import TINY_2
from torch import Tensor

from scorefield.api import Pipeline, load
from scorefield.cli.main import run
from scorefield.conversion.plan import conversion
from scorefield.core import noise, predict
from scorefield.errors import DamagedError, MissingError, RequestError, UnsupportedError
from scorefield.families.stable_diffusion.build import StableDiffusion
from scorefield.families.stable_diffusion.folder_config import stated
from scorefield.families.stable_diffusion.parts import Weights, parts
from scorefield.families.stable_diffusion.specs import NETWORKS, SPECS
from scorefield.files.inputs import crop_middle
from scorefield.model.system import System
from scorefield.nets import clip
from scorefield.nets.clip import ClipConfig, VisionConfig
from scorefield.prompt.conditioner import PromptBatch
from scorefield.prompt.unclip import UnclipConditioner
from scorefield.request import ModelChoice
from scorefield.weights import key_map
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.identity import Family
from scorefield.weights.key_maps import clip_keys as clip_maps

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnknownSizeWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

CPU = torch.device("cpu")
EYE = ClipConfig(vision=VisionConfig(width=32, layers=2, heads=4, patch_size=7, image_size=28), embed_dim=16)
TINY = replace(TINY_2, unet=replace(TINY_2.unet, pooled_width=32), image_clip=EYE)


class Made(NamedTuple):
    peer: Any
    model: System
    folder: Path
    file: Path

    @property
    def conditioner(self) -> UnclipConditioner:
        return cast(UnclipConditioner, self.model.stages[0].conditioner)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("unclip")
    peer = written(folder)
    model = stable(folder / "model", CPU, torch.float32, networks=TINY)
    as_one_file(folder / "model.safetensors", model, TINY)
    held = load_file(folder / "model.safetensors")
    conditioner = cast(UnclipConditioner, model.stages[0].conditioner)
    listed = list(key_map.under("", "embedder.model.visual.", clip_maps.openai_vision(EYE.vision)))
    held |= key_map.write(listed, conditioner.image_encoder.state_dict())
    held |= {"embedder.model.token_embedding.weight": torch.ones(3), "noise_augmentor.betas": torch.ones(3)}
    statistics = conditioner.statistics
    held |= {"noise_augmentor.data_mean": statistics.mean, "noise_augmentor.data_std": statistics.deviation}
    save_file({name: tensor.contiguous().clone() for name, tensor in held.items()}, folder / "model.safetensors")
    return Made(peer, model, folder / "model", folder / "model.safetensors")


def written(folder: Path) -> Any:
    """A pipeline of random weights in a folder, by diffusers and transformers alone."""
    normalizer = StableUnCLIPImageNormalizer(embedding_dim=EYE.embed_dim)
    source = torch.Generator().manual_seed(5)
    normalizer.mean.data = torch.randn(1, EYE.embed_dim, generator=source)
    normalizer.std.data = torch.rand(1, EYE.embed_dim, generator=source) + 0.5
    vision = transformers.CLIPVisionConfig(**peer_networks.vision_config(EYE.vision, EYE.embed_dim, EYE.activation))
    unet = randomised(peer_networks.unet(TINY.unet))
    unet.class_embedding.linear_2.weight *= 4  # so that the picture shows what the vector is
    made = diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=transformers.CLIPImageProcessor(
            size={"shortest_edge": EYE.vision.image_size}, crop_size=EYE.vision.image_size
        ),
        image_encoder=randomised(transformers.CLIPVisionModelWithProjection(vision)),
        image_normalizer=normalizer,
        image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=tokenizer(folder / "words", pad="!"),
        text_encoder=randomised(peer_networks.text(TINY.text)),
        unet=unet,
        scheduler=scheduler("DDIMScheduler", "v_prediction", clip_sample=False, steps_offset=1),
        vae=randomised(peer_networks.kl(TINY.kl)),
    )
    made.save_pretrained(folder / "model")
    made.set_progress_bar_config(disable=True)
    return made


def picture(width: int = 61, height: int = 44) -> Image.Image:
    values = np.random.default_rng(2).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)


def seen(image: Image.Image) -> Tensor:
    values = np.array(crop_middle(image, EYE.vision.image_size))
    return torch.from_numpy(values).movedim(-1, 0)[None] / 255


def eps(seeds: Sequence[int]) -> Tensor:
    """The noise that our image prompt has of these seeds."""
    return noise.initial([noise.derived(seed, "image prompt") for seed in seeds], (EYE.embed_dim,))


@pytest.mark.parametrize("sides", [(61, 44), (44, 61), (28, 28), (300, 29), (29, 300)])
def test_clip_is_shown_the_square_that_transformers_cuts(sides: tuple[int, int], made: Made) -> None:
    theirs = made.peer.feature_extractor(images=picture(*sides), return_tensors="pt").pixel_values
    mean, deviation = (torch.tensor(value)[:, None, None] for value in (clip.MEAN, clip.DEVIATION))
    torch.testing.assert_close((seen(picture(*sides)) - mean) / deviation, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", [0, 1, 250, 999])
@torch.no_grad()
def test_the_vector_of_a_image_prompt_is_that_of_diffusers(level: int, made: Made) -> None:
    pixels = made.peer.feature_extractor(images=picture(), return_tensors="pt").pixel_values
    vector = made.peer.image_encoder(pixels).image_embeds
    theirs = made.peer.noise_image_embeddings(vector.repeat(2, 1), noise_level=level, noise=eps([7, 8]))
    ours = made.conditioner.pooled(made.conditioner.vector(seen(picture())), [7, 8], level)
    assert networks.relative_error(ours, theirs, least=0.1) <= 1e-5


def drawn(model: System, sampler: str = "ddim", prompt: str = PROMPT, **options: Any) -> Pixels:
    return pipelines.drawn(model, sampler, SAMPLERS[sampler][1], prompt, **{"image_prompt": picture(), **options})


# Those whose noise diffusers does not scale: its pipeline takes latents as they are.
@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "unipc"])
@pytest.mark.parametrize("level", [0, 300])
def test_a_picture_is_that_of_diffusers(sampler: str, level: int, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    noised = functools.partial(made.peer.noise_image_embeddings, noise=eps([7]))
    monkeypatch.setattr(made.peer, "noise_image_embeddings", noised)
    name, _, options = SAMPLERS[sampler]
    planned = scheduler(name, "v_prediction", **options)
    theirs = drawn_there(made.peer, planned, image=picture(), noise_level=level)
    assert theirs.std() > 20
    assert abs(drawn(made.model, sampler, noise_level=level) - theirs).max() <= 1


def test_the_picture_depends_on_the_image_prompt_its_noise_and_the_words(made: Made) -> None:
    ours = drawn(made.model)
    other = Image.new("RGB", (30, 30), "red")
    for changed in ({"image_prompt": other}, {"noise_level": 500}, {"prompt": "a dog"}):
        assert abs(ours - drawn(made.model, **changed)).max() > 20


def test_a_sample_depends_on_its_seed_alone(made: Made) -> None:
    batch = PromptBatch(
        prompts=["a", "b"], negative_prompt="", seeds=[3, 4], width=64, height=64, pictures=seen(picture())
    )
    pos, neg = made.conditioner.pair(replace(batch, noise_level=400))
    alone, _ = made.conditioner.pair(replace(batch, noise_level=400, prompts=["b"], seeds=[4]))
    assert pos.pooled is not None
    assert alone.pooled is not None
    assert torch.equal(pos.pooled[1:], alone.pooled)
    assert abs(pos.pooled[0] - pos.pooled[1]).max() > 0.1
    assert neg.pooled is not None
    assert not neg.pooled.any()
    assert not torch.equal(eps([3]), noise.initial([3], (EYE.embed_dim,)))  # what the walk starts from


def test_a_folder_and_a_single_file_give_the_identical_picture(made: Made) -> None:
    model = stable(made.file, CPU, torch.float32, "v", TINY)
    prompt = "a red fox, in the Snow"  # without the "!" that pads in the folder alone
    assert (drawn(model, prompt=prompt) == drawn(made.model, prompt=prompt)).all()


def test_a_single_file_without_statistics_is_only_right_for_vit_h(made: Made, tmp_path: Path) -> None:
    held = {name: tensor for name, tensor in load_file(made.file).items() if "data_" not in name}
    save_file(held, tmp_path / "model.safetensors")
    with pytest.raises(
        DamagedError, match=r"^[^\n]* lacks the mean of its CLIP's vectors [^\n]*; use the folder of the model$"
    ):
        stable(tmp_path / "model.safetensors", CPU, torch.float32, "v", TINY)


def test_a_folder_comes_back_from_one_file_and_draws_the_identical_picture(made: Made, tmp_path: Path) -> None:
    file, folder = there_and_back(made.folder, TINY, tmp_path)
    again = diffusers.StableUnCLIPImg2ImgPipeline.from_pretrained(folder)
    assert_same_weights(again, made.peer, "unet", "vae", "text_encoder", "image_encoder", "image_normalizer")
    assert again.tokenizer.pad_token == "!"
    assert again.scheduler.config.prediction_type == "v_prediction"
    one, level = torch.ones(1, 4), torch.tensor([300])
    noised = [pipe.image_noising_scheduler.add_noise(one, one, level) for pipe in (again, made.peer)]
    assert torch.equal(*noised)
    pixels = [one.feature_extractor(images=picture(), return_tensors="pt").pixel_values for one in (again, made.peer)]
    assert torch.equal(*pixels)
    models = [stable(path, CPU, torch.float32, networks=TINY) for path in (file, folder)]
    assert {one.sha256 for one in models} == {made.model.sha256}
    prompt = "a red fox, in the Snow"  # without the "!" that pads
    pictures = [drawn(one, prompt=prompt, noise_level=300) for one in (made.model, *models)]
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] == pictures[2]).all()
    assert stated(Checkpoint(folder)).unet == TINY.unet
    assert conversion(made.folder, to="ldm", networks=TINY).left == {}
    told = conversion(made.file, to="diffusers", prediction="v", networks=TINY).left
    assert told["part of the image prompt's CLIP that is not read"] == 1


def test_a_folder_of_other_sizes_tells_them(made: Made) -> None:
    assert stated(Checkpoint(made.folder)).image_clip == EYE
    assert stated(Checkpoint(made.folder)).unet == TINY.unet


@pytest.mark.parametrize("part", ["image_encoder", "image_normalizer"])
def test_a_folder_that_lacks_a_part_says_which(part: str, made: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "model")
    shutil.rmtree(folder / part)
    with pytest.raises(UnsupportedError, match=rf"^[^\n]*lacks its {part}; get it whole$"):
        stable(folder, CPU, torch.float32, networks=TINY)


def test_other_levels_of_noise_are_refused(made: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "model")
    config = folder / "image_noising_scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_schedule": "linear"}))
    with pytest.raises(UnsupportedError, match="image_noising_scheduler beta_schedule linear is not supported"):
        stable(folder, CPU, torch.float32, networks=TINY)


def test_a_image_prompt_is_for_models_that_read_one_and_they_need_it(made: Made, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"needs an image prompt \(--image-prompt\)$"):
        Pipeline(made.model).plan("a fox", size=SIZE)
    with pytest.raises(RequestError, match="image_prompt is not an option of the model scenes; give the picture"):
        load().plan("a tree", image_prompt=picture())
    with pytest.raises(RequestError, match="noise_level needs an image prompt"):
        Pipeline(made.model).plan("a fox", noise_level=3)
    with pytest.raises(RequestError, match="noise_level must be a whole number from 0 to 999, not 1000"):
        Pipeline(made.model).plan("a fox", image_prompt=picture(), noise_level=1000)
    with pytest.raises(MissingError, match=r"the picture \S*none.png does not exist"):
        Pipeline(made.model).plan("a fox", image_prompt=tmp_path / "none.png")


def test_the_command_line_draws_after_a_picture_without_words_and_draws_it_again(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, drawn = tmp_path / "asked.png", tmp_path / "drawn.png"
    picture().save(asked)
    call = ["generate", "--model", str(made.folder), "--size", "64", "--steps", "2", "--seed", "1", "--quiet"]
    assert run([*call, "-o", str(drawn)]) == 2
    assert "there is no prompt" in capsys.readouterr().err
    assert run([*call, "-o", str(drawn), "--image-prompt", str(asked), "--noise-level", "20"]) == 0
    assert run(["replay", str(drawn)]) == 0
    assert capsys.readouterr().out.endswith("identical\n")
    moved = asked.rename(tmp_path / "moved.png")
    assert run(["replay", str(drawn), "--image-prompt", str(moved)]) == 0


@pytest.mark.parametrize(("family", "vector"), [("UNCLIP_H", 2048), ("UNCLIP_L", 1536)])
def test_the_published_models_are_known(family: str, vector: int) -> None:
    networks = NETWORKS[Family[family]]
    assert networks.image_clip is not None
    assert networks.unet.pooled_width == 2 * networks.image_clip.embed_dim == vector
    (spec,) = SPECS[Family[family]].values()
    assert (spec.prediction, spec.defaults.width, spec.defaults.steps) == (predict.v, 768, 20)


@pytest.mark.parametrize("kind", ["h", "l"])
def test_every_key_of_the_published_files_is_accounted_for(kind: str, tmp_path: Path) -> None:
    path = published.sparse(tmp_path / "model.safetensors", published.unclip(kind))
    checkpoint = Checkpoint(path)
    found = StableDiffusion().recognise(checkpoint).found
    assert found.family is {"h": Family.UNCLIP_H, "l": Family.UNCLIP_L}[kind]
    networks_ = NETWORKS[found.family]
    assert networks_.image_clip is not None
    found_parts = parts(checkpoint, networks_, ModelChoice())
    assert found_parts.image is not None
    image, statistics = found_parts.image
    for place in (*found_parts[:3], image, *([statistics] if statistics else [])):
        key_map.check(*cast(Weights, place)[::2])
    assert (statistics is None) == (kind == "h")
