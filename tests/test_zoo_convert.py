"""From one layout to another and back: every tensor to the bit, every published key, and what is left is said."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests import published
from tests.published import sparse
from tests.tiny import TINY, TINY_2
from torch import Tensor, nn

from scorefield.conversion.plan import conversion
from scorefield.conversion.writer import Conversion
from scorefield.errors import DamagedError, UnsupportedError
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.nets.clip import TextEncoder
from scorefield.nets.kl import Kl
from scorefield.nets.unet import Unet
from scorefield.weights.key_map import Entry, under, write
from scorefield.weights.key_maps import clip_keys, kl_keys, unet_keys

BOTH = pytest.mark.parametrize("networks", [TINY, TINY_2], ids=["1", "2"])
MARK = {"v_pred": torch.zeros(0)}  # of one file: it predicts v
TABLES = {"betas": torch.ones(9), "model_ema.diffusion_modelout2bias": torch.ones(4)}


def random(net: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(0)
    return {name: torch.randn(one.shape, generator=source).to(dtype) for name, one in net.state_dict().items()}


def single(path: Path, networks: Networks, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A single file of random numbers, with what training leaves in it; the tensors that a model is made of."""
    if networks.openclip:
        text = ("cond_stage_model.model.", clip_keys.openai_text(networks.openclip.text), networks.openclip)
    else:
        names = clip_keys.transformers_text(networks.text.text, projected=False)
        text = ("cond_stage_model.transformer.", names, networks.text)
    parts: list[tuple[str, Iterator[Entry], nn.Module]] = [
        ("model.diffusion_model.", unet_keys.ldm(networks.unet), Unet(networks.unet)),
        ("first_stage_model.", kl_keys.ldm(networks.kl), Kl(networks.kl)),
        (text[0], text[1], TextEncoder(text[2])),
    ]
    held: dict[str, Tensor] = {}
    for prefix, entries, net in parts:
        held |= write(list(under("", prefix, entries)), random(net, dtype))
    save_file({name: tensor.clone() for name, tensor in (held | TABLES).items()}, path)
    return held


def done(made: Conversion, path: Path, dtype: torch.dtype | None = None) -> Path:
    if made.texts:
        path.mkdir()
    assert sum(made.run(path, dtype)) == made.size(dtype)
    return path


def there_and_back(path: Path, networks: Networks, tmp_path: Path) -> tuple[Path, Path]:
    """A folder of a single file, and a single file of that folder."""
    folder = done(conversion(path, to="diffusers", prediction="v", networks=networks), tmp_path / "folder")
    return folder, done(conversion(folder, to="ldm"), tmp_path / "back.safetensors")


def assert_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert tensor.isfinite().all()
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(found[name], tensor), name


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_single_file_comes_back_from_a_folder_to_the_bit(
    networks: Networks, dtype: torch.dtype, tmp_path: Path
) -> None:
    held = single(tmp_path / "x.safetensors", networks, dtype)
    _, back = there_and_back(tmp_path / "x.safetensors", networks, tmp_path)
    if networks.openclip:  # the folder has no last layer, which is not read
        gone = ("transformer.resblocks.2.", "text_projection")
        held = {name: tensor for name, tensor in held.items() if not any(one in name for one in gone)}
    assert_same(load_file(back), held | MARK)


@BOTH
def test_a_folder_comes_back_from_a_single_file_to_the_bit(networks: Networks, tmp_path: Path) -> None:
    single(tmp_path / "x.safetensors", networks)
    folder, back = there_and_back(tmp_path / "x.safetensors", networks, tmp_path)
    again = done(conversion(back, to="diffusers", networks=networks), tmp_path / "again")
    assert {file.relative_to(folder) for file in folder.rglob("*")} == {
        file.relative_to(again) for file in again.rglob("*")
    }
    for file in folder.rglob("*.*"):
        other = again / file.relative_to(folder)
        if file.suffix == ".safetensors":
            assert_same(load_file(other), load_file(file))
        else:
            assert other.read_bytes() == file.read_bytes()


def test_what_the_other_layout_has_no_place_for_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    held = single(path, TINY_2)
    held |= {"cond_stage_model.model.attn_mask": torch.ones(2), "first_stage_model.loss.logvar": torch.ones(1)}
    save_file({name: tensor.clone() for name, tensor in (held | TABLES).items()}, path)
    made = conversion(path, to="diffusers", prediction="eps", networks=TINY_2)
    assert made.left == {
        "part of Stable Diffusion 2's text encoder that it does not read": 12 + 2,
        "averaged copy of the U-Net": 1,
        "table of the training schedule": 1,
        "loss of the autoencoder's training": 1,
    }
    folder = done(made, tmp_path / "folder")
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert conversion(folder, to="ldm").left == {"safety_checker": 1}


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_become_what_is_asked_for(networks: Networks, dtype: torch.dtype, tmp_path: Path) -> None:
    held = single(tmp_path / "x.safetensors", networks)
    made = conversion(tmp_path / "x.safetensors", to="ldm", networks=networks)
    assert_same(
        load_file(done(made, tmp_path / "y.safetensors", dtype)), {name: one.to(dtype) for name, one in held.items()}
    )


