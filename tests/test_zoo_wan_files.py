"""Wan in separate files, as ComfyUI keeps them: found, checked against each other, and the same film to the bit."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from tests import peer_networks, wan_files
from tests.wan_files import ENCODER, MODEL, TEXT_FILE, TRANSFORMER, VAE_FILE, Nets, film

import scorefield as sf
from scorefield.api.loading import prepare
from scorefield.cli.inspect import command
from scorefield.cli.relocate import Now, lost, relocated
from scorefield.errors import DamagedError, MissingError, RequestError, UnsupportedError
from scorefield.nets.causal_vae import CausalVae
from scorefield.nets.umt5 import Umt5Config
from scorefield.nets.video_dit import VideoDit
from scorefield.weights.key_map import views, write
from scorefield.weights.key_maps import wan_keys, wan_vae_keys

pytestmark = [
    pytest.mark.filterwarnings("ignore::scorefield.notes.UnseenWarning"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def nets() -> Nets:
    return wan_files.nets()


@pytest.fixture(scope="module")
def root(nets: Nets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("comfy")
    wan_files.comfy(root, nets)
    return root


@pytest.fixture(scope="module")
def drawn(nets: Nets, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The film of the original folder."""
    made = film(sf.load(wan_files.original(tmp_path_factory.mktemp("wan") / "folder", nets), device="cpu"))
    assert made.std() > 10
    return made


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    """A copy of ComfyUI's folders, to be changed; returns the root."""
    return Path(shutil.copytree(root, tmp_path / "comfy"))


def load(root: Path, **choice: Any) -> Any:
    return sf.load(root / TRANSFORMER / MODEL, device="cpu", **choice)


def test_separate_files_in_comfyuis_folders_draw_the_film_of_the_original_folder(root: Path, drawn: np.ndarray) -> None:
    pipe = load(root)
    assert np.array_equal(film(pipe), drawn)
    choice = pipe.system.choice  # the record says which files were found
    assert (choice.vae, choice.text_encoder) == (
        str(root / "models/vae" / VAE_FILE), str(root / ENCODER / TEXT_FILE),
    )  # fmt: skip


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model."])
def test_a_prefix_before_all_names_changes_nothing(
    prefix: str, root: Path, nets: Nets, drawn: np.ndarray, tmp_path: Path
) -> None:
    path = wan_files.save(tmp_path / "a.safetensors", nets.dit, prefix)
    pipe = sf.load(path, device="cpu", vae=root / "models/vae" / VAE_FILE, text_encoder=root / ENCODER / TEXT_FILE)
    assert np.array_equal(film(pipe), drawn)


def test_files_of_other_layouts_are_found_beside_the_transformer(nets: Nets, drawn: np.ndarray, tmp_path: Path) -> None:
    """A .pth of the original, a text encoder in Wan's layout, its tokenizer in a folder next to it."""
    path = wan_files.save(tmp_path / MODEL, nets.dit)
    torch.save(dict(nets.vae), tmp_path / "Wan2.1_VAE.pth")
    wan_files.save(tmp_path / "umt5-xxl-enc-bf16.safetensors", nets.text_wan)
    (tmp_path / "umt5-xxl").mkdir()
    (tmp_path / "umt5-xxl" / "spiece.model").write_bytes(nets.spiece)
    assert np.array_equal(film(sf.load(path, device="cpu")), drawn)


def test_the_files_of_a_diffusers_folder_draw_its_film_by_themselves(nets: Nets, tmp_path: Path) -> None:
    folder = _diffusers(nets, tmp_path)
    pipe = sf.load(folder, device="cpu")
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    alone = sf.load(file, device="cpu", vae=folder, text_encoder=folder)
    assert np.array_equal(film(pipe), film(alone))
    assert pipe.system.sha256 == alone.system.sha256


