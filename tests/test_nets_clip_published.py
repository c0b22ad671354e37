"""The published CLIPs: transformers' and OpenCLIP's to rounding through real files, and every key of the listings."""

import importlib
import importlib.metadata
import json
import lzma
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import pytest
import torch
import transformers as peers
from safetensors import safe_open
from safetensors.torch import save_file
from tests import peer_networks
from tests.networks import read_ours
from torch import Tensor, nn

from scorefield.nets import clip as published
from scorefield.nets.clip import Clip, ClipConfig, EncoderConfig, ImageEncoder, TextConfig, TextEncoder, VisionConfig
from scorefield.weights.key_map import Entry, Form, KeysError, check, needed_keys, under, write
from scorefield.weights.key_maps import clip_keys as maps

HELD = json.loads(lzma.decompress((Path(__file__).parent / "data" / "clip_keys.json.xz").read_bytes()))
LISTINGS, RENAMES = HELD["layouts"], HELD["renames"]
WHOLE = {"ViT-B-32": published.VIT_B_32, "ViT-L-14": published.VIT_L_14, "ViT-H-14": published.VIT_H_14}
ADDED = ("embedding", "pre_layrnorm", "ln_pre", "out_proj", "fc2", "c_proj")  # what makes the states
M = TypeVar("M", bound=nn.Module)
END = 57  # of the tiny vocabulary; 58 and 59 are words that textual inversion added
IDS = torch.tensor(
    [[56, 7, 58, 9, END, 0, 0, 0], [56, 30, 8, 5, 6, 59, 2, END], [56, END, END, END, END, END, END, END]]
)
TEXT = TextConfig(width=24, layers=3, heads=2, context_length=8, vocab_size=60, end_id=END)
VISION = VisionConfig(width=40, layers=2, heads=2, patch_size=7, image_size=28)
QUICK = ClipConfig(vision=VISION, text=TEXT, embed_dim=16, activation="quick_gelu")


def randomised(module: M) -> M:
    """Every weight drawn; what is added to the states is small, so that another epsilon in any norm shows."""
    source = torch.Generator().manual_seed(0)
    for name, weight in module.named_parameters():
        drawn = torch.randn(weight.shape, generator=source)
        if weight.ndim < 2:
            drawn = 0.2 * drawn + (name.endswith("weight") or name == "logit_scale")
        else:
            drawn *= weight.shape[-1] ** -0.5
        weight.data = 0.03 * drawn if any(part in name for part in ADDED) else drawn
    return module.eval()


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest error relative to the largest value."""
    assert ours.shape == theirs.shape
    assert ours.isfinite().all()
    assert theirs.isfinite().all()
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def filled(module: M, entries: Iterator[Entry], path: Path) -> M:
    """`module` with the weights of a safetensors file, every key of which is accounted for."""
    with safe_open(path, framework="pt") as file:
        listed = list(entries)
        check(listed, needed_keys(listed, file.keys()))
        module.load_state_dict(read_ours(module.state_dict(), listed, file.get_tensor), strict=True)
    return module.eval()


def peer_text(config: EncoderConfig) -> Any:
    """transformers' text encoder with the weights drawn."""
    return randomised(peer_networks.text(config))


def peer_clip(config: ClipConfig) -> Any:
    held = peers.CLIPConfig(
        text_config=peer_networks.text_config(config.text, config.embed_dim, config.activation),
        vision_config=peer_networks.vision_config(config.vision, config.embed_dim, config.activation),
        projection_dim=config.embed_dim,
    )
    return randomised(peers.CLIPModel(held))


def pixels(config: VisionConfig = VISION) -> Tensor:
    size = config.image_size
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def open_clip() -> Iterator[Any]:
    """OpenCLIP's model.py alone: the package itself imports torchvision, which its networks have no use for."""
    folder = importlib.metadata.distribution("open_clip_torch").locate_file("open_clip")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("open_clip", "torchvision", "torchvision.ops", "torchvision.ops.misc"):
            module: Any = ModuleType(name)
            module.__path__ = [str(folder)] if name == "open_clip" else []
            patch.setitem(sys.modules, name, module)
        module.FrozenBatchNorm2d = nn.Identity
        yield importlib.import_module("open_clip.model")
        for name in [name for name in sys.modules if name.startswith("open_clip.")]:
            del sys.modules[name]


