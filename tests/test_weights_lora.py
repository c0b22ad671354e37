"""LoRA files: the names of layers in every layout, what their tensors add, and one line for whatever is wrong."""

import json
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.published import keys
from torch import Tensor

from scorefield.nets.clip import BIG_G_TEXT, SD1_TEXT, SD2_TEXT_23
from scorefield.nets.unet import SD1, SD2, SDXL
from scorefield.weights.entries import Entry, Form
from scorefield.weights.folder import SourceError
from scorefield.weights.found import Family
from scorefield.weights.lora import Lora
from scorefield.weights.lora_names import TEXT, TEXT_2, UNET, Target, names
from scorefield.weights.lora_stack import Stack
from scorefield.weights.maps import clip, unet

RANK = 2
LISTED = [
    Entry("mlp.weight", ("ff.weight",)),
    Entry("qkv.weight", ("attn.to_q.weight", "attn.to_k.weight", "attn.to_v.weight"), Form.STACKED),
    Entry("conv.weight", ("conv1.weight",)),
    Entry("project.weight", ("proj_in.weight",), Form.CONVOLUTION),
    Entry("mlp.bias", ("ff.bias",)),
]
NAMES = dict(names(UNET, LISTED))
SHAPES = {"mlp.weight": (6, 4), "qkv.weight": (15, 4), "conv.weight": (5, 4, 3, 3), "project.weight": (4, 4)}
Q, K, CONV, PROJECT, MLP = "attn_to_q", "attn_to_k", "conv1", "proj_in", "ff"


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


WEIGHTS = {name: drawn(*shape, seed=seed) for seed, (name, shape) in enumerate(SHAPES.items())}


def kohya(layer: str, down: Tensor, up: Tensor, alpha: float | None = None) -> dict[str, Tensor]:
    told = {} if alpha is None else {f"lora_unet_{layer}.alpha": torch.tensor(alpha)}
    return {f"lora_unet_{layer}.lora_down.weight": down, f"lora_unet_{layer}.lora_up.weight": up} | told


def pair(outs: int, ins: int, *kernel: int, seed: int = 0, rank: int = RANK) -> tuple[Tensor, Tensor]:
    """The two halves of a layer: of a convolution where there is a kernel."""
    return drawn(rank, ins, *kernel, seed=seed), drawn(outs, rank, *(1 for _ in kernel), seed=seed + 100)


def save(path: Path, *tensors: Mapping[str, Tensor]) -> None:
    save_file({key: one.contiguous().clone() for each in tensors for key, one in each.items()}, path)


def merged(path: Path, *tensors: Mapping[str, Tensor], scale: float = 1.0) -> dict[str, Tensor]:
    """Every weight with the LoRA that a file of `tensors` is."""
    save(path, *tensors)
    return applied(path, scale)


def applied(path: Path, scale: float = 1.0) -> dict[str, Tensor]:
    stack = Stack(NAMES, [(Lora(path), scale)])
    return {name: stack.merged(UNET, name, weight) for name, weight in WEIGHTS.items()}


