"""LoRA files: one line for whatever is wrong, and 200 that were tampered with."""

import random
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.loras import CONV, DOWN, MAGNITUDE, MLP, NAMES, UP, WEIGHTS, K, applied, drawn, kohya, pair, peft, save, told
from torch import Tensor

from scorefield.errors import ScorefieldError
from scorefield.weights.detect.identity import Family
from scorefield.weights.lora.file import LoraFile
from scorefield.weights.lora.merge import Scales, Stack


def wrong(path: Path, *tensors: Mapping[str, Tensor]) -> str:
    save(path, *tensors)
    return told(path)


TWICE = {"unet.ff.lora_A.weight": DOWN, "unet.ff.lora_B.weight": UP}


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"lora_unet_ff.lora_down.weight": DOWN}, "has only the down half of lora_unet_ff; get it again"),
        (kohya(MLP, DOWN[:1], UP), r"lora_unet_ff: its tensors do not fit each other: down \(1, 4\), up \(6, 2\)"),
        (kohya(MLP, DOWN[:0], UP[:, :0]), "lora_unet_ff: these are not the tensors of a LoRA layer"),
        (kohya(MLP, DOWN[0], UP), "lora_unet_ff: these are not the tensors of a LoRA layer"),
        (kohya(MLP, DOWN, UP) | {"lora_unet_ff.alpha": torch.ones(2)}, "lora_unet_ff: these are not the tensors of"),
        (kohya(MLP, DOWN, UP) | MAGNITUDE, r"do not fit each other: dora_scale \(5, 1\), down"),
        (kohya(MLP, DOWN, UP[:5]), r"lora_unet_ff is for a weight of shape \(5, 4\), where this model has \(6, 4\)"),
        (kohya(CONV, drawn(2, 4, 1, 1), drawn(5, 2, 1, 1)) | {"lora_unet_conv1.lora_mid.weight": drawn(3, 2, 3, 3)},
         r"do not fit each other: down \(2, 4, 1, 1\), mid \(3, 2, 3, 3\), up \(5, 2, 1, 1\)"),
        (kohya(MLP, DOWN, UP[:5]), "it is a LoRA for another model$"),
        (kohya(MLP, DOWN[..., None, None].expand(2, 4, 3, 3), UP), r"of shape \(6, 4, 3, 3\), where .* has \(6, 4\)"),
        (kohya(MLP, DOWN * torch.nan, UP), "lora_unet_ff.lora_down.weight holds a number that is not finite"),
        (kohya(MLP, DOWN, UP, alpha=torch.inf), "lora_unet_ff.alpha holds a number that is not finite"),
        (kohya(MLP, DOWN.long(), UP), "lora_unet_ff.lora_down.weight holds torch.int64; LoRA weights must be floating"),
        (kohya(MLP, DOWN * 1e30, UP * 1e30), "mlp.weight of the unet is not finite with it; give a smaller scale"),
        (kohya(MLP, DOWN, UP) | {"lora_unet_conv1.hada_w1_a": UP}, r"is a LoHa of LyCORIS \(lora_unet_conv1.hada_w1_a"),
        (kohya(MLP, DOWN, UP) | TWICE, "has two names for one layer: lora_unet_ff and unet.ff"),
        ({"unet.ff.lora_A.a.weight": DOWN, "unet.ff.lora_A.b.weight": DOWN}, "holds two of the same for one layer"),
        (kohya("mixer", DOWN, UP), r"names no layer of this model \(lora_unet_mixer, ...\): it is a LoRA for another"),
        ({"lora_unet_ff.alpha": torch.ones(1)}, "is not a LoRA: `scorefield inspect` says what it is"),
        ({"model.diffusion_model.out.2.weight": DOWN}, "is not a LoRA: `scorefield inspect` says what it is"),
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
        ({"lora_alpha": "many"}, "the alpha 'many', which is not a number"),
        ({"lora_alpha": float("nan")}, "the alpha nan, which is not a number"),
        ({"lora_alpha": 10**400}, "is damaged: it holds a number of more than 20 digits; get it again"),
        ({"lora_alpha": True}, "the alpha True, which is not a number"),
        ({"alpha_pattern": {"(to_k+)+": 4}}, r"an alpha for the layers '\(to_k\+\)\+'; this pattern is not understood"),
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
    odd = {"lora_unet_ff.other": torch.ones(6), "lora_unet_conv1.alpha": torch.ones(1)}
    save(path, kohya(MLP, DOWN, UP), text, odd)
    lora = LoraFile(path)
    assert set(Stack(NAMES, [(lora, Scales(1, 1))]).unused[lora]) == {*text, *odd}


WHOLE = kohya(MLP, *pair(6, 4), alpha=1.0) | kohya(K, *pair(5, 4, seed=1)) | kohya(CONV, *pair(5, 4, 3, 3), alpha=2.0)
OF = {MLP: "mlp.weight", K: "qkv.weight", CONV: "conv.weight"}


def by_hand(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as another reader's tensors make them, of the layers whose names are whole."""
    made = dict(WEIGHTS)
    held = {f"{layer.replace('.', '_')}{leaf}": one for key, one in held.items()
            for layer, leaf in [re.fullmatch(r"(.*?)(\.lora_.*|\.alpha)?", key).groups("")]}  # fmt: skip
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
    except ScorefieldError as error:
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
