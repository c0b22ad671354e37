"""UMT5's encoder: transformers' and Wan's own to rounding, through the maps of every published name."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as peers
from safetensors.torch import load_file, save_file
from tests import peer_networks
from tests.networks import loaded, read_ours, relative_error
from tests.published import PARAMS, PUBLISHED
from torch import Tensor, nn

from scorefield.families.fill import hollow
from scorefield.nets import packed
from scorefield.nets.umt5 import UMT5_XXL, Umt5Config, Umt5Encoder, distance_buckets
from scorefield.weights.key_map import KeysError, check, write
from scorefield.weights.key_maps import umt5_keys as maps

TINY = Umt5Config(vocab_size=50, width=24, layers=3, heads=5, head_width=8, mlp_width=56)  # heads wider than the states
WAN, TRANSFORMERS = "wan/models_t5_umt5-xxl-enc-bf16.pth", "hf/umt5-xxl encoder"
SHARED, TIED = "shared.weight", "encoder.embed_tokens.weight"
LENGTH, SHORTER = 200, 150  # farther apart than the last bucket begins
IDS = torch.stack([torch.arange(LENGTH) * 7 % 50, (torch.arange(LENGTH) * 11 + 3) % 50])
MASK = torch.stack([torch.arange(LENGTH) < LENGTH, torch.arange(LENGTH) < SHORTER])
IDS[~MASK] = 0


def randomised(module: nn.Module) -> nn.Module:
    """Every weight drawn, norms and biases too."""
    source = torch.Generator().manual_seed(0)
    for name, weight in module.named_parameters():
        drawn = torch.randn(weight.shape, generator=source)
        if weight.ndim == 1:
            drawn = 1 + 0.3 * drawn
        elif not any(part in name for part in ("shared", "tokens", "bias")):
            drawn *= weight.shape[1] ** -0.5
        weight.data = drawn
    return module.eval()


@pytest.fixture(scope="module")
def theirs() -> Any:
    return randomised(peer_networks.umt5(TINY))


@pytest.fixture(scope="module")
def folder(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that transformers wrote."""
    path = tmp_path_factory.mktemp("text_encoder")
    theirs.save_pretrained(path)
    return path


def from_file(path: Path, config: Umt5Config = TINY) -> Umt5Encoder:
    keys = load_file(path)
    entries = maps.stored(config, keys)
    check(entries, maps.needed(keys))
    made = path.with_suffix(".needed.safetensors")
    save_file({key: keys[key] for key in maps.needed(keys)}, made)
    return loaded(lambda: Umt5Encoder(config), made, entries)


@pytest.fixture(scope="module")
def ours(folder: Path) -> Umt5Encoder:
    return from_file(folder / "model.safetensors")


@torch.no_grad()
def test_it_is_transformers(ours: Umt5Encoder, theirs: Any) -> None:
    plain = relative_error(ours(IDS), theirs(input_ids=IDS).last_hidden_state, 0.1)
    states = theirs(input_ids=IDS, attention_mask=MASK.long()).last_hidden_state
    assert plain < 1e-5  # 3e-7 was measured
    assert relative_error(ours(IDS, MASK)[MASK], states[MASK], 0.1) < 1e-5


# The original's T5Encoder (Wan2.1, 9737cba), float32 on a CPU, of TINY's sizes and shared_pos=False, read IDS and MASK
# with the weights of `waves`: of each prompt's real rows the sum of the absolute values, the first four numbers of the
# first, and the last four of the last.
ORIGINAL = [
    (4096.924684134312, [-2.2081894874572754, 3.0486879348754883, 0.509373664855957, -1.6665078401565552],
     [0.5651070475578308, 2.7624096870422363, -2.4543089866638184, -0.6546183228492737]),
    (3081.7498596267396, [-0.9620687961578369, 0.7848777770996094, 0.7474492788314819, 0.09554459154605865],
     [-0.44132640957832336, 0.5220516920089722, -0.5731673240661621, 0.8571451902389526]),
]  # fmt: skip


