"""What latent diffusion's U-Net is made of; the KL autoencoder shares its residual blocks."""

import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets.layers import attend, attention

GROUPS = 32  # of every group norm, whatever the width


def zeroed(layer: nn.Module) -> nn.Module:
    """`layer` with all weights 0: a residual branch that ends in it changes nothing while it is new."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


class ResBlock(nn.Module):
    """Two 3x3 convolutions beside an identity, (B, before, H, W) -> (B, after, H, W).

    Between them the time embedding is added, if the block has a `time_width`: (B, time_width), already activated.
    """

    def __init__(self, before: int, after: int, time_width: int | None = None, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, before, eps)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.time = None if time_width is None else nn.Linear(time_width, after)
        self.norm2 = nn.GroupNorm(GROUPS, after, eps)
        self.conv2 = zeroed(nn.Conv2d(after, after, 3, padding=1))
        self.skip = None if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time is not None:
            h = h + self.time(time)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        out: Tensor = (x if self.skip is None else self.skip(x)) + h
        return out


class Grow(nn.Module):
    """The nearest neighbour's value, then a 3x3 convolution, (B, width, H, W) -> `size`, or twice the sides."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        grown: Tensor = self.conv(F.interpolate(x, size or (2 * x.shape[-2], 2 * x.shape[-1])))
        return grown


def _heads(x: Tensor, parts: int, heads: int) -> Tensor:
    """(B, N, parts * width) -> (parts, B, heads, N, width / heads)."""
    batch, length, _ = x.shape
    return x.view(batch, length, parts, heads, -1).permute(2, 0, 3, 1, 4)


class SelfAttention(nn.Module):
    """Every position looks at every other, (B, N, width) -> same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = _heads(self.qkv(x), 3, self.heads)
        mixed: Tensor = self.out(attend(q, k, v).transpose(1, 2).reshape(x.shape))
        return mixed

    def attention(self, x: Tensor) -> Tensor:
        """How much each position looks at each other, (B, heads, N, N): for looking at it."""
        q, k, _ = _heads(self.qkv(x), 3, self.heads)
        return attention(q, k)


class CrossAttention(nn.Module):
    """Every position looks at the tokens (B, L, context_width), (B, N, width) -> same shape."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(context_width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        (q,), (k, v) = _heads(self.q(x), 1, self.heads), _heads(self.kv(tokens), 2, self.heads)
        mixed: Tensor = self.out(attend(q, k, v).transpose(1, 2).reshape(x.shape))
        return mixed

    def attention(self, x: Tensor, tokens: Tensor) -> Tensor:
        """How much each position looks at each token, (B, heads, N, L): for looking at it."""
        (q,), (k, _) = _heads(self.q(x), 1, self.heads), _heads(self.kv(tokens), 2, self.heads)
        return attention(q, k)


class Geglu(nn.Module):
    """Feed-forward layer with a gate, (B, N, width) -> same shape; exact GELU (Shazeer 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 8 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.fc1(x).chunk(2, -1)
        out: Tensor = self.fc2(value * F.gelu(gate))
        return out


class TransformerBlock(nn.Module):
    """Self-attention, attention to the tokens, feed-forward, each after a norm, (B, N, width) -> same shape."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.self_attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.cross_attention = CrossAttention(width, context_width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = Geglu(width)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        x = x + self.self_attention(self.norm1(x))
        x = x + self.cross_attention(self.norm2(x), tokens)
        out: Tensor = x + self.mlp(self.norm3(x))
        return out


class Transformer(nn.Module):
    """`depth` blocks over the grid's positions, beside an identity, (B, width, H, W) -> same shape."""

    def __init__(self, width: int, context_width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, 1e-6)
        self.project_in = nn.Linear(width, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, context_width, heads) for _ in range(depth))
        self.project_out = zeroed(nn.Linear(width, width))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        batch, width, *sides = x.shape
        # Channels last, the positions are rows in memory already: a view.
        h = self.project_in(self.norm(x).permute(0, 2, 3, 1).reshape(batch, -1, width))
        for block in self.blocks:
            h = block(h, tokens)
        out: Tensor = x + self.project_out(h).unflatten(1, sides).permute(0, 3, 1, 2)
        return out