def open_model(open_clip: Any, config: ClipConfig) -> Any:
    vision, text = config.vision, config.text
    model = open_clip.CLIP(
        config.embed_dim,
        open_clip.CLIPVisionCfg(
            layers=vision.layers,
            width=vision.width,
            head_width=vision.width // vision.heads,
            patch_size=vision.patch_size,
            image_size=vision.image_size,
        ),
        open_clip.CLIPTextCfg(
            context_length=text.context_length,
            vocab_size=text.vocab_size,
            width=text.width,
            heads=text.heads,
            layers=text.layers,
        ),
        quick_gelu=config.activation == "quick_gelu",
    )
    return randomised(model)


@pytest.mark.parametrize("config", [QUICK, replace(QUICK, activation="gelu")], ids=["quick_gelu", "gelu"])
@torch.no_grad()
def test_a_whole_clip_is_transformers(config: ClipConfig, tmp_path: Path) -> None:
    theirs = peer_clip(config)
    theirs.save_pretrained(tmp_path)
    ours = filled(Clip(config), maps.transformers(config), tmp_path / "model.safetensors")
    told = theirs(input_ids=IDS, pixel_values=pixels(), output_hidden_states=True)
    assert apart(ours.encode_image(pixels()), told.image_embeds) < 1e-5
    assert apart(ours.encode_text(IDS), told.text_embeds) < 1e-5
    assert apart(ours.text_hidden(IDS), told.text_model_output.last_hidden_state) < 1e-5
    assert apart(ours.vision(pixels()), told.vision_model_output.last_hidden_state) < 1e-5
    assert ours.logit_scale.equal(theirs.logit_scale)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@torch.no_grad()
def test_a_whole_clip_is_openclips(activation: Any, tmp_path: Path, open_clip: Any) -> None:
    config = replace(QUICK, activation=activation)
    theirs = open_model(open_clip, config)
    save_file(theirs.state_dict(), tmp_path / "open_clip_model.safetensors")
    ours = filled(Clip(config), maps.openai(config), tmp_path / "open_clip_model.safetensors")
    plain = IDS.clamp(max=END)  # theirs takes the largest id for the end
    assert apart(ours.encode_image(pixels()), theirs.encode_image(pixels(), normalize=True)) < 1e-5
    assert apart(ours.vision.embed(pixels()), theirs.encode_image(pixels())) < 1e-5
    assert apart(ours.encode_text(plain), theirs.encode_text(plain, normalize=True)) < 1e-5


ENCODERS = {
    "SD 1": EncoderConfig(text=TEXT),
    "SD 2": EncoderConfig(text=TEXT, embed_dim=16, activation="gelu", skip=1),
    "SD 2, 23 layers": EncoderConfig(text=replace(TEXT, layers=2), activation="gelu"),
    "SDXL": EncoderConfig(text=TEXT, skip=1, normed=False),
    "SDXL 2": EncoderConfig(text=TEXT, embed_dim=20, activation="gelu", skip=1, normed=False),
}


@pytest.mark.parametrize("config", ENCODERS.values(), ids=ENCODERS)
@torch.no_grad()
def test_a_text_encoder_is_transformers(config: EncoderConfig, tmp_path: Path) -> None:
    theirs = peer_text(config)
    theirs.save_pretrained(tmp_path)
    projected = config.embed_dim is not None
    prefix = _prefix(tmp_path / "model.safetensors")
    entries = maps.transformers_text(config.text, projected=projected, prefix=prefix)
    ours = filled(TextEncoder(config), entries, tmp_path / "model.safetensors")
    told = theirs(input_ids=IDS, output_hidden_states=True)
    states = ours.states(ours.tokens(IDS))
    assert len(states) == len(told.hidden_states) == config.text.layers + 1
    assert max(map(apart, states, told.hidden_states)) < 1e-5
    tokens, pooled = ours.condition(IDS)
    kept = told.hidden_states[-1 - config.skip]
    norm = (theirs.text_model if projected else theirs).final_layer_norm
    assert apart(tokens, norm(kept) if config.normed else kept) < 1e-5
    assert apart(pooled, told.text_embeds if projected else told.pooler_output) < 1e-5


def _prefix(path: Path) -> str:
    with safe_open(path, framework="pt") as file:
        return "text_model." if any(key.startswith("text_model.") for key in file.keys()) else ""  # noqa: SIM118


