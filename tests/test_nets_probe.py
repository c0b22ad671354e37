"""Where the U-Net looks: each block's attention is the explicit softmax, and each token has a map of the picture."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tests.test_nets_unet import TINY, inputs, randomised
from torch import Tensor, nn

from scorefield.nets.probe import Attended, probed, token_maps
from scorefield.nets.unet import Unet
from scorefield.nets.unet_blocks import CrossAttention, SelfAttention

HEIGHT, WIDTH, TOKENS = 7, 10, 7  # odd, so that a level's half is rounded up; no square


@pytest.fixture(scope="module")
def net() -> Unet:
    made = randomised(Unet(TINY))
    assert isinstance(made, Unet)
    return made


@pytest.fixture(scope="module")
def told(net: Unet) -> list[Attended]:
    heard: list[Attended] = []
    probed(net, heard.append)(**inputs(TINY, HEIGHT, WIDTH))
    return heard


def explicit(layer: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
    """The softmax of queries and keys, one head after the other, in float64."""
    x, seen = given[0].double(), given[-1].double()
    if isinstance(layer, SelfAttention):
        width = x.shape[-1]
        query, key = layer.qkv.weight[:width].double(), layer.qkv.weight[width : 2 * width].double()
    else:
        assert isinstance(layer, CrossAttention)
        query, key = layer.q.weight.double(), layer.kv.weight.double().chunk(2)[0]
    maps = []
    for q, k in zip(query.chunk(layer.heads), key.chunk(layer.heads), strict=True):
        scores = torch.einsum("bnc,dc,bmf,df->bnm", x, q, seen, k) / math.sqrt(len(q))
        maps.append(scores.exp() / scores.exp().sum(-1, keepdim=True))
    return torch.stack(maps, 1)


def test_the_probe_gets_every_layer_by_name_in_order_with_the_explicit_softmax(net: Unet, told: list[Attended]) -> None:
    wanted: list[tuple[str, Tensor]] = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given, name=name: wanted.append((name, explicit(layer, given))))
        for name, layer in net.named_modules()
        if isinstance(layer, SelfAttention | CrossAttention)
    ]
    net(**inputs(TINY, HEIGHT, WIDTH))
    for hook in hooks:
        hook.remove()
    assert [one.layer for one in told] == [name for name, _ in wanted]
    assert told[0].layer == "down.0.stages.0.transformer.blocks.0.self_attention"
    assert {one.layer.split(".")[0] for one in told} == {"down", "middle", "up"}
    for one, (_, expected) in zip(told, wanted, strict=True):
        assert one.weights.isfinite().all()
        assert one.weights.std() > 1e-4  # it does not look everywhere alike
        torch.testing.assert_close(one.weights.double(), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(one.weights.sum(-1), torch.ones(one.weights.shape[:-1]), rtol=0, atol=1e-5)


def test_the_output_does_not_know_of_the_probe_nor_the_network_of_its_twin(net: Unet, told: list[Attended]) -> None:
    given = inputs(TINY, HEIGHT, WIDTH)
    before, heard = net(**given), list[Attended]()
    twin = probed(net, heard.append)
    assert before.isfinite().all()
    assert torch.equal(twin(**given), before)
    count = len(heard)
    assert torch.equal(net(**given), before)
    assert count == len(heard) == len(told)
    assert all(a is b for a, b in zip(twin.parameters(), net.parameters(), strict=True))


def test_a_kind_that_is_left_out_is_never_computed(net: Unet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(SelfAttention, "attention")
    heard: list[Attended] = []
    probed(net, heard.append, ("cross",))(**inputs(TINY, HEIGHT, WIDTH))
    assert {one.kind for one in heard} == {"cross"}


def test_two_threads_with_a_probe_each_hear_their_own(net: Unet, told: list[Attended]) -> None:
    def hear(row: int) -> list[Attended]:
        heard: list[Attended] = []
        given = {name: value[row : row + 1] for name, value in inputs(TINY, HEIGHT, WIDTH).items()}
        probed(net, heard.append)(**given)
        return heard

    with ThreadPoolExecutor(2) as pool:
        for row, heard in enumerate(pool.map(hear, (0, 1))):
            for one, whole in zip(heard, told, strict=True):
                torch.testing.assert_close(one.weights[0], whole.weights[row], rtol=0, atol=1e-5)


def test_the_maps_of_the_tokens_are_shares_of_every_place(told: list[Attended]) -> None:
    maps = token_maps(told, HEIGHT, WIDTH)
    assert maps.shape == (2, TOKENS, HEIGHT, WIDTH)
    assert (maps > 0).all()
    torch.testing.assert_close(maps.sum(1), torch.ones(2, HEIGHT, WIDTH), rtol=0, atol=1e-5)


def test_a_token_that_one_corner_looks_at_has_its_map_there_at_every_level() -> None:
    """Rows 4 and 2 of a 7 x 10 and of its 4 x 5 and 2 x 3 grids: the place, not the order of the numbers, counts."""
    told = []
    for rows, columns in ((7, 10), (4, 5), (2, 3)):
        weights = torch.zeros(1, 2, rows, columns, 3)
        weights[..., 0] = 1.0
        weights[:, :, -1, 0] = torch.tensor([0.0, 0.0, 1.0])  # below, on the left
        told.append(Attended("a layer", "cross", weights.flatten(2, 3)))
    maps = token_maps(told, HEIGHT, WIDTH)[0]
    assert maps[2].argmax() == (HEIGHT - 1) * WIDTH
    assert maps[2, -1, 0] == 1
    assert maps[2, 0].max() == maps[2, :, -1].max() == maps[1].max() == 0


def test_maps_of_tokens_want_attention_to_tokens(told: list[Attended]) -> None:
    with pytest.raises(ValueError, match="attention to tokens was not recorded"):
        token_maps([one for one in told if one.kind == "self"], HEIGHT, WIDTH)