def check(found: Mapping[str, Tensor], **expected: Tensor) -> None:
    """The weights of those names are so, and all others are the very tensors that they were."""
    for name, weight in found.items():
        if (wanted := expected.get(name.removesuffix(".weight"))) is None:
            assert weight is WEIGHTS[name], name
        else:
            assert weight.isfinite().all()
            assert (weight - WEIGHTS[name]).norm() > 0.1
            torch.testing.assert_close(weight, wanted, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- names


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
    found = both(UNET, list(unet.diffusers(config)), list(unet.ldm(config)))
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
def test_every_layer_of_the_published_text_towers_has_its_names(part, config, layout, prefixes) -> None:
    found = both(part, list(clip.transformers_text(config, projected=False)))
    for key in keys(layout):
        layer, _, leaf = key.removeprefix("text_model.").rpartition(".")
        if leaf == "weight":
            target = found[f"{part}.text_model.{layer}"]
            assert all(found[prefix + layer.replace(".", "_")] == target for prefix in prefixes)


def test_the_names_of_stable_diffusion_xl_fall_out_of_its_maps() -> None:
    found = both(UNET, list(unet.diffusers(SDXL, "add_embedding")), list(unet.ldm(SDXL)))
    blocks = "middle.0.transformer.blocks.9"
    query = Target(UNET, f"{blocks}.cross_attention.q.weight", 0, 1)
    assert found["lora_unet_middle_block_1_transformer_blocks_9_attn2_to_q"] == query
    assert found["unet.mid_block.attentions.0.transformer_blocks.9.attn2.to_q"] == query
    assert found["lora_unet_label_emb_0_0"] == found["lora_unet_add_embedding_linear_1"]
    text = both(TEXT_2, list(clip.transformers_text(BIG_G_TEXT, projected=True)))
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
    listed = both(UNET, list(unet.diffusers(SD1)), list(unet.ldm(SD1)))
    assert (listed | both(TEXT, list(clip.transformers_text(SD1_TEXT.text, projected=False))))[name] == target


# ---------------------------------------------------------------- what is added


def test_a_linear_layer_gets_alpha_over_rank_times_up_times_down(tmp_path: Path) -> None:
    down, up = pair(6, 4)
    found = merged(tmp_path / "a.safetensors", kohya(MLP, down, up, alpha=0.5), scale=0.8)
    check(found, mlp=WEIGHTS["mlp.weight"] + 0.8 * (0.5 / RANK) * up @ down)


def test_without_an_alpha_the_delta_is_the_product_alone(tmp_path: Path) -> None:
    down, up = pair(6, 4)
    check(merged(tmp_path / "a.safetensors", kohya(MLP, down, up)), mlp=WEIGHTS["mlp.weight"] + up @ down)


def test_deltas_of_stacked_projections_land_in_their_rows(tmp_path: Path) -> None:
    (down, up), (down_2, up_2) = pair(5, 4), pair(5, 4, seed=1)
    expected = WEIGHTS["qkv.weight"].clone()
    expected[:5] += up @ down
    expected[5:10] += up_2 @ down_2
    check(merged(tmp_path / "a.safetensors", kohya(Q, down, up), kohya(K, down_2, up_2)), qkv=expected)


def test_a_convolution_of_3_by_3(tmp_path: Path) -> None:
    down, up = pair(5, 4, 3, 3)
    expected = WEIGHTS["conv.weight"] + torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down)
    check(merged(tmp_path / "a.safetensors", kohya(CONV, down, up)), conv=expected)