@torch.no_grad()
def test_the_penultimate_layer_of_a_single_file_is_the_last_of_the_copy(tmp_path: Path, open_clip: Any) -> None:
    theirs = open_model(open_clip, replace(QUICK, activation="gelu"))
    kept: list[Tensor] = []
    theirs.transformer.resblocks[-2].register_forward_hook(lambda _, __, out: kept.append(out))
    theirs.encode_text(IDS)
    state = {f"cond_stage_model.model.{key}": value for key, value in theirs.state_dict().items()}
    save_file({key: value for key, value in state.items() if ".visual." not in key}, tmp_path / "768.safetensors")
    whole, copy = ENCODERS["SD 2"], ENCODERS["SD 2, 23 layers"]
    ours = filled(
        TextEncoder(whole),
        under("", "cond_stage_model.model.", maps.openai_text(whole.text)),
        tmp_path / "768.safetensors",
    )
    assert apart(ours.condition(IDS)[0], theirs.ln_final(kept[0])) < 1e-5
    held = {key: value for key, value in ours.state_dict().items() if not key.startswith(("blocks.2.", "projection."))}
    shorter = TextEncoder(copy).eval()
    shorter.load_state_dict(held)
    assert shorter.condition(IDS)[0].equal(ours.condition(IDS)[0])


@torch.no_grad()
def test_skipping_a_block_is_an_encoder_that_skips_one_more_and_leaves_the_summary() -> None:
    config = ENCODERS["SD 2"]
    one, two = (TextEncoder(replace(config, skip=skip)).eval() for skip in (0, 1))
    two.load_state_dict(one.state_dict())
    skipped, summary = one.condition_of(one.tokens(IDS), IDS, clip_skip=2)
    assert skipped.equal(two.condition(IDS)[0])
    assert summary.equal(one.condition(IDS)[1])
    assert (skipped - one.condition(IDS)[0]).std() > 0.01


@torch.no_grad()
def test_an_image_encoder_with_projection_is_transformers(tmp_path: Path) -> None:
    theirs = randomised(
        peers.CLIPVisionModelWithProjection(peers.CLIPVisionConfig(**peer_networks.vision_config(VISION, 16, "gelu")))
    )
    theirs.save_pretrained(tmp_path)
    encoder = ImageEncoder(VISION, 16, "gelu")
    ours = filled(encoder, maps.transformers_vision(VISION), tmp_path / "model.safetensors")
    told = theirs(pixel_values=pixels(), output_hidden_states=True)
    assert apart(ours.embed(pixels()), told.image_embeds) < 1e-5
    assert apart(ours(pixels()), told.hidden_states[-1]) < 1e-5


@torch.no_grad()
def test_words_added_behind_the_end_token_do_not_move_the_summary() -> None:
    config = EncoderConfig(text=TEXT, embed_dim=16)
    ours = randomised(TextEncoder(config))
    assert ours.end(IDS).tolist() == [4, 7, 1]
    assert IDS.argmax(1).tolist() == [2, 5, 1]  # where older readers look


@torch.no_grad()
def test_what_fills_a_prompt_up_is_read_unless_it_is_masked() -> None:
    ours = randomised(TextEncoder(ENCODERS["SD 1"]))
    other = IDS.clone()
    other[0, 5:] = END
    assert apart(ours.condition(IDS)[0], ours.condition(other)[0]) > 1e-2
    mask = torch.arange(8) < 5
    masked = [ours.condition(ids[:1], mask[None])[0][:, :5] for ids in (IDS, other)]
    assert masked[0].equal(masked[1])


@pytest.mark.parametrize("layout", [maps.openai, maps.transformers], ids=lambda layout: layout.__name__)
def test_writing_undoes_reading_to_the_bit(layout: Any) -> None:
    ours = randomised(Clip(QUICK)).state_dict()
    entries = list(layout(QUICK))
    theirs = write(entries, ours)
    back = read_ours(ours, entries, theirs.__getitem__)
    assert back.keys() == ours.keys()
    assert all(back[name].equal(ours[name]) for name in ours)


@torch.no_grad()
def test_what_we_write_transformers_loads(tmp_path: Path) -> None:
    ours = randomised(Clip(QUICK))
    peer_clip(QUICK).save_pretrained(tmp_path)
    save_file(
        write(list(maps.transformers(QUICK)), ours.state_dict()), tmp_path / "model.safetensors", {"format": "pt"}
    )
    theirs = peers.CLIPModel.from_pretrained(tmp_path)
    told = theirs(input_ids=IDS, pixel_values=pixels())
    assert apart(told.image_embeds, ours.encode_image(pixels())) < 1e-5
    assert apart(told.text_embeds, ours.encode_text(IDS)) < 1e-5


