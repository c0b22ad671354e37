"""A Wan in other layouts: there and back bit for bit, read by diffusers, and what another layout cannot say."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, WanImageToVideoPipeline, WanPipeline, WanTransformer3DModel
from safetensors.torch import load_file
from tests import test_zoo_wan22 as wan22
from tests import test_zoo_wan_pictures as pictures
from tests import wan_files
from tests.test_zoo_wan22 import continued, dense, experts  # noqa: F401 - fixtures
from tests.test_zoo_wan_pictures import made, tokenizer_folder  # noqa: F401 - fixtures
from tests.wan_files import DIT, Nets, film
from torch import Tensor
from transformers import UMT5EncoderModel

import scorefield as sf
from scorefield.conversion.convert import convert
from scorefield.errors import RequestError, UnsupportedError
from scorefield.families.wan import configs, separate_files, specs
from scorefield.nets.video_dit import VideoDit
from scorefield.weights.checkpoint import Checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnseenWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def nets() -> Nets:
    return wan_files.nets()


@pytest.fixture(scope="module")
def original(nets: Nets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wan_files.original(tmp_path_factory.mktemp("wan") / "Wan2.1-T2V-1.3B", nets)


@pytest.fixture(scope="module")
def folder(original: Path) -> Path:
    """The original folder as diffusers'."""
    return convert(original, original.parent / "folder", to="diffusers")


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether the names, dtypes and bits of two files are the same."""
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype and torch.equal(one[key], other[key]) for key in one
    )


def test_the_original_as_separate_files_draws_the_same_film(original: Path, tmp_path: Path, nets: Nets) -> None:
    models = convert(original, tmp_path / "models", to="comfyui")
    file = models / "diffusion_models" / "Wan2.1-T2V-1.3B.safetensors"
    assert same(load_file(file), nets.dit)
    assert same(load_file(models / "vae/wan_2.1_vae.safetensors"), nets.vae)
    assert same(load_file(models / "text_encoders/umt5_xxl.safetensors"), wan_files.with_spiece(nets))
    assert sorted(path.name for path in models.rglob("*.*")) == [
        "Wan2.1-T2V-1.3B.safetensors", "umt5_xxl.safetensors", "wan_2.1_vae.safetensors",
    ]  # fmt: skip
    assert np.array_equal(film(sf.load(original, device="cpu")), film(sf.load(file, device="cpu")))


def test_there_and_back_through_diffusers_folder_is_bit_for_bit(folder: Path, tmp_path: Path, nets: Nets) -> None:
    assert same(load_file(folder / "transformer/diffusion_pytorch_model.safetensors"), nets.dit_diffusers)
    back = convert(folder, tmp_path / "models", to="comfyui")
    assert same(load_file(back / "diffusion_models/folder.safetensors"), nets.dit)
    assert same(load_file(back / "vae/wan_2.1_vae.safetensors"), nets.vae)
    assert same(load_file(back / "text_encoders/umt5_xxl.safetensors"), wan_files.with_spiece(nets))


def test_diffusers_reads_the_folder_and_its_networks_are_ours(folder: Path) -> None:
    pipe, ours = WanPipeline.from_pretrained(folder, tokenizer=None), sf.load(folder, device="cpu")
    assert pipe.scheduler.config.flow_shift == specs.WAN_1_3B.defaults.shift
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "WanPipeline"
    x, time = torch.randn(1, 16, 2, 4, 4), torch.tensor([500])
    words = torch.randn(1, DIT.text_length, DIT.text_width)
    with torch.no_grad():
        theirs = pipe.transformer(x, time, words, return_dict=False)[0]
        net = ours.stage.denoiser.net
        assert isinstance(net, VideoDit)
        own = net(x, time.float(), words)
    assert (own - theirs).norm() / theirs.norm() < 1e-5
    assert (folder / "tokenizer" / "spiece.model").read_bytes() == wan_files.spiece()


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
def test_a_part_alone_converts_there_and_back(part: str, folder: Path, tmp_path: Path, nets: Nets) -> None:
    file = convert(folder / part, tmp_path / "part.safetensors")
    stored = {"transformer": nets.dit, "vae": nets.vae, "text_encoder": nets.text}[part]
    assert same(load_file(file), stored)
    back = convert(file, tmp_path / "back")
    name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
    assert same(load_file(back / f"{name}.safetensors"), load_file(folder / part / f"{name}.safetensors"))
    peers = {"transformer": WanTransformer3DModel, "vae": AutoencoderKLWan, "text_encoder": UMT5EncoderModel}
    peer = peers[part].from_pretrained(back)
    assert sum(one.numel() for one in peer.parameters()) >= sum(one.numel() for one in load_file(file).values())


def test_the_words_of_a_text_encoders_file_are_written_beside_its_weights(nets: Nets, tmp_path: Path) -> None:
    file = wan_files.save(tmp_path / "umt5.safetensors", wan_files.with_spiece(nets))
    models = convert(file, tmp_path / "text_encoder", dtype="bfloat16")
    assert (models / "spiece.model").read_bytes() == nets.spiece
    assert {one.dtype for one in load_file(models / "model.safetensors").values()} == {torch.bfloat16}
    again = load_file(convert(file, tmp_path / "again.safetensors", dtype="bfloat16"))
    assert again["spiece_model"].dtype == torch.uint8
    assert again["spiece_model"].numpy().tobytes() == nets.spiece


def files(folder: Path, name: str) -> dict[str, Path]:
    """The files of that name in a folder, by their paths in it."""
    return {str(path.relative_to(folder)): path for path in folder.rglob(name)}


def unprefixed(path: Path) -> dict[str, Tensor]:
    """A file's tensors; transformers 5 writes an image encoder without the prefix that the published files have."""
    return {key.removeprefix("vision_model."): one for key, one in load_file(path).items()}


