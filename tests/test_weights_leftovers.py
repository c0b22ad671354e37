"""What single files hold besides their networks, and the same numbers in other shapes and under other names."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.published import keys, sd1, sd2
from torch import Tensor

from scorefield import notes
from scorefield.errors import ScorefieldError, UnsupportedError
from scorefield.families.fill import Filling
from scorefield.model.system import Place
from scorefield.nets.kl import Kl, KlConfig
from scorefield.weights import key_map
from scorefield.weights.checkpoint import Reader
from scorefield.weights.checkpoint_layout import PARTS, VAE, check_rest, harmless, needed_parts
from scorefield.weights.detect.identify import identify_file
from scorefield.weights.detect.identity import Family, VaeIdentity
from scorefield.weights.key_map import needed_keys, same_numbers
from scorefield.weights.key_maps import clip_keys, kl_keys

PATH = Path("model.safetensors")
TINY = KlConfig(width=32, multipliers=(1, 2), resblocks=1)
PUBLISHED = ["betas", "alphas_cumprod_prev", "sqrt_recipm1_alphas_cumprod", "posterior_mean_coef1", "logvar", "v_pred",
             "model_ema.decay", "model_ema.diffusion_modelout0weight", "first_stage_model.loss.logvar", "lvlb_weights",
             "cond_stage_model.transformer.text_model.embeddings.position_ids", "cond_stage_model.model.attn_mask",
             "conditioner.embedders.1.model.logit_scale", "denoiser.sigmas"]  # fmt: skip
LEFT_OVER = ["cond_stage_model.model.text_projection", "conditioner.embedders.0.text_projection.weight", "iteration",
             "conditioner.embedders.0.transformer.text_projection.weight", "embedding_manager.initial_embeddings.*",
             "safety_checker.visual_projection.weight", "optimizer.state.0.exp_avg", "global_step",
             "first_stage_model.model_ema.decay", "lr_scheduler.last_epoch"]  # fmt: skip


def rest(*names: str) -> list[notes.Note]:
    with notes.collecting() as collected:
        check_rest(PATH, names)
    return collected


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_published_files_hold_besides_is_passed_over_in_silence(name: str) -> None:
    assert harmless(name)
    assert rest(name) == []


def test_what_training_left_is_one_note_that_names_the_first_three() -> None:
    for name in LEFT_OVER:
        assert harmless(name)
        (note,) = rest(name, "betas")
        assert note.kind is notes.UnusedKeysWarning
        assert note.text == f"{PATH}: 1 tensor is left over from training, and not used ({name})"
    (note,) = rest(*LEFT_OVER, *PUBLISHED)
    assert note.text.startswith(f"{PATH}: {len(LEFT_OVER)} tensors are left over")
    assert note.text.endswith(f"({', '.join(LEFT_OVER[:3])}, ...)")


@pytest.mark.parametrize("name", ["edm_mean", "edm_std", "edm_vpred.sigma_max", "edm_vpred.sigma_min"])
def test_keys_of_other_noise_levels_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"^{PATH} was trained on the noise levels of EDM \({name}\)"):
        check_rest(PATH, ["betas", "epoch", name])


@pytest.mark.parametrize("name", ["control_model.zero_convs.0.0.weight", "model.odd", "depth_model.x", "epochs", "edm"])
def test_keys_that_nobody_knows_are_refused_by_name(name: str) -> None:
    with pytest.raises(
        UnsupportedError, match=f"unexpected tensor '{re.escape(name)}', not part of a Stable Diffusion"
    ):
        check_rest(PATH, [*PUBLISHED, *LEFT_OVER, name])


def test_no_tensor_of_a_published_network_counts_as_harmless() -> None:
    for file in (sd1(), sd2()):
        parts = [key for key in file if key.startswith(tuple(PARTS))]
        dropped = {key.rpartition(".")[2] for key in parts if harmless(key)}
        assert dropped <= {"position_ids", "attn_mask", "logit_scale", "text_projection"}
    for name in ("diffusers/sd1/unet", "diffusers/sd1,2/vae", "hf/sd1/text_encoder"):
        assert not [key for key in keys(name) if harmless(key)]


def test_a_key_that_the_network_has_is_needed_and_its_like_in_another_file_is_not() -> None:
    encoder = list(key_map.under("", "cond_stage_model.model.", clip_keys.openai_text(_Encoder(1))))
    held = [name for entry in encoder for name in entry.theirs]
    assert "cond_stage_model.model.text_projection" in needed_keys(encoder, held)
    cut = list(key_map.under("", "cond_stage_model.model.", clip_keys.openai_text(_Encoder(1), projected=False)))
    assert "cond_stage_model.model.text_projection" not in needed_keys(cut, held)
    assert "cond_stage_model.model.odd" in needed_keys(cut, [*held, "cond_stage_model.model.odd"])
    folder = list(clip_keys.transformers_text(_Encoder(1), projected=False))
    names = [name for entry in folder for name in entry.theirs]
    more = ["text_projection.weight", "logit_scale", "text_model.embeddings.position_ids", "text_projector.weight"]
    assert needed_keys(folder, [*names, *more]) == [*names, "text_projector.weight"]


class _Encoder:
    def __init__(self, layers: int) -> None:
        self.layers = layers


def test_every_family_needs_its_parts() -> None:
    assert needed_parts(Family.UNKNOWN) == needed_parts(Family.SD2) == ("unet", "vae", "text_encoder")
    assert "text_encoder_2" in needed_parts(Family.SDXL)
    assert set(needed_parts(Family.UNCLIP_L)) <= set(PARTS.values())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [((512,), (512, 1, 1), True), ((512, 512), (512, 512, 1, 1), True), ((1, 5), (5, 1), True), ((), (1, 1), True),
     ((2, 3), (3, 2), False), ((6,), (2, 3), False), ((4, 4, 3, 3), (4, 4), False), ((0,), (), False)],
)  # fmt: skip
def test_shapes_that_differ_by_ones_hold_the_same_numbers(one, other, same: bool) -> None:
    assert same_numbers(one, other) == same_numbers(other, one) == same


NAMES = {  # a layer of attention in ldm's layout, and what conversions have made of its name
    "norm": ("norm", "group_norm"), "q": ("q", "to_q", "query"), "k": ("k", "to_k", "key"), "v": ("v", "to_v", "value"),
    "proj_out": ("proj_out", "to_out.0", "proj_attn"),
}  # fmt: skip


def vae(layout: str) -> tuple[Kl, dict[str, Tensor]]:
    torch.manual_seed(0)
    net = Kl(TINY).eval()
    entries = kl_keys.ldm(TINY) if layout == "ldm" else kl_keys.diffusers(TINY)
    return net, key_map.write(list(entries), net.state_dict())


def loaded(path: Path, held: Mapping[str, Tensor], prefix: str, dtype: torch.dtype = torch.float32) -> Kl:
    if path.suffix == ".ckpt":
        torch.save({prefix + name: tensor for name, tensor in held.items()}, path)
    else:
        save_file({prefix + name: tensor.contiguous() for name, tensor in held.items()}, path)
    reader = Reader(path)
    fill = Filling(Place(device=torch.device("cpu"), dtype=dtype))
    return fill(lambda: Kl(TINY), "autoencoder", kl_keys.stored(TINY, reader.tensors, prefix), reader, reader.tensors)


def same_weights(ours: Kl, theirs: Kl) -> None:
    for name, tensor in ours.state_dict().items():
        assert tensor.isfinite().all()
        assert torch.equal(theirs.state_dict()[name], tensor), name


@pytest.mark.parametrize("prefix", ["", VAE])
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("layout", ["ldm", "diffusers"])
def test_an_autoencoder_is_read_with_any_names_of_its_attention(
    tmp_path: Path, layout: str, which: int, prefix: str
) -> None:
    net, held = vae(layout)
    usual = 0 if layout == "ldm" else 1
    place = "mid.attn_1" if layout == "ldm" else "mid_block.attentions.0"
    for names in NAMES.values():
        old, new = names[usual], names[min(which, len(names) - 1)]
        held = {key.replace(f"{place}.{old}.", f"{place}.{new}."): tensor for key, tensor in held.items()}
    same_weights(net, loaded(tmp_path / "x.safetensors", held, prefix))
    found = identify_file(Reader(tmp_path / "x.safetensors").index)
    assert isinstance(found, VaeIdentity)


@pytest.mark.parametrize("form", ["safetensors", "ckpt"])
@pytest.mark.parametrize("change", ["linear", "long biases", "both", "wide"])
def test_an_autoencoder_is_read_in_shapes_that_differ_by_ones(tmp_path: Path, change: str, form: str) -> None:
    net, held = vae("ldm" if change != "wide" else "diffusers")
    for name, tensor in held.items():
        if ".attn_1." in name and name.endswith("weight") and change in ("linear", "both"):
            held[name] = tensor.squeeze()
        if ".attn" in name and name.endswith("bias") and change != "linear":
            held[name] = tensor[:, None, None]
        if ".attentions." in name and name.endswith("weight") and change == "wide":
            held[name] = tensor[..., None, None]
    same_weights(net, loaded(tmp_path / f"x.{form}", held, VAE))
    again = loaded(tmp_path / f"x.{form}", held, VAE, torch.bfloat16)
    assert torch.equal(again.state_dict()["moments.bias"], net.state_dict()["moments.bias"].bfloat16())


def test_shapes_that_differ_by_more_are_refused(tmp_path: Path) -> None:
    _, held = vae("ldm")
    name = "encoder.mid.attn_1.q.bias"
    held[name] = held[name].reshape(8, -1)
    with pytest.raises(ScorefieldError, match=rf"{name} has shape \(8, 8\), where this network has \(64,\)"):
        loaded(tmp_path / "x.safetensors", held, "")