@torch.no_grad()
def test_a_text_encoders_files_have_a_prefix_or_none(tmp_path: Path) -> None:
    config = ENCODERS["SD 1"]
    ours = randomised(TextEncoder(config))
    peer_text(config).save_pretrained(tmp_path)
    assert _prefix(tmp_path / "model.safetensors") == ""  # what transformers 5 writes; the published ones have it
    entries = list(maps.transformers_text(config.text, projected=False))
    save_file(write(entries, ours.state_dict()), tmp_path / "model.safetensors", {"format": "pt"})
    assert _prefix(tmp_path / "model.safetensors") == "text_model."
    theirs = peers.CLIPTextModel.from_pretrained(tmp_path)
    assert apart(ours.condition(IDS)[0], theirs(input_ids=IDS).last_hidden_state) < 1e-5


def test_older_files_hold_keys_that_no_network_needs(tmp_path: Path) -> None:
    entries = list(maps.transformers_text(TEXT, projected=False))
    keys = [name for entry in entries for name in entry.theirs]
    check(entries, needed_keys(entries, [*keys, "text_model.embeddings.position_ids", "logit_scale"]))
    with pytest.raises(KeysError, match=r"unknown \(text_model.embeddings.position_embedding\)"):
        check(entries, needed_keys(entries, [*keys, "text_model.embeddings.position_embedding"]))
    whole = list(maps.openai(QUICK))
    keys = [name for entry in whole for name in entry.theirs]
    check(whole, needed_keys(whole, [*keys, "input_resolution", "context_length", "vocab_size"]))
    with pytest.raises(KeysError, match=r"missing \(logit_scale\)"):
        check(whole, needed_keys(whole, [key for key in keys if key != "logit_scale"]))


def on_meta(config: ClipConfig | EncoderConfig) -> nn.Module:
    with torch.device("meta"):
        return Clip(config) if isinstance(config, ClipConfig) else TextEncoder(config)


def matches(module: nn.Module, entries: Iterator[Entry], listing: dict[str, Any]) -> None:
    """The map is a bijection of the module's state and the listing's keys, shapes and parameters included."""
    listed, ours = list(entries), module.state_dict()
    assert sum(weight.numel() for weight in ours.values()) == listing["params"]
    assert sorted(entry.ours for entry in listed) == sorted(ours)
    theirs = [name for entry in listed for name in entry.theirs]
    assert len(theirs) == len(set(theirs))
    check(listed, needed_keys(listed, listing["keys"]))
    written = write(listed, ours)
    assert {name: list(value.shape) for name, value in written.items()} == listing["keys"]


@pytest.mark.parametrize("name", WHOLE)
def test_every_key_of_a_whole_clip_is_named_in_transformers_layout(name: str) -> None:
    matches(on_meta(WHOLE[name]), maps.transformers(WHOLE[name]), LISTINGS[f"hf/{name}"])


def test_every_key_of_openclips_h_is_named() -> None:
    config = published.VIT_H_14
    matches(on_meta(config), maps.openai(config), LISTINGS["open_clip/ViT-H-14"])


PUBLISHED_TEXTS = {
    "SD1 text": (published.SD1_TEXT, 123_060_480),
    "SD2 text": (published.SD2_TEXT_23, 340_387_840),
    "Karlo text": (replace(published.SD1_TEXT, embed_dim=768), 123_650_304),
}


@pytest.mark.parametrize("name", PUBLISHED_TEXTS)
def test_every_key_of_a_text_encoder_is_named(name: str) -> None:
    config, params = PUBLISHED_TEXTS[name]
    listing = LISTINGS[f"hf/{name}"]
    assert listing["params"] == params
    prefix = "text_model." if name == "Karlo text" else ""
    entries = maps.transformers_text(config.text, projected=config.embed_dim is not None, prefix=prefix)
    matches(on_meta(config), entries, listing)


def test_the_text_of_stable_diffusion_2s_single_files_is_the_h_but_for_its_temperature() -> None:
    module = on_meta(published.SD2_TEXT)
    listing = {key: shape for key, shape in LISTINGS["open_clip/ViT-H-14"]["keys"].items() if "visual." not in key}
    del listing["logit_scale"]
    matches(module, maps.openai_text(published.SD2_TEXT.text), {"params": 354_032_640, "keys": listing})


def test_every_key_of_unclips_image_encoder_is_named() -> None:
    config = published.VIT_H_14
    with torch.device("meta"):
        encoder = ImageEncoder(config.vision, config.embed_dim, config.activation)
    matches(encoder, maps.transformers_vision(config.vision), LISTINGS["hf/unCLIP image"])