def as_diffusers_wrote(ours: Path, theirs: Path) -> None:
    """Assert that our folder has their weights, and no setting of a network that is another one there."""
    weights, wanted = files(ours, "*.safetensors"), files(theirs, "*.safetensors")
    assert weights.keys() == wanted.keys()
    assert [name for name in wanted if not same(unprefixed(weights[name]), unprefixed(wanted[name]))] == []
    settings, stated = files(ours, "config.json"), files(theirs, "config.json")
    assert settings.keys() == stated.keys()
    for name, path in settings.items():
        own, known = json.loads(path.read_text()), json.loads(stated[name].read_text())
        assert {key: value for key, value in own.items() if key[0] != "_" and known.get(key, value) != value} == {}
    own, known = (json.loads((one / "model_index.json").read_text()) for one in (ours, theirs))
    assert own["_class_name"] == known["_class_name"]
    assert own.get("boundary_ratio") == known.get("boundary_ratio")
    assert bool(own.get("expand_timesteps")) == bool(known.get("expand_timesteps"))
    assert {part for part, one in own.items() if isinstance(one, list) and one[0]} == {
        part for part, one in known.items() if isinstance(one, list) and one[0]
    }


def test_an_original_for_pictures_becomes_the_folder_that_diffusers_writes(
    made: pictures.Made,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "wan").mkdir()
    source = pictures.original(made, tmp_path / "wan")
    pictures.small(made, monkeypatch, "diffusers")
    folder = convert(source, tmp_path / "folder")
    as_diffusers_wrote(folder, made.folder)
    peer = WanImageToVideoPipeline.from_pretrained(folder)
    assert peer.image_processor.crop_size["height"] == 28


@pytest.mark.parametrize("kind", ["experts", "continued", "dense"])
def test_an_original_of_wan22_becomes_the_folder_that_diffusers_writes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    model: wan22.Made = request.getfixturevalue(kind)
    (tmp_path / "wan").mkdir()
    source, real = wan22.original(model, tmp_path / "wan"), configs.original
    sizes = configs.of_folder(Checkpoint(model.folder))

    def small(path: Path) -> specs.Networks:
        return replace(real(path), transformer=replace(real(path).transformer, text_width=32, like="diffusers"))

    monkeypatch.setattr(configs, "original", small)
    monkeypatch.setitem(separate_files.LATENTS, sizes.vae.channels, sizes.latents)
    as_diffusers_wrote(convert(source, tmp_path / "folder"), model.folder)


def test_two_experts_become_two_files_that_find_each_other(
    experts: wan22.Made,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(separate_files, "HEAD", 16)
    sizes = configs.of_folder(Checkpoint(experts.folder))
    monkeypatch.setitem(separate_files.LATENTS, 16, sizes.latents)
    with_spiece = shutil.copytree(experts.folder, tmp_path / "wan")
    (with_spiece / "tokenizer" / "spiece.model").write_bytes(wan_files.spiece())
    models = convert(with_spiece, tmp_path / "models", to="comfyui")
    names = [path.name for path in sorted((models / "diffusion_models").iterdir())]
    assert names == ["wan_high_noise.safetensors", "wan_low_noise.safetensors"]
    again = sf.load(models / "diffusion_models" / names[0], device="cpu")
    theirs, ours = experts.pipe.stage.denoiser.net, again.stage.denoiser.net
    assert same(theirs.state_dict(), ours.state_dict())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model_index.json": {"boundary_ratio": 0.5}}, r"a boundary of its own \(0.5\)"),
        ({"vae/config.json": {"latents_std": [2.0] * 16}}, "latents of its own"),
        ({}, "lacks its tokenizer's spiece.model"),
    ],
)
def test_what_separate_files_cannot_store_is_refused(
    change: dict[str, dict[str, object]],
    line: str,
    experts: wan22.Made,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(separate_files, "HEAD", 16)
    folder = shutil.copytree(experts.folder, tmp_path / "wan")
    for name, settings in change.items():
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | settings))
    with pytest.raises(UnsupportedError, match=line):
        convert(folder, tmp_path / "models", to="comfyui")
    assert not (tmp_path / "models").exists()


def test_heads_and_image_encoders_that_no_file_shows_are_refused(
    made: pictures.Made,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UnsupportedError, match="heads of width 16"):
        convert(made.folder, tmp_path / "models", to="comfyui")
    monkeypatch.setattr(separate_files, "HEAD", 16)
    with pytest.raises(UnsupportedError, match="an image encoder of other sizes"):
        convert(made.folder, tmp_path / "models", to="comfyui")


@pytest.mark.parametrize(
    ("out", "options", "line"),
    [
        ("wan.safetensors", {}, "is a Wan, which is several files: --to comfyui writes them"),
        ("folder", {"prediction": "v"}, "prediction applies to Stable Diffusion alone"),
        ("folder", {"to": "sd"}, "to must be one of diffusers, ldm, comfyui"),
        ("wan.safetensors", {"to": "comfyui"}, "the layout comfyui is a folder"),
    ],
)
def test_a_conversion_that_does_not_fit_is_one_line(
    out: str, options: dict[str, str], line: str, original: Path, tmp_path: Path
) -> None:
    with pytest.raises((RequestError, UnsupportedError), match=line):
        convert(original, tmp_path / out, **options)  # type: ignore[arg-type]
    assert not (tmp_path / out).exists()


def test_comfyuis_layout_is_for_a_whole_wan_alone(nets: Nets, tmp_path: Path) -> None:
    file = wan_files.save(tmp_path / "dit.safetensors", nets.dit)
    with pytest.raises(UnsupportedError, match="is no folder of a Wan"):
        convert(file, tmp_path / "models", to="comfyui")