def test_numbers_that_float16_cannot_hold_are_refused(tmp_path: Path) -> None:
    held = single(tmp_path / "x.safetensors", TINY)
    held["model.diffusion_model.out.2.bias"][1] = 1e5
    save_file({name: tensor.clone() for name, tensor in held.items()}, tmp_path / "x.safetensors")
    made = conversion(tmp_path / "x.safetensors", to="ldm", networks=TINY)
    with pytest.raises(
        DamagedError, match=r"model\.diffusion_model\.out\.2\.bias holds numbers that do not fit float16"
    ):
        done(made, tmp_path / "y.safetensors", torch.float16)


def test_a_ckpt_becomes_safetensors_and_what_it_predicts_is_kept(tmp_path: Path) -> None:
    held = single(tmp_path / "x.safetensors", TINY_2)
    torch.save({"state_dict": held | TABLES}, tmp_path / "x.ckpt")
    made = conversion(tmp_path / "x.ckpt", to="ldm", prediction="v", networks=TINY_2)
    back = done(made, tmp_path / "y.safetensors")
    assert_same(load_file(back), held | MARK)
    with safe_open(back, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "modelspec.prediction_type": "v"}
    folder = done(conversion(back, to="diffusers", networks=TINY_2), tmp_path / "folder")
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert (scheduler["_class_name"], scheduler["prediction_type"]) == ("DDIMScheduler", "v_prediction")


def planned(made: Conversion) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shapes that each file will have."""
    return {
        file.name: {name: one.shape for piece in file.pieces for name, one in piece.planned(None)}
        for file in made.files
    }


SHAPES = {
    "sd1": published.sd1(),
    "sd2": published.sd2(),
    "sd21-unclip-h": published.unclip("h"),
    "sd21-unclip-l": published.unclip("l"),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_every_published_key_goes_there_and_back(kind: str, tmp_path: Path) -> None:
    shapes = SHAPES[kind]
    path = sparse(tmp_path / "x.safetensors", shapes)
    made = conversion(path, to="diffusers", prediction="v" if "unclip" in kind else "eps")
    files = planned(made)
    assert files["unet/diffusion_pytorch_model.safetensors"] == published.keys(f"diffusers/{kind}/unet")
    assert files["vae/diffusion_pytorch_model.safetensors"] == published.keys("diffusers/sd1,2/vae")
    text = "sd1" if kind == "sd1" else "sd2"
    assert files["text_encoder/model.safetensors"] == published.keys(f"hf/{text}/text_encoder", "text_model.")
    if "unclip" in kind:
        whole = {"h": "hf/laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "l": "hf/openai/clip-vit-large-patch14"}[kind[-1]]
        seen = {name: shape for name, shape in published.keys(whole).items() if name.startswith("vis")}
        assert files["image_encoder/model.safetensors"] == seen
        width = {"h": 1024, "l": 768}[kind[-1]]
        known = files["image_normalizer/diffusion_pytorch_model.safetensors"]
        assert known == {"mean": (1, width), "std": (1, width)}
    folder = tmp_path / "folder"
    for name, held in files.items():
        sparse(folder / name, held)
    for name, text in made.texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (back,) = planned(conversion(folder, to="ldm")).values()
    more = {"v_pred": (0,)} if "unclip" in kind else {}
    if kind == "sd21-unclip-h":  # whose vectors were taken as they are, which the folder says in numbers
        more |= {f"noise_augmentor.data_{name}": (1, 1024) for name in ("mean", "std")}
    assert back == {name: shape for name, shape in shapes.items() if name in back} | more
    assert len(back) - len(more) == len(shapes) - sum(made.left.values())


def test_a_folder_says_in_numbers_that_vectors_of_vit_h_are_taken_as_they_are(tmp_path: Path) -> None:
    made = conversion(sparse(tmp_path / "x.safetensors", published.unclip("h")), to="diffusers")
    assert json.loads(made.texts["image_normalizer/config.json"])["embedding_dim"] == 1024
    (file,) = (one for one in made.files if one.name.startswith("image_normalizer/"))
    (piece,) = file.pieces
    found = dict(piece.tensors(torch.float16))
    assert_same(found, {"mean": torch.zeros(1, 1024).half(), "std": torch.ones(1, 1024).half()})


def test_a_model_for_inpainting_becomes_the_pipeline_for_it(tmp_path: Path) -> None:
    shapes = published.sd1() | published.keys("ldm/sd1-inpaint model.diffusion_model.", "model.diffusion_model.")
    made = conversion(sparse(tmp_path / "x.safetensors", shapes), to="diffusers")
    assert planned(made)["unet/diffusion_pytorch_model.safetensors"]["conv_in.weight"] == (320, 9, 3, 3)
    assert json.loads(made.texts["model_index.json"])["_class_name"] == "StableDiffusionInpaintPipeline"
    assert json.loads(made.texts["unet/config.json"])["in_channels"] == 9


def test_one_tensor_is_in_memory_at_once(tmp_path: Path) -> None:
    made = conversion(sparse(tmp_path / "x.safetensors", published.sd1()), to="ldm")
    (file,) = made.files
    largest = max(one.size for piece in file.pieces for _, one in piece.planned(None))
    before, most, seen = anonymous(), 0, 0
    for piece in file.pieces:
        for _, tensor in piece.tensors(None):
            seen += tensor.nbytes
            most = max(most, anonymous())
            if seen > 5e8:
                break
    assert seen > 5e8
    assert most - before < 2 * largest + 60e6


def anonymous() -> int:
    """Bytes of memory that are no file's."""
    told = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in told.splitlines() if line.startswith("RssAnon")))