def _diffusers(nets: Nets, to: Path) -> Path:
    peer = {
        "transformer": peer_networks.video_dit(dataclasses.replace(wan_files.DIT, like="diffusers")),
        "vae": peer_networks.causal_vae(wan_files.VAE),
        "text_encoder": peer_networks.umt5(wan_files.TEXT),
    }
    peer["transformer"].load_state_dict(nets.dit_diffusers)
    ours = CausalVae(wan_files.VAE)
    for key, place in views([*wan_vae_keys.original(wan_files.VAE)], ours.state_dict()).items():
        place.copy_(nets.vae[key].view(place.shape))
    peer["vae"].load_state_dict(
        {
            key: one.view(peer["vae"].state_dict()[key].shape)
            for key, one in write([*wan_vae_keys.diffusers(wan_files.VAE)], ours.state_dict()).items()
        }
    )
    peer["text_encoder"].load_state_dict(dict(nets.text), strict=False)
    for name, net in peer.items():
        net.half().save_pretrained(to / "folder" / name)
    scheduler = diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.save_pretrained(to / "folder" / "scheduler")
    (to / "folder" / "tokenizer").mkdir()
    (to / "folder" / "tokenizer" / "spiece.model").write_bytes(nets.spiece)
    index = {
        "_class_name": "WanPipeline", "transformer": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"], "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"], "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    }  # fmt: skip
    (to / "folder" / "model_index.json").write_text(json.dumps(index))
    return to / "folder"


@pytest.mark.parametrize("scale", ["scale_weight", "weight_scale"])
def test_8_bits_with_scales_draw_the_film_of_the_dequantised_weights(
    scale: str, copied: Path, nets: Nets, drawn: np.ndarray
) -> None:
    dit, exact_dit = wan_files.eight_bits(nets.dit, scale)
    text, exact_text = wan_files.eight_bits(wan_files.with_spiece(nets), scale)
    exact_text = {**exact_text, "spiece_model": text["spiece_model"]}
    assert sum(one.dtype == torch.float8_e4m3fn for one in (*dit.values(), *text.values())) > 20
    marked = {**dit, "scaled_fp8": torch.empty(2).to(torch.float8_e4m3fn)} if scale == "scale_weight" else dit
    wan_files.save(copied / TRANSFORMER / MODEL, marked, "model.diffusion_model.")
    wan_files.save(copied / ENCODER / TEXT_FILE, text)
    made = film(load(copied))
    wan_files.save(copied / TRANSFORMER / MODEL, exact_dit)
    wan_files.save(copied / ENCODER / TEXT_FILE, exact_text)
    assert np.array_equal(made, film(load(copied)))
    assert not np.array_equal(made, drawn)


def test_plain_8_bits_draw_the_film_of_their_numbers(copied: Path, nets: Nets) -> None:
    small = {key: one.to(torch.float8_e4m3fn) for key, one in nets.dit.items()}
    wan_files.save(copied / TRANSFORMER / MODEL, small)
    made = film(load(copied))
    wan_files.save(copied / TRANSFORMER / MODEL, {key: one.float() for key, one in small.items()})
    assert np.array_equal(made, film(load(copied)))


def test_two_experts_are_found_by_their_names(copied: Path, nets: Nets) -> None:
    (copied / TRANSFORMER / MODEL).unlink()
    high = wan_files.save(copied / TRANSFORMER / "wan2.2_t2v_high_noise_14B_fp16.safetensors", nets.dit)
    with pytest.raises(MissingError, match=r"the other, wan2.2_t2v_low_noise_14B_fp16.safetensors, is not beside it"):
        sf.load(high, device="cpu")
    low = wan_files.save(high.with_name(high.name.replace("high", "low")), {k: 0.9 * v for k, v in nets.dit.items()})
    one, other = sf.load(high, device="cpu"), sf.load(low, device="cpu")
    assert one.system.sha256 == other.system.sha256
    (stage,) = one.system.stages
    assert stage.spec.boundary == 875
    patches = [net.patch.weight for net in (stage.denoiser.net.high, stage.denoiser.net.low)]
    assert torch.allclose(0.9 * patches[0], patches[1], rtol=1e-2)


