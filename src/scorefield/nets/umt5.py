"""UMT5's encoder (Chung et al. 2023): T5 for a hundred languages, with a position bias of its own in every layer."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets.packed import Linear

EPS = 1e-6  # of every norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Umt5Config:
    """Widths and depths, and how attention distinguishes distances: exactly up to a quarter of `buckets`, then by log.

    `farthest`, in tokens, is where the last bucket of either direction begins, which has no end.
    """

    vocab_size: int
    width: int
    layers: int
    heads: int
    head_width: int
    mlp_width: int
    buckets: int = 32
    farthest: int = 128


UMT5_XXL = Umt5Config(vocab_size=256384, width=4096, layers=24, heads=64, head_width=64, mlp_width=10240)


def distance_buckets(length: int, buckets: int, farthest: int) -> Tensor:
    """The bucket (2 * length - 1,) of each distance from a query to a key, from 1 - length to length - 1.

    Keys before the query have the first half of the buckets (Raffel et al. 2020). On the CPU, so that a distance on
    the border of two buckets is in the same one on every device.
    """
    distance = torch.arange(1 - length, length, dtype=torch.int64, device="cpu")
    half = buckets // 2
    exact = half // 2
    near = distance.abs()
    octaves = torch.log(near.clamp(min=1).float() / exact) / math.log(farthest / exact)
    far = (exact + (octaves * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(near < exact, near, far) + half * (distance > 0)


class SelfAttention(nn.Module):
    """Self-attention with a bias on its scores for each distance, (B, L, width), added `onto` a tensor of this shape.

    The scores are not scaled: T5's initialisation has the factor.
    """

    def __init__(self, config: Umt5Config) -> None:
        super().__init__()
        self.heads, inner = config.heads, config.heads * config.head_width
        self.qkv = Linear(config.width, 3 * inner, bias=False)
        self.out = Linear(inner, config.width, bias=False)
        self.position_bias = nn.Embedding(config.buckets, config.heads)

    def forward(self, x: Tensor, buckets: Tensor, mask: Tensor | None, onto: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self._bias(buckets, length)
        if mask is not None:
            bias = bias.masked_fill(~mask[:, None, None, :], torch.finfo(bias.dtype).min)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, -1), onto=onto)
        return out

    def _bias(self, buckets: Tensor, length: int) -> Tensor:
        """(1, heads, length, length): each query's row is a window of the distances, one further left than the last."""
        biases: Tensor = self.position_bias(buckets)
        return biases.T.unfold(1, length, 1).flip(1)[None]


class GatedMlp(nn.Module):
    """Feed-forward layer with a gate, (B, L, width), added `onto` a tensor of this shape; GELU by tanh."""

    def __init__(self, config: Umt5Config) -> None:
        super().__init__()
        self.fc1 = Linear(config.width, 2 * config.mlp_width, bias=False)
        self.fc2 = Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Tensor, onto: Tensor) -> Tensor:
        gate, value = self.fc1(x).chunk(2, -1)
        out: Tensor = self.fc2(F.gelu(gate, approximate="tanh") * value, onto=onto)
        return out


class Block(nn.Module):
    """Pre-norm transformer block, (B, L, width) -> same shape."""

    def __init__(self, config: Umt5Config) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(config.width, EPS)
        self.attention = SelfAttention(config)
        self.norm2 = nn.RMSNorm(config.width, EPS)
        self.mlp = GatedMlp(config)

    def forward(self, x: Tensor, buckets: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention(self.norm1(x), buckets, mask, onto=x)
        out: Tensor = self.mlp(self.norm2(x), onto=x)
        return out


class Umt5Encoder(nn.Module):
    """(B, L) ids -> (B, L, width) states after the final norm; where `mask` (B, L) is False a key is hidden.

    The published weights are bfloat16. The sums between the blocks may leave float16's range.
    """

    def __init__(self, config: Umt5Config) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, EPS)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        buckets = distance_buckets(ids.shape[1], self.config.buckets, self.config.farthest).to(ids.device)
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x, buckets, mask)
        states: Tensor = self.norm(x)
        return states