def test_every_key_of_wans_image_encoder_is_named_in_both_layouts() -> None:
    """Wan's file holds a text encoder besides, and a projection that no film depends on."""
    config, listing = published.VIT_H_14, LISTINGS["wan/clip"]
    with torch.device("meta"):
        encoder = ImageEncoder(config.vision, None, config.activation)
    needed = maps.needed_vision(listing["keys"])
    left = {key: shape for key, shape in listing["keys"].items() if key not in needed}
    assert {key.partition(".")[0] for key in left} == {"log_scale", "textual", "visual"}
    assert [key for key in left if key.startswith("visual")] == ["visual.head"]
    params = listing["params"] - sum(torch.Size(shape).numel() for shape in left.values())
    held = {key: listing["keys"][key] for key in needed}
    matches(encoder, iter(maps.stored_vision(config.vision, listing["keys"])), {"params": params, "keys": held})
    keys = dict(LISTINGS["hf/unCLIP image"]["keys"])
    del keys["visual_projection.weight"]
    for prefix in ("vision_model.", ""):
        held = {key.replace("vision_model.", prefix): shape for key, shape in keys.items()}
        entries = maps.stored_vision(config.vision, held)
        matches(encoder, iter(entries), {"params": params, "keys": held})


@torch.no_grad()
def test_the_states_before_the_last_block_are_transformers_penultimate_ones(tmp_path: Path) -> None:
    """Those that Wan reads, without the last norm."""
    theirs = randomised(peer_networks.vision(ClipConfig(vision=VISION)))
    theirs.save_pretrained(tmp_path)
    encoder, entries = ImageEncoder(VISION, None, "gelu"), maps.transformers_vision(VISION, projected=False, prefix="")
    ours = filled(encoder, entries, tmp_path / "model.safetensors")
    seen = encoder.normalised(pixels().sigmoid())
    wanted = theirs(seen, output_hidden_states=True).hidden_states[-2]
    assert apart(ours.states(seen, VISION.layers - 1), wanted) < 1e-5


@pytest.mark.parametrize("name", RENAMES)
def test_the_two_layouts_are_each_other_renamed(name: str) -> None:
    theirs = {entry.ours: entry for entry in maps.transformers(WHOLE[name])}
    made = {}
    for entry in maps.openai(WHOLE[name]):
        found = theirs[entry.ours].theirs
        marks = [f"|rows{part}" for part in range(3)] if len(found) == 3 else [_turned(entry)]
        made[entry.theirs[0]] = [key + mark for key, mark in zip(found, marks, strict=True)]
    assert made == RENAMES[name]


def _turned(entry: Entry) -> str:
    return "|T" if entry.form is Form.TRANSPOSED else ""


@pytest.mark.parametrize("name", WHOLE)
def test_the_sizes_are_those_of_openclips_configurations(name: str) -> None:
    path = importlib.metadata.distribution("open_clip_torch").locate_file(f"open_clip/model_configs/{name}.json")
    held, config = json.loads(Path(str(path)).read_text()), WHOLE[name]
    vision, text = config.vision, config.text
    assert held["embed_dim"] == config.embed_dim
    sizes = {"image_size": vision.image_size, "layers": vision.layers, "width": vision.width}
    assert held["vision_cfg"] | sizes | {"patch_size": vision.patch_size} == held["vision_cfg"]
    assert held["vision_cfg"].get("head_width", 64) == vision.width // vision.heads
    sizes = {"width": text.width, "heads": text.heads, "layers": text.layers}
    assert held["text_cfg"] == sizes | {"context_length": text.context_length, "vocab_size": text.vocab_size}


def test_only_the_h_and_the_big_g_have_the_exact_gelu() -> None:
    quick = [published.VIT_B_32, published.VIT_L_14, published.SD1_TEXT, published.SDXL_TEXT]
    exact = [published.VIT_H_14, published.SD2_TEXT, published.SD2_TEXT_23, published.SDXL_TEXT_2]
    assert {config.activation for config in quick} == {"quick_gelu"}
    assert {config.activation for config in exact} == {"gelu"}


def prompt_ids() -> Tensor:
    ids = torch.randint(0, 49406, (2, 77), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[0, 20:], ids[1, 60] = 49406, 49407, 49407
    return ids


@torch.no_grad()
def test_a_published_whole_clip_is_transformers() -> None:
    config = published.VIT_B_32
    theirs = peer_clip(config)
    ours = cast(Clip, on_meta(config))
    listed = list(maps.transformers(config))
    ours.load_state_dict(read_ours(ours.state_dict(), listed, theirs.state_dict().__getitem__), assign=True)
    told = theirs(input_ids=prompt_ids(), pixel_values=pixels(config.vision))
    assert apart(ours.eval().encode_image(pixels(config.vision)), told.image_embeds) < 1e-5
    assert apart(ours.encode_text(prompt_ids()), told.text_embeds) < 1e-5