def test_a_part_alone_goes_there_and_back(tmp_path: Path) -> None:
    shapes = published.keys("ldm/sd1,sd2 first_stage_model.")
    made = conversion(sparse(tmp_path / "vae.safetensors", shapes), to="diffusers")
    (files,) = planned(made).items()
    assert files == ("diffusion_pytorch_model.safetensors", published.keys("diffusers/sd1,2/vae"))
    sparse(tmp_path / "vae" / files[0], files[1])
    assert planned(conversion(tmp_path / "vae", to="ldm")) == {"": shapes}


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_what_the_file_says_of_its_prediction_is_believed(prediction: str, tmp_path: Path) -> None:
    path = sparse(tmp_path / "x.safetensors", published.sd2(), {"modelspec.prediction_type": prediction})
    made = conversion(path, to="diffusers")
    assert (
        f'"prediction_type": "{prediction.removesuffix("_prediction")}' in made.texts["scheduler/scheduler_config.json"]
    )
    assert json.loads(made.texts["unet/config.json"])["sample_size"] == (96 if prediction == "v" else 64)


def test_what_cannot_be_converted_is_one_line(tmp_path: Path) -> None:
    path = sparse(tmp_path / "x.safetensors", published.sd2())
    with pytest.raises(UnsupportedError, match=r"v for one of 768 \(prediction"):
        conversion(path, to="diffusers")
    save_file({"odd": torch.ones(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(UnsupportedError, match="is neither a Stable Diffusion nor a Wan, nor a part of one"):
        conversion(tmp_path / "odd.safetensors", to="diffusers")
    shapes = published.sd1()
    shapes["model.diffusion_model.out.2.bias"] = (5,)
    with pytest.raises(DamagedError, match=r"out\.2\.bias has shape \(5,\), where this network has \(4,\)"):
        conversion(sparse(tmp_path / "shape.safetensors", shapes), to="diffusers")
    del shapes["model.diffusion_model.out.2.bias"]
    with pytest.raises(DamagedError, match=r"1 missing \(model\.diffusion_model\.out\.2\.bias\)"):
        conversion(sparse(tmp_path / "less.safetensors", shapes), to="diffusers")


def test_what_a_conversion_left_in_other_shapes_and_names_is_written_as_usual(tmp_path: Path) -> None:
    held = single(tmp_path / "usual.safetensors", TINY)
    odd = {}
    for name, tensor in held.items():
        attention = "first_stage_model" in name and ".attn_1." in name
        name = name.replace("attn_1.proj_out", "attn_1.to_out.0").replace("attn_1.k.", "attn_1.to_k.")
        odd[name] = tensor[:, None, None] if attention and name.endswith("bias") else tensor.squeeze()
    save_file({name: tensor.contiguous() for name, tensor in odd.items()} | TABLES, tmp_path / "odd.safetensors")
    for name in ("usual", "odd"):
        file = tmp_path / f"{name}.safetensors"
        done(conversion(file, to="diffusers", prediction="eps", networks=TINY), tmp_path / name)
        done(conversion(file, to="ldm", prediction="eps", networks=TINY), tmp_path / f"{name}-again.safetensors")
    weights = "diffusion_pytorch_model.safetensors"
    for written in ("{}-again.safetensors", f"{{}}/unet/{weights}", f"{{}}/vae/{weights}"):
        usual, again = (load_file(tmp_path / written.format(name)) for name in ("usual", "odd"))
        assert usual.keys() == again.keys()
        assert all(torch.equal(tensor, again[name]) for name, tensor in usual.items())
