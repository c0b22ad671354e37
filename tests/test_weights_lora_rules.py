"""LoRA files by the rules of those who write them: PEFT's patterns, diffusers' export, DoRA's norms, whole alphas."""

import json
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from diffusers.utils import convert_state_dict_to_kohya
from peft.utils.other import get_pattern_key
from safetensors.torch import save_file
from tests.loras import (
    CONV,
    DOWN,
    MLP,
    NAMES,
    UP,
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
    told,
)
from torch import Tensor

from scorefield.errors import DamagedError, UnsupportedError
from scorefield.weights.lora.file import LoraFile
from scorefield.weights.lora.lora_keys import UNET, MisfitError, scale
from scorefield.weights.lora.merge import Scales, Stack

MODULES = ["to_k", "attn.to_k", "mid.attn.to_k", "attn1.to_out.0", "xto_k", "attn.to_kv", "down.10.conv", "a.b"]
PATTERNS = [
    "to_k", "^to_k", "to_k$", "attn.to_k", "^attn", r"attn\.to_k", "to_[kq]", "(to_q|to_k)", "to_out.0", ".to_k",
    "mid.*to_k", r"down\.\d+\.conv", "a.b", "a?b", "to_k.", "conv", "^a.b$", "x?to_k", "(mid|down).*(to_k|conv)",
]  # fmt: skip


def test_alpha_patterns_match_as_pefts_do() -> None:
    rng, hits = random.Random(0), 0
    for _ in range(5000):
        patterns = {key: float(rng.randint(1, 9)) for key in rng.sample(PATTERNS, rng.randint(1, 5))}
        module = rng.choice(MODULES)
        theirs = patterns.get(get_pattern_key(patterns.keys(), module), 16.0)
        assert scale({"lora_alpha": 16, "alpha_pattern": patterns}, module, 2) == theirs / 2, (patterns, module)
        hits += theirs != 16
    assert hits > 1000


def test_the_first_pattern_wins_in_a_file_of_peft_and_in_a_header_of_diffusers(tmp_path: Path) -> None:
    patterns = {"^to_k": 64, "attn.to_k": 6, "to_k": 40}
    folder = peft(tmp_path / "peft", r=2, lora_alpha=2, alpha_pattern=patterns, rank_pattern={"to_k": 2})
    (down, up), expected = pair(5, 4), WEIGHTS["qkv.weight"].clone()
    expected[5:10] += 6 / 2 * up @ down
    check(applied(folder), qkv=expected)
    held = {"unet.attn.to_k.lora_A.weight": down, "unet.attn.to_k.lora_B.weight": up}
    named = {"unet.lora_alpha": 2, "unet.alpha_pattern": {"^attn.to_k": 6, "to_k": 40}, "text_encoder.lora_alpha": 9}
    save_file(held, tmp_path / "a.safetensors", metadata={"lora_adapter_metadata": json.dumps(named)})
    check(applied(tmp_path / "a.safetensors"), qkv=expected)


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|a)(a|a)(a|a)b", "a*a*a*b", "a" * 300, "[", "a)", "(?i)a", "a{9}", "(?=a)", r"\1", "a**"]
)
def test_patterns_that_could_take_years_are_refused_at_once(pattern: str) -> None:
    start = time.process_time()
    with pytest.raises(MisfitError, match="this pattern is not understood"):
        scale({"alpha_pattern": {pattern: 1}}, "a" * 100, 2)
    assert time.process_time() - start < 0.1


def test_a_header_full_of_patterns_is_matched_in_time() -> None:
    layers = [f"down_blocks.{i % 4}.attentions.{i % 3}.transformer_blocks.0.attn{1 + i % 2}.to_{i}" for i in range(800)]
    settings = {"lora_alpha": 1, "alpha_pattern": {layer: i for i, layer in enumerate(layers)}}
    start = time.process_time()
    assert [scale(settings, layer, 1) for layer in layers] == list(range(800))
    assert time.process_time() - start < 10


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float16])
def test_an_alpha_may_be_a_whole_number(tmp_path: Path, dtype: torch.dtype) -> None:
    alpha = {f"lora_unet_{MLP}.alpha": torch.tensor(3, dtype=dtype)}
    check(
        merged(tmp_path / "a.safetensors", kohya(MLP, DOWN, UP), alpha), mlp=WEIGHTS["mlp.weight"] + 3 / 2 * UP @ DOWN
    )
    torch.save(kohya(MLP, DOWN, UP) | alpha, tmp_path / "a.pt")
    check(applied(tmp_path / "a.pt"), mlp=WEIGHTS["mlp.weight"] + 3 / 2 * UP @ DOWN)


def test_halves_and_norms_must_be_floating(tmp_path: Path) -> None:
    norms = {f"lora_unet_{MLP}.dora_scale": torch.ones(6, 1, dtype=torch.int64)}
    for held in (kohya(MLP, DOWN, UP.int()), kohya(MLP, DOWN, UP) | norms):
        save_file(held, tmp_path / "a.safetensors")
        with pytest.raises(UnsupportedError, match="LoRA weights must be floating point"):
            applied(tmp_path / "a.safetensors")


