"""Where a network looks: the attention of its blocks, and out of a U-Net's one map of the picture for each token."""

from collections.abc import Callable, Collection, Sequence
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from scorefield.nets.dit import DitBlock
from scorefield.nets.twin import twin
from scorefield.nets.unet_blocks import CrossAttention, SelfAttention

N = TypeVar("N", bound=nn.Module)

Kind = Literal["self", "cross", "joint"]  # to the other places, to the tokens, to the tokens and then the places
KINDS: dict[type[nn.Module], Kind] = {SelfAttention: "self", CrossAttention: "cross", DitBlock: "joint"}


class Attended(NamedTuple):
    """What one attention layer does in one forward: weights (B, heads, N, M), each row of which sums to 1.

    `layer` is its name in the network, as down.0.stages.1.transformer.blocks.0.cross_attention. The N places go row by
    row; M is N again, the number of tokens, or both.
    """

    layer: str
    kind: Kind
    weights: Tensor


Probe = Callable[[Attended], object]


def probed(net: N, probe: Probe, kinds: Collection[Kind] = ("self", "cross", "joint")) -> N:
    """A twin of `net`, a U-Net or a Dit, whose every forward tells `probe` where each layer looks, in order.

    Weights and output are those of `net`, which itself holds no probe, so that others may use it meanwhile. In a U-Net
    one map of self-attention has 134 million numbers for 512 x 512 pixels: leave that kind out where it is not wanted.
    """
    made = twin(net)
    for name, layer in made.named_modules():
        if isinstance(layer, SelfAttention | CrossAttention | DitBlock) and (kind := KINDS[type(layer)]) in kinds:
            layer.register_forward_pre_hook(_telling(probe, name, kind, layer.attention))
    return made


def _telling(
    probe: Probe, name: str, kind: Kind, attention: Callable[..., Tensor]
) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def tell(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        probe(Attended(name, kind, attention(*given)))

    return tell


def token_maps(told: Sequence[Attended], height: int, width: int) -> Tensor:
    """Where each token is heard, (B, L, height, width), for latents of that size: at every place all sum to 1.

    The mean over heads and over all blocks' attention to the tokens (Tang et al. 2022, DAAM), coarse maps drawn out
    linearly. ValueError if nothing that was told is attention to tokens.
    """
    maps = [_grown(one.weights.float().mean(1).mT, height, width) for one in told if one.kind == "cross"]
    if not maps:
        raise ValueError("no attention to tokens was told: there is no map of them")
    return torch.stack(maps).mean(0)


def _grown(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, L, N) of a coarser level at the size of the finest."""
    rows, columns = height, width
    while rows * columns > maps.shape[-1]:  # each level has half the sides, rounded up
        rows, columns = -(-rows // 2), -(-columns // 2)
    return interpolate(maps.reshape(*maps.shape[:2], rows, columns), size=(height, width), mode="bilinear")
