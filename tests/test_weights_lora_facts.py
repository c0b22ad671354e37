"""LoRA files: every layer by its names, and what a file is without loading it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from tests.loras import DOWN, LAYOUTS, MAGNITUDE, MLP, UP, Q, kohya, pair, told
from tests.published import keys
from torch import Tensor

from scorefield.nets.clip import BIG_G_TEXT, SD1_TEXT, SD2_TEXT_23
from scorefield.nets.unet import SD1, SD2, SDXL
from scorefield.weights.checkpoint import Reader
from scorefield.weights.detect.identify import identify_file
from scorefield.weights.detect.identity import Family, Kind, Layout
from scorefield.weights.key_map import Entry
from scorefield.weights.key_maps import clip_keys, unet_keys
from scorefield.weights.lora.lora_keys import TEXT, TEXT_2, UNET
from scorefield.weights.lora.merge import Target, names


def both(part: str, *listed: list[Entry]) -> dict[str, Target]:
    """Every name, which must mean one weight alone."""
    found: dict[str, Target] = {}
    for entries in listed:
        for name, target in names(part, entries):
            assert found.setdefault(name, target) == target, name
    return found


@pytest.mark.parametrize(
    ("config", "diffusers", "ldm"),
    [
        (SD1, "diffusers/sd1/unet", "ldm/sd1 model.diffusion_model."),
        (SD2, "diffusers/sd2/unet", "ldm/sd2 model.diffusion_model."),
    ],
)
def test_every_layer_of_the_published_u_nets_has_its_names(config, diffusers: str, ldm: str) -> None:
    found = both(UNET, list(unet_keys.diffusers(config)), list(unet_keys.ldm(config)))
    for layout in (diffusers, ldm):
        for key in keys(layout):
            layer, _, leaf = key.rpartition(".")
            if leaf == "weight":
                assert found["lora_unet_" + layer.replace(".", "_")] == found[f"unet.{layer}"] == found[layer]


@pytest.mark.parametrize(
    ("part", "config", "layout", "prefixes"),
    [
        (TEXT, SD1_TEXT.text, "hf/sd1/text_encoder", ("lora_te_text_model_", "lora_te1_text_model_")),
        (TEXT, SD2_TEXT_23.text, "hf/sd2/text_encoder", ("lora_te_text_model_",)),
    ],
)
def test_every_layer_of_the_published_text_encoders_has_its_names(part, config, layout, prefixes) -> None:
    found = both(part, list(clip_keys.transformers_text(config, projected=False)))
    for key in keys(layout):
        layer, _, leaf = key.removeprefix("text_model.").rpartition(".")
        if leaf == "weight":
            target = found[f"{part}.text_model.{layer}"]
            assert all(found[prefix + layer.replace(".", "_")] == target for prefix in prefixes)


def test_the_names_of_stable_diffusion_xl_fall_out_of_its_maps() -> None:
    found = both(UNET, list(unet_keys.diffusers(SDXL, "add_embedding")), list(unet_keys.ldm(SDXL)))
    blocks = "middle.0.transformer.blocks.9"
    query = Target(UNET, f"{blocks}.cross_attention.q.weight", 0, 1)
    assert found["lora_unet_middle_block_1_transformer_blocks_9_attn2_to_q"] == query
    assert found["unet.mid_block.attentions.0.transformer_blocks.9.attn2.to_q"] == query
    assert found["lora_unet_label_emb_0_0"] == found["lora_unet_add_embedding_linear_1"]
    text = both(TEXT_2, list(clip_keys.transformers_text(BIG_G_TEXT, projected=True)))
    assert text["lora_te2_text_model_encoder_layers_31_mlp_fc2"] == Target(TEXT_2, "blocks.31.fc2.weight", 0, 1)
    assert text["text_encoder_2.text_projection"] == Target(TEXT_2, "projection.weight", 0, 1)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k",
         Target(UNET, "down.1.stages.0.transformer.blocks.0.cross_attention.kv.weight", 0, 2)),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_v",
         Target(UNET, "down.1.stages.0.transformer.blocks.0.cross_attention.kv.weight", 1, 2)),
        ("lora_unet_mid_block_attentions_0_proj_in", Target(UNET, "middle.0.transformer.project_in.weight", 0, 1)),
        ("lora_unet_up_blocks_0_upsamplers_0_conv", Target(UNET, "up.0.grow.conv.weight", 0, 1)),
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out",
         Target(UNET, "middle.0.transformer.blocks.0.self_attention.out.weight", 0, 1)),
        ("lora_te_text_model_encoder_layers_11_self_attn_v_proj", Target(TEXT, "blocks.11.attention.qkv.weight", 2, 3)),
        ("text_encoder.text_model.encoder.layers.0.mlp.fc1", Target(TEXT, "blocks.0.fc1.weight", 0, 1)),
        ("text_encoder.text_model.encoder.layers.0.self_attn.to_out",
         Target(TEXT, "blocks.0.attention.out.weight", 0, 1)),
    ],
)  # fmt: skip
def test_names_as_they_stand_in_published_files(name: str, target: Target) -> None:
    listed = both(UNET, list(unet_keys.diffusers(SD1)), list(unet_keys.ldm(SD1)))
    assert (listed | both(TEXT, list(clip_keys.transformers_text(SD1_TEXT.text, projected=False))))[name] == target


def found(tmp_path: Path, *tensors: Mapping[str, Tensor], **metadata: str) -> Any:
    path = tmp_path / "a.safetensors"
    save_file({key: one.clone() for each in tensors for key, one in each.items()}, path, metadata=metadata)
    return identify_file(Reader(path).index)


def test_inspection_tells_rank_alpha_and_targets(tmp_path: Path) -> None:
    layers = ["down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", "mid_block_resnets_0_conv1"]
    layers += ["up_blocks_1_attentions_0_transformer_blocks_0_ff_net_2", "up_blocks_1_attentions_0_proj_in"]
    held = [kohya(layer, *pair(4, 4, seed=k), alpha=1.0) for k, layer in enumerate(layers)]
    held.append(kohya("mid_block_attentions_0_transformer_blocks_0_attn1_to_v", *pair(4, 4, seed=9, rank=3)))
    lora = found(tmp_path, *held)
    assert (lora.kind, lora.layout, lora.ranks, lora.layers) == (Kind.LORA, Layout.KOHYA, (2, 3), 5)
    assert lora.targets == {"of attention": 2, "of feed-forward": 1, "of convolution": 1, "other": 1}
    assert lora.alpha == "one for each layer, in the file"
    assert found(tmp_path, *held, ss_network_alpha="1.0").alpha == "1.0"
    settings = json.dumps({"unet.lora_alpha": 6, "unet.r": 2})
    assert found(tmp_path, kohya(Q, DOWN, UP), lora_adapter_metadata=settings).alpha == "6"
    assert found(tmp_path, kohya(Q, DOWN, UP)).alpha == "none: the scale is 1"
    assert found(tmp_path, kohya(Q, DOWN, UP) | MAGNITUDE).notes == ("with DoRA's norms of the weights",)


@pytest.mark.parametrize(
    ("name", "said", "family", "resembles"),
    [
        ("ss_base_model_version", "sd_v1", Family.SD1, None),
        ("ss_base_model_version", "sd_v2_v", Family.SD2, None),
        ("ss_base_model_version", "sdxl_base_v1-0", Family.SDXL, None),
        ("modelspec.architecture", "stable-diffusion-v2-512/lora", Family.SD2, None),
        ("modelspec.architecture", "flux-1-dev/lora", Family.UNKNOWN, "flux-1-dev/lora"),
    ],
)
def test_what_reads_no_words_is_of_the_family_that_its_header_says(
    tmp_path: Path, name: str, said: str, family: Family, resembles: str | None
) -> None:
    plain = found(tmp_path, kohya(MLP, DOWN, UP), **{name: said})
    assert (plain.family, plain.resembles) == (family, resembles)
    layers = kohya("attn2_to_k", *pair(5, 768)) | kohya(MLP, DOWN, UP)
    assert found(tmp_path, layers, **{name: said}).family is Family.SD1  # what it reads is asked first
    save_file(kohya("double_blocks_0", DOWN, UP), tmp_path / "b.safetensors", metadata={name: said})
    assert told(tmp_path / "b.safetensors").endswith(f"it is a LoRA for {resembles or family}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inspection_and_reading_know_the_same_layouts(tmp_path: Path, layout: str) -> None:
    down, up = pair(5, 4)
    held = {LAYOUTS[layout]("attn.to_v", half): tensor for half, tensor in (("down", down), ("up", up))}
    lora = found(tmp_path, held)
    assert (lora.kind, lora.layers, lora.ranks) == (Kind.LORA, 1, (2,))