def test_a_convolution_of_locon_with_a_middle(tmp_path: Path) -> None:
    down, up, mid = drawn(2, 4, 1, 1), drawn(5, 2, 1, 1, seed=1), drawn(2, 2, 3, 3, seed=2)
    # A narrow convolution, another with the kernel, and one that widens: what they do to one picture.
    picture = drawn(1, 4, 8, 8, seed=3)
    through = torch.conv2d(torch.conv2d(torch.conv2d(picture, down), mid), up)
    key = {f"lora_unet_{CONV}.lora_mid.weight": mid}
    found = merged(tmp_path / "a.safetensors", kohya(CONV, down, up, alpha=1.0), key)["conv.weight"]
    assert through.std() > 0.1
    torch.testing.assert_close(torch.conv2d(picture, found - WEIGHTS["conv.weight"]), through / 2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", [(), (1, 1)])
def test_a_1_by_1_convolution_and_a_linear_layer_are_the_same(tmp_path: Path, kernel: tuple[int, ...]) -> None:
    down, up = pair(4, 4, *kernel)
    expected = WEIGHTS["project.weight"] + up.flatten(1) @ down.flatten(1)
    check(merged(tmp_path / "a.safetensors", kohya(PROJECT, down, up)), project=expected)


@pytest.mark.parametrize("name", ["dora_scale", "lora_magnitude_vector", "lora_magnitude_vector.default.weight"])
def test_dora_gives_rows_their_norms(tmp_path: Path, name: str) -> None:
    (down, up), norms = pair(5, 4), drawn(5, 1, seed=9).abs() + 1
    whole = WEIGHTS["qkv.weight"][5:10] + up @ down
    expected = WEIGHTS["qkv.weight"].clone()
    expected[5:10] = norms * whole / whole.norm(dim=1, keepdim=True)
    stored = norms if name == "dora_scale" else norms.flatten()
    found = merged(tmp_path / "a.safetensors", kohya(K, down, up), {f"lora_unet_{K}.{name}": stored})
    check(found, qkv=expected)
    assert (found["qkv.weight"][5:10].norm(dim=1) - norms[:, 0]).abs().max() < 1e-5


def test_dora_gives_columns_their_norms(tmp_path: Path) -> None:
    (down, up), norms = pair(5, 4, 3, 3), drawn(1, 4, 1, 1, seed=9).abs() + 1
    found = merged(tmp_path / "a.safetensors", kohya(CONV, down, up), {f"lora_unet_{CONV}.dora_scale": norms})
    whole = WEIGHTS["conv.weight"] + torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down)
    check(found, conv=whole * norms / whole.square().sum((0, 2, 3), keepdim=True).sqrt())


def test_scale_0_is_the_very_weight(tmp_path: Path) -> None:
    check(merged(tmp_path / "a.safetensors", kohya(MLP, *pair(6, 4)), scale=0.0))


def test_two_are_their_sum_in_any_order(tmp_path: Path) -> None:
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    alone = [merged(path, kohya(MLP, *pair(6, 4, seed=k)))["mlp.weight"] for k, path in enumerate(paths)]
    base = WEIGHTS["mlp.weight"]
    for order in (paths, paths[::-1]):
        both = Stack(NAMES, [(Lora(path), 1.0) for path in order]).merged(UNET, "mlp.weight", base)
        torch.testing.assert_close(both, alone[0] + alone[1] - base, rtol=0, atol=1e-5)


def test_a_sum_in_bfloat16_is_rounded_once(tmp_path: Path) -> None:
    base, path = WEIGHTS["mlp.weight"].bfloat16(), tmp_path / "a.safetensors"
    down, up = (half * 0.01 for half in pair(6, 4))
    save_file({key: one.half() for key, one in kohya(MLP, down, up).items()}, path)
    exact = base.double() + 16 * up.half().double() @ down.half().double()
    found = Stack(NAMES, [(Lora(path), 1.0)] * 16).merged(UNET, "mlp.weight", base)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())


# ---------------------------------------------------------------- layouts


