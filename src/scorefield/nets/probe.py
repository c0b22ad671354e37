"""Read the attention of a network's layers, and make a map of the picture for each token from a U-Net's."""

from collections.abc import Callable, Collection, Sequence
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from scorefield.errors import RequestError
from scorefield.nets.dit import DitBlock
from scorefield.nets.shared_copy import twin
from scorefield.nets.unet_blocks import CrossAttention, SelfAttention

N = TypeVar("N", bound=nn.Module)

Kind = Literal["self", "cross", "joint"]  # attention to positions, to tokens, to tokens and then positions
KINDS: dict[type[nn.Module], Kind] = {SelfAttention: "self", CrossAttention: "cross", DitBlock: "joint"}


class Attended(NamedTuple):
    """The attention of one layer in one forward pass."""

    layer: str  # its name in the network, such as down.0.stages.1.transformer.blocks.0.cross_attention
    kind: Kind
    weights: Tensor  # (B, heads, N, M) for N positions, row by row; M depends on `kind`. Each row sums to 1


Probe = Callable[[Attended], object]


def probed(net: N, probe: Probe, kinds: Collection[Kind] = ("self", "cross", "joint")) -> N:
    """A twin of `net`, a U-Net or a Dit, which calls `probe` with the attention of each layer as it runs.

    It shares the weights of `net`, which does not change, and gives the same output. `kinds` selects the layers: in a
    U-Net one map of self-attention has 134 million numbers for 512 x 512 pixels.
    """
    copy = twin(net)
    for name, layer in copy.named_modules():
        if isinstance(layer, SelfAttention | CrossAttention | DitBlock) and (kind := KINDS[type(layer)]) in kinds:
            layer.register_forward_pre_hook(_hook(probe, name, kind, layer.attention))
    return copy


def _hook(
    probe: Probe, name: str, kind: Kind, attention: Callable[..., Tensor]
) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        probe(Attended(name, kind, attention(*inputs)))

    return hook


def token_maps(attended: Sequence[Attended], height: int, width: int) -> Tensor:
    """The attention of each position to each token, (B, L, height, width), for latents of that size; sums to 1 over L.

    It is the mean over heads and layers of a U-Net's attention to the tokens (Tang et al. 2022, DAAM), with coarse maps
    enlarged bilinearly. RequestError if `attended` holds no attention to tokens.
    """
    maps = [_enlarged(one.weights.float().mean(1).mT, height, width) for one in attended if one.kind == "cross"]
    if not maps:
        raise RequestError("there is no map: the attention to tokens was not recorded")
    return torch.stack(maps).mean(0)


def _enlarged(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, L, N) of a coarser resolution, at the size of the finest."""
    rows, columns = height, width
    while rows * columns > maps.shape[-1]:  # each coarser resolution has half the sides, rounded up
        rows, columns = -(-rows // 2), -(-columns // 2)
    return interpolate(maps.reshape(*maps.shape[:2], rows, columns), size=(height, width), mode="bilinear")