def waves(shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Weights by a formula, of the original's names in alphabetical order."""
    made = {}
    for k, (name, shape) in enumerate(sorted(shapes.items())):
        n = torch.arange(shape.numel(), dtype=torch.float64)
        wave = torch.sin(1.7 * k + 0.37 * n * (1 + 0.001 * n)).reshape(shape)
        factor = 1.0 if "embedding" in name else 2 * shape[-1] ** -0.5
        made[name] = (1 + 0.3 * wave if len(shape) == 1 else factor * wave).float()
    return made


@torch.no_grad()
def test_it_is_wans_own(tmp_path: Path) -> None:
    entries = list(maps.wan(TINY))
    shapes = {name: value.shape for name, value in write(entries, Umt5Encoder(TINY).state_dict()).items()}
    save_file(waves(shapes), tmp_path / "encoder.safetensors")
    states = from_file(tmp_path / "encoder.safetensors")(IDS, MASK)
    for row, (total, first, last) in enumerate(ORIGINAL):
        real = states[row][MASK[row]]
        assert float(real.double().abs().sum()) == pytest.approx(total, rel=1e-6)
        assert real[0, :4].tolist() == pytest.approx(first, abs=1e-5)
        assert real[-1, -4:].tolist() == pytest.approx(last, abs=1e-5)


@torch.no_grad()
def test_a_masked_prompt_is_the_prompt_without_padding(ours: Umt5Encoder) -> None:
    alone = ours(IDS[1:, :SHORTER])
    assert relative_error(ours(IDS, MASK)[1:, :SHORTER], alone, 0.1) < 1e-6
    assert relative_error(ours(IDS)[1:, :SHORTER], alone, 0.1) > 1e-2  # without a mask padding is read
    assert ours(IDS, torch.zeros_like(MASK)).isfinite().all()


@torch.no_grad()
def test_in_bfloat16_it_is_as_near_to_float32_as_transformers_is(ours: Umt5Encoder, folder: Path) -> None:
    theirs = peers.UMT5EncoderModel.from_pretrained(folder, dtype=torch.bfloat16)
    halved = from_file(folder / "model.safetensors").bfloat16()
    exact = ours(IDS)
    states = halved(IDS)
    assert states.dtype == torch.bfloat16
    error = relative_error(states.float(), exact, 0.1)
    assert error < 1.1 * relative_error(theirs(input_ids=IDS).last_hidden_state.float(), exact, 0.1)


def test_distances_have_transformers_buckets() -> None:
    attention = peer_networks.umt5(replace(TINY, layers=1)).encoder.block[0].layer[0].SelfAttention
    length = 600
    expected = attention._relative_position_bucket(torch.arange(1 - length, length))
    assert distance_buckets(length, TINY.buckets, TINY.farthest).equal(expected)
    assert expected.unique().equal(torch.arange(32)[torch.arange(32) != 16])  # no key after the query is 0 away


def test_every_product_can_be_packed() -> None:
    with hollow():
        net = Umt5Encoder(TINY)
    matrices = {name for name, weight in net.named_parameters() if weight.ndim == 2}
    tables = {"tokens.weight", *(f"blocks.{n}.attention.position_bias.weight" for n in range(TINY.layers))}
    assert set(packed.layers(net)) == matrices - tables


@pytest.mark.parametrize("name", [WAN, TRANSFORMERS])
def test_every_published_key_is_named(name: str) -> None:
    with hollow():
        state = Umt5Encoder(UMT5_XXL).state_dict()
    listing = PUBLISHED[name]
    entries, needed = maps.stored(UMT5_XXL, listing), maps.needed(listing)
    assert sum(weight.numel() for weight in state.values()) == PARAMS[name] == 5_680_910_336
    assert sorted(entry.ours for entry in entries) == sorted(state)
    check(entries, needed)
    assert len(needed) == 242
    assert set(listing) - set(needed) <= {TIED}
    shapes = {key: list(value.shape) for key, value in write(entries, state).items()}
    assert shapes == {key: listing[key] for key in needed}


# The renames that were checked on all keys and shapes of the two reference networks.
RENAMES = {
    r"token_embedding": "shared", r"norm": "encoder.final_layer_norm", r"blocks\.(\d+)\.(.*)": r"encoder.block.\1.\2",
    r"(.*)\.norm1": r"\1.layer.0.layer_norm", r"(.*)\.norm2": r"\1.layer.1.layer_norm",
    r"(.*)\.attn\.([qkvo])": r"\1.layer.0.SelfAttention.\2",
    r"(.*)\.pos_embedding\.embedding": r"\1.layer.0.SelfAttention.relative_attention_bias",
    r"(.*)\.ffn\.gate\.0": r"\1.layer.1.DenseReluDense.wi_0", r"(.*)\.ffn\.fc1": r"\1.layer.1.DenseReluDense.wi_1",
    r"(.*)\.ffn\.fc2": r"\1.layer.1.DenseReluDense.wo",
}  # fmt: skip


def test_the_two_layouts_are_each_other_renamed() -> None:
    def renamed(name: str) -> str:
        stem = name.removesuffix(".weight")
        for pattern, replacement in RENAMES.items():
            stem = re.sub(f"^{pattern}$", replacement, stem)
        return f"{stem}.weight"

    theirs = {entry.ours: entry.theirs for entry in maps.transformers(UMT5_XXL)}
    for entry in maps.wan(UMT5_XXL):
        assert tuple(map(renamed, entry.theirs)) == theirs[entry.ours]
    assert sum(map(len, theirs.values())) == 242


@pytest.mark.parametrize("layout", [maps.wan, maps.transformers], ids=lambda layout: layout.__name__)
def test_writing_undoes_reading_to_the_bit(layout: Any) -> None:
    ours = randomised(Umt5Encoder(TINY)).state_dict()
    entries = list(layout(TINY))
    back = read_ours(ours, entries, write(entries, ours).__getitem__)
    assert back.keys() == ours.keys()
    assert all(back[name].equal(ours[name]) for name in ours)


@pytest.mark.parametrize("names", [(SHARED,), (TIED,), (SHARED, TIED)], ids="+".join)
@torch.no_grad()
def test_the_embedding_has_either_name_or_both(
    names: tuple[str, ...], ours: Umt5Encoder, folder: Path, tmp_path: Path
) -> None:
    held = load_file(folder / "model.safetensors")
    table = held.pop(SHARED)
    assert TIED not in held
    save_file(held | {name: table.clone() for name in names}, tmp_path / "model.safetensors")
    assert from_file(tmp_path / "model.safetensors")(IDS).equal(ours(IDS))


@torch.no_grad()
def test_comfyuis_file_holds_its_tokenizer_too(ours: Umt5Encoder, folder: Path, tmp_path: Path) -> None:
    held = load_file(folder / "model.safetensors") | {"spiece_model": torch.zeros(9, dtype=torch.uint8)}
    save_file(held, tmp_path / "umt5_xxl.safetensors")
    assert from_file(tmp_path / "umt5_xxl.safetensors")(IDS).equal(ours(IDS))
    scaled = held | {"scaled_fp8": torch.zeros(0)}  # whose weights are to be multiplied by further tensors
    with pytest.raises(KeysError, match=r"unknown \(scaled_fp8\)"):
        check(maps.stored(TINY, scaled), maps.needed(scaled))


def test_a_file_of_another_depth_is_refused(folder: Path) -> None:
    keys = load_file(folder / "model.safetensors")
    deeper = replace(TINY, layers=4)
    with pytest.raises(KeysError, match="10 missing"):
        check(maps.stored(deeper, keys), maps.needed(keys))