def test_a_record_names_its_files_and_a_moved_one_is_said_with_its_option(copied: Path) -> None:
    request = load(copied).plan(wan_files.PROMPT, **wan_files.SIZE).request
    moved = (copied / ENCODER / TEXT_FILE).rename(copied / "text.safetensors")
    with pytest.raises(MissingError) as caught:
        prepare(request)
    assert "if it was moved, give its new path with --text-encoder" in str(lost(request, caught.value))
    now: Now = {
        "model": None, "device": None, "vae": None, "text_encoder": str(moved), "image_encoder": None,
        "lora": (), "embedding": (),
        "image": None, "last_image": None, "mask": None, "image_prompt": None,
    }  # fmt: skip
    assert prepare(relocated(request, now)).plan.request.text_encoder == str(moved)


# What is wrong with the files, and the one line that says so.


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (
            f"models/vae/{VAE_FILE}",
            r"its autoencoder was not found: give it with --vae, or put wan_2.1_vae.safetensors",
        ),
        (
            f"{ENCODER}/{TEXT_FILE}",
            r"its text encoder was not found: give it with --text-encoder, or put umt5_xxl_fp16",
        ),
    ],
)
def test_a_file_that_is_not_found_says_where_it_was_looked_for(file: str, line: str, copied: Path) -> None:
    (copied / file).unlink()
    with pytest.raises(MissingError, match=line) as caught:
        load(copied)
    assert str((copied / file).parent) in str(caught.value)
    assert str(copied / TRANSFORMER) in str(caught.value)


def test_a_text_encoder_without_a_tokenizer_says_where_to_get_one(copied: Path, nets: Nets) -> None:
    wan_files.save(copied / ENCODER / TEXT_FILE, nets.text)
    with pytest.raises(
        MissingError, match=r"has no tokenizer in it, and .* no folder google/umt5-xxl; take umt5_xxl_fp16"
    ):
        load(copied)
    odd = {**nets.text, "spiece_model": torch.zeros(4, 4)}
    wan_files.save(copied / ENCODER / TEXT_FILE, odd)
    with pytest.raises(DamagedError, match=r"its tokenizer \(spiece_model\) is damaged"):
        load(copied)


def test_a_text_encoder_of_another_model_is_refused_by_name(copied: Path, nets: Nets) -> None:
    text, place = copied / ENCODER / TEXT_FILE, "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"
    t5 = {key: one for key, one in nets.text.items() if key != place}  # T5 has that of the first layer alone
    wan_files.save(text, t5)
    with pytest.raises(
        UnsupportedError, match=r"is text encoder \(the T5 of Flux .*, not UMT5, the text encoder of Wan"
    ):
        load(copied)
    with pytest.raises(UnsupportedError, match=r"is autoencoder \(Wan 2.1 VAE\), not UMT5"):
        load(copied, text_encoder=copied / "models/vae" / VAE_FILE)
    with pytest.raises(UnsupportedError, match=r"is text encoder .*, not an autoencoder of Wan"):
        load(copied, vae=text)
    narrow = Umt5Config(vocab_size=128, width=2048, layers=2, heads=2, head_width=8, mlp_width=16)
    torch.manual_seed(0)
    wan_files.save(
        text, {key: one for key, one in peer_networks.umt5(narrow).state_dict().items() if "embed_" not in key}
    )
    with pytest.raises(UnsupportedError, match=r"gives tokens of width 2048, and the transformer of .* reads 4096"):
        load(copied)


def test_an_original_folder_with_the_text_encoder_of_another_model_is_refused(nets: Nets, tmp_path: Path) -> None:
    folder = wan_files.original(tmp_path / "wan", nets)
    place = "blocks.1.pos_embedding.embedding.weight"
    t5 = {key: one for key, one in nets.text_wan.items() if key != place}
    torch.save(t5, folder / "models_t5_umt5-xxl-enc-bf16.pth")
    with pytest.raises(UnsupportedError, match="not UMT5, the text encoder of Wan; take umt5_xxl_fp16"):
        sf.load(folder, device="cpu")


class _Code:
    def __reduce__(self) -> Any:
        return print, ("run",)


