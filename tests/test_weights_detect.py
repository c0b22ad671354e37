"""What a file of weights is, by names and shapes: every published layout that is read here, and its neighbours."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from tests.published import PARAMS, H, Shapes, keys, pipeline, sd1, sd2

from scorefield.errors import ScorefieldError
from scorefield.families.scenes import build_scenes
from scorefield.weights import scorefield_file
from scorefield.weights.checkpoint import Reader
from scorefield.weights.detect.identify import identify_file, identify_folder
from scorefield.weights.detect.identity import Family, Kind, Layout, Task, UnknownIdentity
from scorefield.weights.model_files import is_diffusers_folder
from scorefield.weights.tensor_index import Plain, Stored, TensorIndex, read_folder
from scorefield.weights.torch_pickle import read_index as pickled


def _listing(shapes: Shapes, values: Mapping[str, Plain], metadata: Mapping[str, str]) -> TensorIndex:
    path = Path("x.safetensors")
    tensors = {key: Stored("I64" if key.endswith("position_ids") else "F16", shape) for key, shape in shapes.items()}
    return TensorIndex(path=path, form="safetensors", tensors=tensors, metadata=metadata, values=values)


def _found(shapes: Shapes, values: Mapping[str, Plain] | None = None, metadata: Mapping[str, str] | None = None) -> Any:
    return identify_file(_listing(shapes, values or {}, metadata or {}))


def _with(shapes: Shapes, key: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    assert key in shapes
    return {**shapes, key: shape}


def test_a_checkpoint_of_stable_diffusion_1() -> None:
    found = _found(sd1())
    assert (found.kind, found.family, found.layout) == (Kind.CHECKPOINT, Family.SD1, Layout.LDM)
    assert (found.task, found.ema, found.missing, found.notes) == (Task.TEXT, False, (), ())
    assert {name: part.numbers for name, part in found.parts.items()} == {
        "unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480,
    }  # fmt: skip
    assert found.parts["unet"].prefix == "model.diffusion_model."
    assert found.prediction is not None
    assert found.prediction.value == "eps"


def test_a_checkpoint_of_stable_diffusion_2_does_not_tell_its_prediction() -> None:
    found = _found(sd2())
    assert (found.kind, found.family, found.layout) == (Kind.CHECKPOINT, Family.SD2, Layout.LDM)
    assert {name: part.numbers for name, part in found.parts.items()} == {
        "unet": 865_910_724, "vae": 83_653_863, "text_encoder": 354_032_641,
    }  # fmt: skip
    assert found.prediction is not None
    assert found.prediction.value is None
    assert "say eps for a model of 512 pixels" in found.prediction.why


@pytest.mark.parametrize(("step", "value"), [(875000, "eps"), (110000, "v"), (840000, None), ("875000", None)])
def test_the_step_of_a_ckpt_tells_the_prediction_of_stable_diffusion_2(step: Plain, value: str | None) -> None:
    found = _found(sd2(), {"global_step": step})
    assert found.prediction is not None
    assert found.prediction.value == value


def test_what_metadata_and_markers_say_of_the_prediction_is_believed() -> None:
    for said, value in (("epsilon", "eps"), ("v", "v"), ("other", None)):
        found = _found(sd2(), metadata={"modelspec.prediction_type": said})
        assert found.prediction is not None
        assert found.prediction.value == value
    marked = _found(sd1() | {"v_pred": ()})
    assert marked.prediction is not None
    assert marked.prediction.value == "v"
    assert not marked.zero_snr
    assert _found(sd1() | {"v_pred": (), "ztsnr": ()}).zero_snr


@pytest.mark.parametrize(
    ("channels", "task"),
    [(4, Task.TEXT), (9, Task.INPAINTING), (5, Task.DEPTH), (8, Task.EDITING), (6, None)],
)
@pytest.mark.parametrize("layout", ["ldm", "diffusers"])
def test_the_channels_in_tell_the_task(layout: str, channels: int, task: Task | None) -> None:
    if layout == "ldm":
        shapes = _with(sd2(), "model.diffusion_model.input_blocks.0.0.weight", (320, channels, 3, 3))
    else:
        shapes = _with(keys("diffusers/sd2/unet"), "conv_in.weight", (320, channels, 3, 3))
    found = _found(shapes)
    assert (found.family, found.task, found.channels) == (Family.SD2, task, channels)


def test_the_published_inpainting_model_has_nine_channels() -> None:
    found = _found(keys("ldm/sd1-inpaint model.diffusion_model."))
    assert (found.kind, found.family, found.task) == (Kind.UNET, Family.SD1, Task.INPAINTING)


def test_the_upscaler_has_seven_channels_and_an_embedding_of_the_noise_level() -> None:
    shapes = _with(keys("diffusers/sd2/unet"), "conv_in.weight", (256, 7, 3, 3))
    found = _found(shapes | {"class_embedding.weight": (1000, 1024)})
    assert (found.family, found.task, found.notes) == (Family.SD2, Task.UPSCALING, ())
    assert found.prediction is not None
    assert found.prediction.value == "v"
    assert _found(shapes).family is Family.UNKNOWN


@pytest.mark.parametrize(("size", "family"), [("h", Family.UNCLIP_H), ("l", Family.UNCLIP_L)])
def test_unclip_models(size: str, family: Family) -> None:
    for name in (f"ldm/sd21-unclip-{size} model.diffusion_model.", f"diffusers/sd21-unclip-{size}/unet"):
        found = _found(keys(name))
        assert (found.kind, found.family, found.task, found.notes) == (Kind.UNET, family, Task.VARIATION, ())
        assert found.prediction is not None
        assert found.prediction.value == "v"
    checkpoint = sd2(f"ldm/sd21-unclip-{size} model.diffusion_model.") | {"embedder.model.visual.proj": (1280, 1024)}
    checkpoint |= {"noise_augmentor.data_mean": (1, 1024), "noise_augmentor.data_std": (1, 1024)}
    found = _found(checkpoint)
    assert (found.kind, found.family, found.missing) == (Kind.CHECKPOINT, family, ())
    assert {"image_encoder", "noise_augmentor"} <= found.parts.keys()


def _sdxl() -> dict[str, tuple[int, ...]]:
    unet, words = "model.diffusion_model.", "conditioner.embedders."
    return {
        f"{unet}input_blocks.0.0.weight": (320, 4, 3, 3),
        f"{unet}middle_block.0.in_layers.0.weight": (1280,),
        f"{unet}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
        f"{unet}label_emb.0.0.weight": (1280, 2816),
        "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
        f"{words}0.transformer.text_model.embeddings.token_embedding.weight": (49408, 768),
        f"{words}1.model.token_embedding.weight": (49408, 1280),
    }


def test_a_checkpoint_of_stable_diffusion_xl() -> None:
    found = _found(_sdxl())
    assert (found.kind, found.family, found.layout, found.missing) == (Kind.CHECKPOINT, Family.SDXL, Layout.LDM, ())
    assert list(found.parts) == ["unet", "vae", "text_encoder", "text_encoder_2"]
    second = {key: shape for key, shape in _sdxl().items() if "embedders.1" not in key}
    assert _found(second).missing == ("text_encoder_2",)


def test_the_averaged_copy_is_seen_and_its_two_counters_alone_are_none() -> None:
    ema = {"model_ema." + key.removeprefix("model.").replace(".", ""): shape for key, shape in sd1().items()
           if key.startswith("model.")}  # fmt: skip
    assert "model_ema.diffusion_modelinput_blocks00weight" in ema
    found = _found(sd1() | ema)
    assert found.ema
    assert found.parts["unet_ema"].numbers == found.parts["unet"].numbers
    assert not _found(sd1()).ema


def test_a_checkpoint_without_a_part_says_which() -> None:
    lacking = {key: shape for key, shape in sd1().items() if not key.startswith("first_stage_model.")}
    assert _found(lacking).missing == ("vae",)


def test_a_unet_with_tensors_more_or_less_is_noted() -> None:
    shapes = keys("diffusers/sd1/unet")
    shapes.popitem()
    assert _found(shapes).notes == ("its U-Net has 685 tensors where the published one has 686",)


def test_a_unet_of_other_widths_is_of_no_family_and_resembles_one() -> None:
    shapes = {key: tuple(max(1, side // 10) for side in shape) for key, shape in keys("diffusers/sd1/unet").items()}
    found = _found(shapes)
    assert (found.kind, found.family, found.layout) == (Kind.UNET, Family.UNKNOWN, Layout.DIFFUSERS)
    assert found.resembles == "Stable Diffusion of other widths"
    assert found.prediction is not None
    assert found.prediction.value is None


@pytest.mark.parametrize(
    ("name", "family"), [("diffusers/sd1/unet", Family.SD1), ("diffusers/sd2/unet", Family.SD2)],
)  # fmt: skip
def test_a_lone_unet_of_diffusers(name: str, family: Family) -> None:
    found = _found(keys(name))
    assert (found.kind, found.family, found.layout, found.task) == (Kind.UNET, family, Layout.DIFFUSERS, Task.TEXT)
    assert found.parts["unet"].numbers == PARAMS[name]


@pytest.mark.parametrize(
    ("name", "prefix", "layout"),
    [
        ("diffusers/sd1,2/vae", "", Layout.DIFFUSERS),
        ("ldm/sd1,sd2 first_stage_model.", "", Layout.LDM),
        ("ldm/sd1,sd2 first_stage_model.", "first_stage_model.", Layout.LDM),
    ],
)
def test_a_lone_autoencoder(name: str, prefix: str, layout: Layout) -> None:
    found = _found(keys(name, prefix))
    assert (found.kind, found.family, found.layout) == (Kind.VAE, Family.KL_F8, layout)
    assert (found.parts["vae"].numbers, found.parts["vae"].prefix) == (83_653_863, prefix)
    assert any("Stable Diffusion XL has the same shapes" in note for note in found.notes)


def test_an_autoencoder_with_the_old_names_of_attention_says_so() -> None:
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    shapes = {}
    for key, shape in keys("diffusers/sd1,2/vae").items():
        for new, old in names.items():
            key = key.replace(f".{new}.", f".{old}.")
        shapes[key] = shape
    assert any("older diffusers" in note for note in _found(shapes).notes)


@pytest.mark.parametrize(
    ("name", "layout", "family", "gelu"),
    [
        ("openai/ViT-B-32.pt", Layout.OPENAI, Family.VIT_B_32, False),
        ("openai/ViT-L-14.pt", Layout.OPENAI, Family.VIT_L_14, False),
        (H, Layout.OPENAI, Family.VIT_H_14, True),
        ("hf/openai/clip-vit-base-patch32", Layout.TRANSFORMERS, Family.VIT_B_32, False),
        ("hf/openai/clip-vit-large-patch14", Layout.TRANSFORMERS, Family.VIT_L_14, False),
        ("hf/laion/CLIP-ViT-H-14-laion2B-s32B-b79K", Layout.TRANSFORMERS, Family.VIT_H_14, True),
    ],
)
def test_a_whole_clip(name: str, layout: Layout, family: Family, gelu: bool) -> None:
    found = _found(keys(name))
    assert (found.kind, found.family, found.layout) == (Kind.CLIP, family, layout)
    numbers = {name: part.numbers for name, part in found.parts.items()}
    assert numbers.keys() == {"text_encoder", "image_encoder"}
    projections = [shape for key, shape in keys(name).items() if key.endswith("_projection.weight")]
    beside = 1 + sum(rows * columns for rows, columns in projections)  # the temperature and the projections
    assert sum(numbers.values()) + (beside if layout is Layout.TRANSFORMERS else 0) == PARAMS[name]
    assert any("QuickGELU" in note for note in found.notes) != gelu


def test_weights_of_openai_itself_need_no_word_of_the_activation() -> None:
    scalars = dict.fromkeys(("input_resolution", "context_length", "vocab_size"), ())
    assert _found(keys("openai/ViT-B-32.pt") | scalars).notes == ()


@pytest.mark.parametrize("prefix", ["", "text_model."])
@pytest.mark.parametrize(
    ("name", "family", "layers"),
    [("hf/sd1/text_encoder", Family.VIT_L_14, 12), ("hf/sd2/text_encoder", Family.VIT_H_14, 23)],
)
def test_a_lone_text_encoder(name: str, prefix: str, family: Family, layers: int) -> None:
    found = _found(keys(name, prefix))
    assert (found.kind, found.family, found.layout) == (Kind.CLIP, family, Layout.TRANSFORMERS)
    assert found.parts["text_encoder"].numbers == PARAMS[name]
    assert found.text.layers == layers
    assert any("23 of 24 layers" in note for note in found.notes) == (layers == 23)


def test_a_lone_image_encoder() -> None:
    found = _found(keys("hf/karlo/image_encoder"))
    assert (found.kind, found.family) == (Kind.CLIP, Family.VIT_L_14)
    assert list(found.parts) == ["image_encoder"]


def _lora(names: tuple[str, str], width: int, rank: int = 8) -> Shapes:
    down, up = names
    return {down: (rank, width), up: (320, rank)}


KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
BLOCK = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2"


@pytest.mark.parametrize(
    ("width", "family"), [(768, Family.SD1), (1024, Family.SD2), (2048, Family.SDXL), (32, Family.UNKNOWN)]
)
@pytest.mark.parametrize(
    ("names", "layout"),
    [
        ((f"{KOHYA}.lora_down.weight", f"{KOHYA}.lora_up.weight"), Layout.KOHYA),
        ((f"{BLOCK}.to_k.lora_A.weight", f"{BLOCK}.to_k.lora_B.weight"), Layout.PEFT),
        ((f"{BLOCK}.to_k.lora_A.default.weight", f"{BLOCK}.to_k.lora_B.default.weight"), Layout.PEFT),
        ((f"{BLOCK}.processor.to_k_lora.down.weight", f"{BLOCK}.processor.to_k_lora.up.weight"), Layout.OLD_DIFFUSERS),
        ((f"{BLOCK}.to_k.lora.down.weight", f"{BLOCK}.to_k.lora.up.weight"), Layout.OLD_DIFFUSERS),
    ],
)
def test_a_lora(names: tuple[str, str], layout: Layout, width: int, family: Family) -> None:
    found = _found(_lora(names, width))
    assert (found.kind, found.layout, found.family) == (Kind.LORA, layout, family)
    assert (found.ranks, found.layers, list(found.parts)) == ((8,), 1, ["unet"])


def test_a_lora_of_the_text_encoder_alone_and_of_several_ranks() -> None:
    te = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    shapes = {f"{te}.lora_down.weight": (4, 1024), f"{te}.lora_up.weight": (1024, 4), f"{te}.alpha": ()}
    assert (_found(shapes).family, list(_found(shapes).parts)) == (Family.SD2, ["text_encoder"])
    found = _found({**shapes, **_lora((f"{KOHYA}.lora_down.weight", f"{KOHYA}.lora_up.weight"), 768, 16)})
    assert found.ranks == (4, 16)
    assert found.family is Family.SD1  # what reads the words is asked first


def test_lycoris_is_told_from_lora() -> None:
    shapes = {f"{KOHYA}.hada_w1_a": (320, 8), f"{KOHYA}.hada_w1_b": (8, 768), f"{KOHYA}.alpha": ()}
    found = _found(shapes)
    assert (found.kind, found.layout, found.family) == (Kind.LORA, Layout.LYCORIS, Family.SD1)


@pytest.mark.parametrize(
    ("shapes", "values", "layout", "token", "vectors", "family"),
    [
        ({"<cat-toy>": (768,)}, {}, Layout.DIFFUSERS, "<cat-toy>", 1, Family.SD1),
        ({"<cat-toy>": (4, 1024)}, {}, Layout.DIFFUSERS, "<cat-toy>", 4, Family.SD2),
        ({"emb_params": (2, 768)}, {}, Layout.BARE, None, 2, Family.SD1),
        ({"": (768,)}, {}, Layout.BARE, None, 1, Family.SD1),
        ({"string_to_token.*": (), "string_to_param.*": (3, 768)}, {"name": "cat"}, Layout.A1111, "cat", 3, Family.SD1),
        ({"string_to_param.*": (1, 1024)}, {"name": None}, Layout.A1111, None, 1, Family.SD2),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, {}, Layout.BARE, None, 2, Family.SDXL),
    ],
)
def test_a_textual_inversion_in_each_published_form(
    shapes: Shapes, values: Mapping[str, Plain], layout: Layout, token: str | None, vectors: int, family: Family
) -> None:
    found = _found(shapes, values)
    assert (found.kind, found.layout, found.family) == (Kind.EMBEDDING, layout, family)
    (word,) = found.words
    assert (word.token, word.vectors) == (token, vectors)
    assert word.widths == ((768, 1280) if family is Family.SDXL else next(iter(reversed(shapes.values())))[-1:])
    assert bool(found.notes) == (token is None)


def test_a_textual_inversion_for_the_embedded_model_is_told_by_its_width() -> None:
    text = scorefield_file.read_header(build_scenes.ASSETS / build_scenes.CLIP).config["text"]
    assert isinstance(text, dict)
    found = _found({"<cup>": (2, cast(int, text["width"]))})
    assert (found.kind, found.family, found.words[0].token) == (Kind.EMBEDDING, Family.SCOREFIELD, "<cup>")


def test_textual_inversions_are_seen_in_real_files(tmp_path: Path) -> None:
    torch.save({"<birb-style>": torch.zeros(768)}, tmp_path / "learned_embeds.bin")
    torch.save(torch.zeros(1, 768), tmp_path / "bare.pt")
    star = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.zeros(2, 768))})
    old = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": star, "name": "birb"}
    torch.save(old, tmp_path / "embeddings.pt")
    seen = {file.name: identify_file(Reader(file).index) for file in tmp_path.iterdir()}
    assert all(found.kind is Kind.EMBEDDING and found.family is Family.SD1 for found in seen.values())
    assert {name: found.words[0].token for name, found in seen.items()} == {
        "learned_embeds.bin": "<birb-style>", "bare.pt": None, "embeddings.pt": "birb",
    }  # fmt: skip


@pytest.mark.parametrize(
    "shapes", [{"weight": (3, 768)}, {"x": (3, 768, 1)}, {"x": (5000, 768)}, {"x": (8,)}, {"x": ()}]
)
def test_what_only_looks_like_a_textual_inversion_is_unknown(shapes: Shapes) -> None:
    assert _found(shapes).kind is Kind.UNKNOWN


def test_our_own_files_are_known_by_their_header(tmp_path: Path) -> None:
    path = scorefield_file.save(
        tmp_path / "x.safetensors", {"a": torch.zeros(3)}, scorefield_file.Header(kind="generator", config={})
    )
    found = identify_file(Reader(path).index)
    assert (found.kind, found.family, list(found.parts)) == (Kind.OWN, Family.SCOREFIELD, ["generator"])
    with pytest.raises(ScorefieldError, match="has a scorefield header that cannot be read"):
        _found({"a": (3,)}, metadata={"scorefield": "{}"})


@pytest.mark.parametrize(
    ("name", "looks"),
    [
        ("adm/64x64_diffusion.pt", "a U-Net of guided diffusion (ADM)"),
        ("glide/base.pt", "a GLIDE U-Net"),
        ("karlo/prior (model.)", "a Karlo prior"),
        ("karlo/decoder (model.)", "a Karlo decoder"),
        ("diffusers/karlo/prior", "a Karlo prior in the diffusers layout"),
        ("diffusers/karlo/super_res", "a DDPM U-Net in the diffusers layout"),
        ("ermongroup-ddim/cifar10", "a DDPM U-Net in the layout of ermongroup/ddim"),
        ("diffusers/google/ddpm-cifar10-32", "a DDPM U-Net in the diffusers layout"),
        ("score_sde/ve.celebahq_256_ncsnpp_continuous", "a U-Net of score_sde"),
    ],
)
def test_an_unknown_file_says_what_it_resembles(name: str, looks: str) -> None:
    found = _found(keys(name))
    assert (found.kind, found.family, found.resembles) == (Kind.UNKNOWN, Family.UNKNOWN, looks)


@pytest.mark.parametrize(
    ("name", "kind", "family", "layout", "sizes"),
    [
        ("wan/T2V-1.3B", Kind.TRANSFORMER, Family.WAN_1_3B, Layout.WAN, {"width": 1536, "depth": 30}),
        ("diffusers/wan2.1-t2v-1.3b/transformer", Kind.TRANSFORMER, Family.WAN_1_3B, Layout.DIFFUSERS,
         {"mlp_width": 8960, "text_width": 4096, "time_features": 256, "patch_size": (1, 2, 2)}),
        ("wan/Wan2.1_VAE.pth", Kind.VAE, Family.WAN_VAE, Layout.WAN,
         {"multipliers": (1, 2, 4, 4), "halves_time": (False, True, True), "decoder_width": 96, "resblocks": 2}),
        ("hf/umt5-xxl encoder", Kind.TEXT_ENCODER, Family.UMT5, Layout.TRANSFORMERS,
         {"layers": 24, "tokenizer": False}),
        ("wan/models_t5_umt5-xxl-enc-bf16.pth", Kind.TEXT_ENCODER, Family.UMT5, Layout.WAN,
         {"vocab_size": 256384, "heads": 64, "head_width": 64, "mlp_width": 10240}),
    ],
)  # fmt: skip
def test_the_networks_of_wan_are_known_with_their_sizes(
    name: str, kind: Kind, family: Family, layout: Layout, sizes: Mapping[str, Any]
) -> None:
    found = _found(keys(name))
    assert (found.kind, found.family, found.layout) == (kind, family, layout)
    assert {size: getattr(found, size) for size in sizes} == sizes


def test_comfyuis_prefix_does_not_make_a_wan_a_stable_diffusion() -> None:
    prefix = "model.diffusion_model."
    found = _found({prefix + key: shape for key, shape in keys("wan/T2V-1.3B").items()})
    assert (found.kind, found.family, found.prefix) == (Kind.TRANSFORMER, Family.WAN_1_3B, prefix)


def test_the_t5_of_other_models_is_not_umt5() -> None:
    shapes = {
        key: shape for key, shape in keys("hf/umt5-xxl encoder").items() if "block.0." in key or "bias" not in key
    }
    found = _found(shapes)
    assert (found.kind, found.family) == (Kind.TEXT_ENCODER, Family.UNKNOWN)
    assert found.resembles == "the T5 of Flux and Stable Diffusion 3"


def test_a_file_that_resembles_nothing_says_nothing() -> None:
    assert _found({"layer1.weight": (3, 3), "layer2.weight": (3, 3)}) == UnknownIdentity()


def test_a_pipeline_is_known_by_its_unet_and_its_scheduler(tmp_path: Path) -> None:
    for said, value in (("v_prediction", "v"), ("epsilon", "eps"), (None, "eps"), ("sample", None)):
        folder = pipeline(tmp_path / str(said), said)
        assert is_diffusers_folder(folder)
        found = identify_folder(read_folder(folder, pickled=pickled))
        assert (found.kind, found.family, found.layout) == (Kind.PIPELINE, Family.SD2, Layout.DIFFUSERS)
        assert (sorted(found.parts), found.missing) == (["text_encoder", "unet", "vae"], ())
        assert found.prediction is not None
        assert found.prediction.value == value


def test_a_pipeline_says_which_parts_are_missing_and_needs_no_safety_checker(tmp_path: Path) -> None:
    folder = pipeline(tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "vae").rmdir()
    (folder / "tokenizer").rmdir()
    held = read_folder(folder, pickled=pickled)
    assert held.missing == ("tokenizer", "vae")
    assert identify_folder(held).missing == ("tokenizer", "vae")


def test_a_pipeline_with_a_variant_gives_the_plain_file_where_there_is_none(tmp_path: Path) -> None:
    folder = pipeline(tmp_path)
    save_file({"half": torch.zeros(3).half()}, folder / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    held = read_folder(folder, "fp16", pickled=pickled)
    assert list(held.parts["vae"].tensors) == ["half"]
    assert list(held.parts["text_encoder"].tensors) == ["b"]
    with pytest.raises(ScorefieldError, match=r"has no weights of variant bf16; its variants: fp16, the plain one$"):
        read_folder(folder, "bf16", pickled=pickled)


@pytest.mark.parametrize("name", ["..", "../unet", "a/b", "/etc", "."])
def test_no_part_of_a_pipeline_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({name: ["diffusers", "AutoencoderKL"]}))
    with pytest.raises(ScorefieldError, match="is damaged"):
        read_folder(tmp_path, pickled=pickled)