LAYOUTS: dict[str, Callable[[str, str], str]] = {
    "kohya": lambda dotted, half: f"lora_unet_{dotted.replace('.', '_')}.lora_{half}.weight",
    "kohya with dots": lambda dotted, half: f"unet.{dotted}.lora_{half}.weight",
    "PEFT in diffusers": lambda dotted, half: f"unet.{dotted}.lora_{'A' if half == 'down' else 'B'}.weight",
    "PEFT": lambda dotted, half: f"base_model.model.{dotted}.lora_{'A' if half == 'down' else 'B'}.weight",
    "PEFT, named": lambda dotted, half: f"unet.{dotted}.lora_{'A' if half == 'down' else 'B'}.default_0.weight",
    "diffusers": lambda dotted, half: f"unet.{dotted}.lora.{half}.weight",
    "diffusers, linear": lambda dotted, half: f"unet.{dotted}.lora_linear_layer.{half}.weight",
    "processors": lambda dotted, half: f"unet.{dotted.replace('.to_', '.processor.to_')}_lora.{half}.weight",
    "processors, bare": lambda dotted, half: f"{dotted.replace('.to_', '.processor.to_')}_lora.{half}.weight",
    "ComfyUI": lambda dotted, half: f"diffusion_model.{dotted}.lora_{half}.weight",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_every_layout_says_the_same(tmp_path: Path, layout: str, form: str) -> None:
    down, up = pair(5, 4)
    held = {LAYOUTS[layout]("attn.to_v", half): tensor for half, tensor in (("down", down), ("up", up))}
    path = tmp_path / f"a.{form}"
    if form == "bin":
        torch.save(held, path)
    else:
        save_file(held, path)
    expected = WEIGHTS["qkv.weight"].clone()
    expected[10:] += up @ down
    check(applied(path), qkv=expected)


def peft(folder: Path, **config: object) -> Path:
    """PEFT's folder of the middle of attention, with its own file of settings."""
    folder.mkdir()
    down, up = pair(5, 4)
    held = {"base_model.model.attn.to_k.lora_A.weight": down, "base_model.model.attn.to_k.lora_B.weight": up}
    save_file(held, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 1.0),
        ({"lora_alpha": 6}, 6 / RANK),
        ({"lora_alpha": 6, "use_rslora": True}, 6 / RANK**0.5),
        ({"lora_alpha": 6, "alpha_pattern": {"attn.to_k": 3}}, 3 / RANK),
        ({"lora_alpha": 6, "alpha_pattern": {"to_q": 3, "n.to_k": 5}}, 6 / RANK),
    ],
)
def test_pefts_settings_give_the_scale(tmp_path: Path, config: Mapping[str, object], scale: float) -> None:
    down, up = pair(5, 4)
    expected = WEIGHTS["qkv.weight"].clone()
    expected[5:10] += scale * up @ down
    folder = peft(tmp_path / "of PEFT", **config)
    check(applied(folder), qkv=expected)
    check(applied(folder / "adapter_model.safetensors"), qkv=expected)
    held = {f"unet.attn.to_k.{half}.weight": one for half, one in zip(("lora_A", "lora_B"), (down, up), strict=True)}
    header = {"lora_adapter_metadata": json.dumps({f"unet.{name}": value for name, value in config.items()})}
    save_file(held, tmp_path / "of diffusers.safetensors", metadata=header)
    check(applied(tmp_path / "of diffusers.safetensors"), qkv=expected)


# ---------------------------------------------------------------- what is wrong