def _dora() -> dict[str, Tensor]:
    """The middle of attention with norms, as PEFT names them."""
    down, up = pair(5, 4)
    layer = "unet.attn.to_k"
    return {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up,
            f"{layer}.lora_magnitude_vector": drawn(5, seed=9).abs() + 1}  # fmt: skip


def test_a_dora_that_diffusers_exports_to_kohyas_layout_keeps_its_norms(tmp_path: Path) -> None:
    save_file(_dora(), tmp_path / "peft.safetensors")
    expected = applied(tmp_path / "peft.safetensors")
    exported = convert_state_dict_to_kohya(_dora())
    assert any("." in key.partition(".lora_magnitude")[0] and "magnitude" in key for key in exported), list(exported)
    exported["lora_unet_attn_to_k.alpha"] = torch.tensor(2)  # of rank 2: diffusers 0.42 writes this one itself
    save_file(exported, tmp_path / "kohya.safetensors")
    found = applied(tmp_path / "kohya.safetensors")
    assert (found["qkv.weight"] - WEIGHTS["qkv.weight"]).norm() > 0.1
    torch.testing.assert_close(found["qkv.weight"], expected["qkv.weight"], rtol=0, atol=0)


@pytest.mark.parametrize(
    "name",
    [
        "lora_unet_attn.to_k.dora_scale", "lora_unet.attn_to_k.dora_scale", "lora_unet.attn.to_k.dora_scale",
        "lora_unet_attn_to_k.lora_magnitude_vector", "lora_unet.attn.to_k.lora_magnitude_vector.weight",
        "lora_unet_attn_to_k_lora_magnitude_vector", "lora_unet_attn_to.k.lora_magnitude_vector.default.weight",
    ],
)  # fmt: skip
def test_norms_find_their_layer_whatever_stands_between_its_words(tmp_path: Path, name: str) -> None:
    (down, up), norms = pair(5, 4), drawn(5, 1, seed=9).abs() + 1
    found = merged(tmp_path / "a.safetensors", kohya(K, down, up), {name: norms})
    torch.testing.assert_close(found["qkv.weight"][5:10].norm(dim=1), norms[:, 0])


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"lora_unet_conv1.dora_scale": torch.ones(5, 1)}, "has lora_unet_conv1.dora_scale, but no halves of"),
        ({"lora_unet_to_q.lora_magnitude_vector": torch.ones(5)}, "has lora_unet_to_q.lora_magnitude_vector, but no"),
        ({"lora_unet_conv1.lora_mid.weight": torch.ones(2, 2, 3, 3)}, "has lora_unet_conv1.lora_mid.weight, but no"),
        ({"lora_unet_conv1.alpha": torch.ones(1), "lora_unet_conv1.dora_scale": torch.ones(5, 1)}, "no halves"),
    ],
)  # fmt: skip
def test_norms_and_middles_without_a_layer_are_an_error(
    tmp_path: Path, tensors: Mapping[str, Tensor], words: str
) -> None:
    save_file(kohya(MLP, DOWN, UP) | dict(tensors), tmp_path / "a.safetensors")
    with pytest.raises(DamagedError, match=words):
        LoraFile(tmp_path / "a.safetensors")


def test_a_dora_by_its_settings_without_norms_is_an_error(tmp_path: Path) -> None:
    assert "is a DoRA, but has no norms for attn.to_k" in told(peft(tmp_path / "a", use_dora=True, lora_alpha=2))
    applied(peft(tmp_path / "b", use_dora=False, lora_alpha=2))


def test_shapes_are_compared_before_a_number_is_read(tmp_path: Path) -> None:
    path, width = tmp_path / "a.safetensors", 10**9
    shapes = {"lora_unet_ff.lora_down.weight": (2, width), "lora_unet_ff.lora_up.weight": (6, 2)}
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)  # of zeros, which take no room on the disk
    start_time = time.process_time()
    with pytest.raises(UnsupportedError, match=r"of shape \(6, 1000000000\), where this model has \(6, 4\)"):
        applied(path)
    assert time.process_time() - start_time < 1


def test_a_file_is_hashed_once_and_its_settings_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = peft(tmp_path / "a", lora_alpha=4)
    lora = LoraFile(folder)
    (folder / "adapter_config.json").unlink()
    first = applied_with(lora)
    digest = lora.sha256
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert lora.sha256 == digest
    assert torch.equal(applied_with(lora), first)


def applied_with(lora: LoraFile) -> Tensor:
    return Stack(NAMES, [(lora, Scales(1, 1))]).merged(UNET, "qkv.weight", WEIGHTS["qkv.weight"])


def test_two_layers_that_differ_by_more_than_dots_stay_two(tmp_path: Path) -> None:
    held = kohya(Q, *pair(5, 4)) | kohya(CONV, *pair(5, 4, 3, 3))
    save_file(held, tmp_path / "a.safetensors")
    assert sorted(LoraFile(tmp_path / "a.safetensors").names.values()) == ["lora_unet_attn_to_q", "lora_unet_conv1"]