def test_a_cut_pth_and_one_with_code_in_it_are_one_line(nets: Nets, tmp_path: Path, capfd: Any) -> None:
    folder = wan_files.original(tmp_path / "wan", nets)
    vae = folder / "Wan2.1_VAE.pth"
    whole = vae.read_bytes()
    vae.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match=r"Wan2.1_VAE.pth is damaged, cut off, or not a weights file"):
        sf.load(folder, device="cpu")
    torch.save({"conv1.weight": torch.zeros(2), "x": _Code()}, vae)
    with pytest.raises(UnsupportedError, match="needs print to be loaded, and code in a file is never run"):
        sf.load(folder, device="cpu")
    assert "run" not in capfd.readouterr().out
    vae.write_bytes(whole)
    (folder / "models_t5_umt5-xxl-enc-bf16.pth").unlink()
    with pytest.raises(MissingError, match=r"lacks models_t5_umt5-xxl-enc-bf16.pth"):
        sf.load(folder, device="cpu")


def test_a_missing_shard_is_named(nets: Nets, tmp_path: Path) -> None:
    folder = wan_files.original(tmp_path / "wan", nets)
    file = folder / "diffusion_pytorch_model.safetensors"
    shards = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    keys = list(load_file(file))
    halves = {shards[0]: keys[::2], shards[1]: keys[1::2]}
    for name, half in halves.items():
        wan_files.save(folder / name, {key: nets.dit[key] for key in half})
    file.unlink()
    index = {"metadata": {}, "weight_map": {key: name for name, half in halves.items() for key in half}}
    (folder / f"{file.name}.index.json").write_text(json.dumps(index))
    assert sf.load(folder, device="cpu").system.stages  # whole, it loads
    (folder / shards[1]).unlink()
    with pytest.raises(MissingError, match=f"names missing shards: '{shards[1]}'"):
        sf.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("blocks.1.ffn.2.bias", "the video transformer: the file's keys are not those of this network: 1 missing"),
        ("vace_blocks.0.before_proj.weight", "1 unknown"),
    ],
)
def test_a_transformer_that_lacks_a_tensor_or_has_another_is_refused(
    key: str, line: str, copied: Path, nets: Nets
) -> None:
    changed = dict(nets.dit)
    if changed.pop(key, None) is None:
        changed[key] = torch.zeros(2, 2)
    wan_files.save(copied / TRANSFORMER / MODEL, changed)
    with pytest.raises(DamagedError, match=line):
        load(copied)


@pytest.mark.parametrize(
    ("channels", "line"),
    [
        (36, "draws films from pictures without an image encoder: as one of two transformers of a Wan 2.2"),
        (20, "reads 20 channels; a Wan reads 16, or with a picture 36"),
    ],
)
def test_a_transformer_of_another_task_is_refused(channels: int, line: str, copied: Path) -> None:
    config = dataclasses.replace(wan_files.DIT, in_channels=channels)
    wan_files.save(copied / TRANSFORMER / MODEL, write([*wan_keys.original(config)], VideoDit(config).state_dict()))
    with pytest.raises(UnsupportedError, match=line):
        load(copied)


def test_a_model_from_words_takes_no_image_encoder(root: Path) -> None:
    with pytest.raises(RequestError, match="reads no image encoder"):
        load(root, image_encoder=root / "models/vae" / VAE_FILE)


def test_the_parts_alone_are_no_model(root: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"is not a whole model but autoencoder \(Wan 2.1 VAE\)"):
        sf.load(root / "models/vae" / VAE_FILE, device="cpu")
    with pytest.raises(RequestError, match="--text-encoder applies to checkpoint files only"):
        sf.load("scenes", text_encoder=root / ENCODER / TEXT_FILE)


@pytest.mark.parametrize(
    ("file", "lines"),
    [
        (f"{TRANSFORMER}/{MODEL}", ("video transformer, Wan, Wan layout", "blocks 2", "text width 4096")),
        (f"models/vae/{VAE_FILE}", ("autoencoder, Wan 2.1 VAE, Wan layout", "channels 16")),
        (f"{ENCODER}/{TEXT_FILE}", ("text encoder, UMT5, transformers layout", "tokenizer in the file")),
    ],
)
def test_inspect_says_what_such_a_file_is(file: str, lines: tuple[str, ...], root: Path) -> None:
    told = CliRunner().invoke(command, [str(root / file)])
    assert told.exit_code == 0
    assert all(line in told.output for line in lines), told.output