def told(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        applied(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def wrong(path: Path, *tensors: Mapping[str, Tensor]) -> str:
    save(path, *tensors)
    return told(path)


DOWN, UP = pair(6, 4)
TWICE = {"unet.ff.lora_A.weight": DOWN, "unet.ff.lora_B.weight": UP}
MAGNITUDE = {f"lora_unet_{MLP}.dora_scale": torch.ones(5, 1)}


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"lora_unet_ff.lora_down.weight": DOWN}, "has only the down half of lora_unet_ff; get it again"),
        (kohya(MLP, DOWN[:1], UP), r"lora_unet_ff: its tensors do not fit each other: down \(1, 4\), up \(6, 2\)"),
        (kohya(MLP, DOWN[:0], UP[:, :0]), "lora_unet_ff: these are no tensors of a LoRA"),
        (kohya(MLP, DOWN[0], UP), "lora_unet_ff: these are no tensors of a LoRA"),
        (kohya(MLP, DOWN, UP) | {"lora_unet_ff.alpha": torch.ones(2)}, "lora_unet_ff: these are no tensors of a LoRA"),
        (kohya(MLP, DOWN, UP) | MAGNITUDE, r"do not fit each other: down .* rows \(5, 1\)"),
        (kohya(MLP, DOWN, UP[:5]), r"lora_unet_ff is for a weight of shape \(5, 4\), where this model has \(6, 4\)"),
        (kohya(MLP, DOWN, UP[:5]), "it is a LoRA for another model$"),
        (kohya(MLP, DOWN[..., None, None].expand(2, 4, 3, 3), UP), r"of shape \(6, 4, 3, 3\), where .* has \(6, 4\)"),
        (kohya(MLP, DOWN * torch.nan, UP), "lora_unet_ff.lora_down.weight holds a number that is not finite"),
        (kohya(MLP, DOWN, UP, alpha=torch.inf), "lora_unet_ff.alpha holds a number that is not finite"),
        (kohya(MLP, DOWN.long(), UP), "lora_unet_ff.lora_down.weight is of torch.int64"),
        (kohya(MLP, DOWN * 1e30, UP * 1e30), "mlp.weight of the unet is not finite with it; give a smaller scale"),
        (kohya(MLP, DOWN, UP) | {"lora_unet_conv1.hada_w1_a": UP}, r"is a LoHa of LyCORIS \(lora_unet_conv1.hada_w1_a"),
        (kohya(MLP, DOWN, UP) | TWICE, "has two names for one layer: lora_unet_ff and unet.ff"),
        ({"unet.ff.lora_A.a.weight": DOWN, "unet.ff.lora_A.b.weight": DOWN}, "holds two of the same for one layer"),
        (kohya("mixer", DOWN, UP), r"names no layer of this model \(lora_unet_mixer, ...\): it is a LoRA for another"),
        ({"lora_unet_ff.alpha": torch.ones(1)}, "is no LoRA: `scorefield inspect` tells what it is"),
        ({"model.diffusion_model.out.2.weight": DOWN}, "is no LoRA: `scorefield inspect` tells what it is"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path: Path, tensors: Mapping[str, Tensor], words: str) -> None:
    line = wrong(tmp_path / "a.safetensors", tensors)
    assert line.startswith(str(tmp_path / "a.safetensors"))
    assert re.search(words, line), line


def test_a_lora_for_another_family_is_told_by_its_words(tmp_path: Path) -> None:
    width = {1024: Family.SD2, 2048: Family.SDXL}
    for words, family in width.items():
        held = kohya("attn2_to_k", *pair(5, words)) | kohya(MLP, *pair(5, 4))
        assert wrong(tmp_path / f"{words}.safetensors", held).endswith(f"it is a LoRA for {family}")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"lora_alpha": "many"}, "the alpha 'many', which is no number"),
        ({"lora_alpha": True}, "the alpha True, which is no number"),
        ({"alpha_pattern": {"to_[kv]": 4}}, r"an alpha for the layers 'to_\[kv\]'"),
    ],
)
def test_settings_that_give_no_scale_are_one_line(tmp_path: Path, config: Mapping[str, object], words: str) -> None:
    line = told(peft(tmp_path / "of PEFT", **config))
    assert line.startswith(str(tmp_path))
    assert re.search(words, line), line


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_settings_that_cannot_be_read_are_one_line(tmp_path: Path, text: str) -> None:
    save_file(kohya(MLP, DOWN, UP), tmp_path / "a.safetensors", metadata={"lora_adapter_metadata": text})
    assert "has settings (lora_adapter_metadata) that cannot be read" in told(tmp_path / "a.safetensors")


