"""LoRA files: what their tensors add to a weight, in every layout."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.loras import (
    CONV,
    LAYOUTS,
    MLP,
    NAMES,
    PROJECT,
    RANK,
    WEIGHTS,
    K,
    Q,
    applied,
    check,
    drawn,
    kohya,
    merged,
    pair,
    peft,
)

from scorefield.weights.lora.file import LoraFile
from scorefield.weights.lora.lora_keys import UNET
from scorefield.weights.lora.merge import Scales, Stack


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
        both = Stack(NAMES, [(LoraFile(path), Scales(1, 1)) for path in order]).merged(UNET, "mlp.weight", base)
        torch.testing.assert_close(both, alone[0] + alone[1] - base, rtol=0, atol=1e-5)


def test_a_sum_in_bfloat16_is_rounded_once(tmp_path: Path) -> None:
    base, path = WEIGHTS["mlp.weight"].bfloat16(), tmp_path / "a.safetensors"
    down, up = (half * 0.01 for half in pair(6, 4))
    save_file({key: one.half() for key, one in kohya(MLP, down, up).items()}, path)
    exact = base.double() + 16 * up.half().double() @ down.half().double()
    found = Stack(NAMES, [(LoraFile(path), Scales(1, 1))] * 16).merged(UNET, "mlp.weight", base)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())


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