def test_keys_of_no_layer_are_kept_to_be_told(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    text = {f"lora_te_text_model_x.{half}.weight": one for half, one in (("lora_down", DOWN), ("lora_up", UP))}
    odd = {"lora_unet_ff.diff_b": torch.ones(6), "lora_unet_conv1.alpha": torch.ones(1)}
    save(path, kohya(MLP, DOWN, UP), text, odd)
    lora = Lora(path)
    assert set(Stack(NAMES, [(lora, 1.0)]).unused[lora]) == {*text, *odd}


# ---------------------------------------------------------------- 200 files that were tampered with


WHOLE = kohya(MLP, *pair(6, 4), alpha=1.0) | kohya(K, *pair(5, 4, seed=1)) | kohya(CONV, *pair(5, 4, 3, 3), alpha=2.0)
OF = {MLP: "mlp.weight", K: "qkv.weight", CONV: "conv.weight"}


def by_hand(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as another reader's tensors make them, of the layers whose names are whole."""
    made = dict(WEIGHTS)
    for layer, name in OF.items():
        key = f"lora_unet_{layer}"
        if f"{key}.lora_up.weight" not in held:
            continue
        down, up = (held[f"{key}.lora_{half}.weight"].float() for half in ("down", "up"))
        scale = float(held[f"{key}.alpha"]) / len(down) if f"{key}.alpha" in held else 1.0
        rows = slice(5, 10) if layer == K else slice(None)
        made[name] = WEIGHTS[name].clone()
        delta = torch.tensordot(up.flatten(1), down, 1)
        made[name][rows] += scale * delta.reshape(made[name][rows].shape)
    return made


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut, doubled or left out, in the names and shapes more than elsewhere."""
    out = bytearray(data)
    at = rng.randrange(min(len(out), 2000))
    match rng.randrange(5):
        case 0:
            return data[: rng.randrange(len(data))]
        case 1:
            return rng.randrange(2**12).to_bytes(8, "little") + data[8:]
        case 2:
            return data[:at] + data[at : at + 3] + data[at:]
    for _ in range(rng.randint(1, 3)):
        out[rng.randrange(len(out) if rng.random() < 0.3 else min(len(out), 2000))] = rng.choice(
            (rng.randrange(256), rng.choice(b"0123456789"), rng.choice(b'{}[]",:_.'))
        )
    return bytes(out)


def tampered(rng: random.Random) -> dict[str, Tensor]:
    """The file's tensors, one of them away, doubled, cut, turned, of another dtype or with a number that is none."""
    held = {key: tensor.clone() for key, tensor in WHOLE.items()}
    key = rng.choice(sorted(held))
    tensor = held[key]
    match rng.randrange(8):
        case 0:
            del held[key]
        case 1:
            held[key] = torch.cat([tensor.reshape(-1), tensor.reshape(-1)])
        case 2:
            held[key] = tensor.reshape(-1)[: rng.randrange(tensor.numel())] if tensor.ndim else tensor.reshape(1, 1)
        case 3:
            held[key] = tensor.transpose(0, -1).contiguous() if tensor.ndim else tensor[None]
        case 4:
            held[key] = tensor.to(rng.choice([torch.int64, torch.bool, torch.float64, torch.bfloat16]))
        case 5:
            held[key].reshape(-1)[0] = rng.choice([torch.nan, torch.inf, -torch.inf, 3e38])
        case 6:
            held[key.replace("_", rng.choice("-._"), 1)] = held.pop(key)
        case 7:
            held[rng.choice(sorted(held))] = tensor
    return held


def outcome(path: Path) -> dict[str, Tensor] | str:
    """Every weight with the LoRA; or the line that says what is wrong with it."""
    try:
        return applied(path)
    except SourceError as error:
        return str(error)


@pytest.mark.parametrize("way", ["bytes", "bytes of a pickle", "tensors", "tensors of a pickle"])
def test_50_files_that_were_tampered_with(way: str, tmp_path: Path) -> None:
    pickled, refused = way.endswith("pickle"), 0
    path = tmp_path / ("a.pt" if pickled else "a.safetensors")
    for seed in range(50):
        rng = random.Random(f"{way} {seed}")
        held = tampered(rng) if way.startswith("tensors") else WHOLE
        if pickled:
            torch.save(held, path)
        else:
            save(path, held)
        if way.startswith("bytes"):
            path.write_bytes(damaged(path.read_bytes(), rng))
        found = outcome(path)
        if isinstance(found, str):
            refused += 1
            assert str(path) in found, seed
            assert re.fullmatch(r"[^\n\r]{20,600}", found), seed
            continue
        expected = by_hand(torch.load(path, weights_only=True) if pickled else load_file(path))
        for name, weight in found.items():
            assert weight.isfinite().all(), seed
            torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-5, msg=f"{seed} {name}")
    assert 10 <= refused < 50
