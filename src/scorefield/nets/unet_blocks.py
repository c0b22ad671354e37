"""The blocks of latent diffusion's U-Net; the KL autoencoder shares its residual blocks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets.layers import attend, attention
from scorefield.nets.packed import Conv2d, Linear

GROUPS = 32  # of every group norm, whatever the width
_ROWS = 1024  # rows of the feed-forward layer at a time on a CPU: they fit in the cache, which saves up to a quarter


def zeroed(layer: nn.Module) -> nn.Module:
    """`layer` with all weights 0, so that a new residual branch ending in it changes nothing."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


class ResBlock(nn.Module):
    """Two 3x3 convolutions with a residual connection, (B, before, H, W) -> (B, after, H, W).

    With a `time_width`, the time embedding (B, time_width), already activated, is added between them.
    """

    def __init__(self, before: int, after: int, time_width: int | None = None, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, before, eps)
        self.conv1 = Conv2d(before, after, 3, padding=1)
        self.time = None if time_width is None else Linear(time_width, after)
        self.norm2 = nn.GroupNorm(GROUPS, after, eps)
        self.conv2 = zeroed(Conv2d(after, after, 3, padding=1))
        self.skip = None if before == after else Conv2d(before, after, 1)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time is not None:
            h = h + self.time(time)[:, :, None, None]
        out: Tensor = self.conv2(F.silu(self.norm2(h)), onto=x if self.skip is None else self.skip(x))
        return out


class Grow(nn.Module):
    """Nearest-neighbour upsampling to `size`, by default twice the sides, then a 3x3 convolution, (B, width, H, W).

    With `after`, the result has that many channels.
    """

    def __init__(self, width: int, after: int | None = None) -> None:
        super().__init__()
        self.conv = Conv2d(width, after or width, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        grown: Tensor = self.conv(F.interpolate(x, size or (2 * x.shape[-2], 2 * x.shape[-1])))
        return grown


def _heads(x: Tensor, parts: int, heads: int) -> Tensor:
    """(B, N, parts * width) -> (parts, B, heads, N, width / heads)."""
    batch, length, _ = x.shape
    return x.view(batch, length, parts, heads, -1).permute(2, 0, 3, 1, 4)


class SelfAttention(nn.Module):
    """Self-attention, (B, N, width) -> same shape, added `onto` a tensor if there is one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width, bias=False)
        self.out = Linear(width, width)

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        q, k, v = _heads(self.qkv(x), 3, self.heads)
        out: Tensor = self.out(attend(q, k, v).transpose(1, 2).reshape(x.shape), onto=onto)
        return out

    def attention(self, x: Tensor) -> Tensor:
        """The attention weights (B, heads, N, N), for a probe."""
        q, k, _ = _heads(self.qkv(x), 3, self.heads)
        return attention(q, k)


class CrossAttention(nn.Module):
    """Attention to the tokens (B, L, context_width), (B, N, width) -> same shape, added `onto` a tensor if any."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = Linear(width, width, bias=False)
        self.kv = Linear(context_width, 2 * width, bias=False)
        self.out = Linear(width, width)

    def forward(self, x: Tensor, tokens: Tensor, onto: Tensor | None = None) -> Tensor:
        (q,), (k, v) = _heads(self.q(x), 1, self.heads), _heads(self.kv(tokens), 2, self.heads)
        out: Tensor = self.out(attend(q, k, v).transpose(1, 2).reshape(x.shape), onto=onto)
        return out

    def attention(self, x: Tensor, tokens: Tensor) -> Tensor:
        """The attention weights (B, heads, N, L), for a probe."""
        (q,), (k, _) = _heads(self.q(x), 1, self.heads), _heads(self.kv(tokens), 2, self.heads)
        return attention(q, k)


class Geglu(nn.Module):
    """Feed-forward layer with a gate, (B, N, width), added `onto` a tensor of this shape; exact GELU (Shazeer 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, 8 * width)
        self.fc2 = Linear(4 * width, width)

    def forward(self, x: Tensor, onto: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return self._rows(x, onto)
        parts = zip(torch.split(x.flatten(0, 1), _ROWS), torch.split(onto.flatten(0, 1), _ROWS), strict=True)
        return torch.cat([self._rows(*part) for part in parts]).view(onto.shape)

    def _rows(self, x: Tensor, onto: Tensor) -> Tensor:
        value, gate = self.fc1(x).chunk(2, -1)
        out: Tensor = self.fc2(value * F.gelu(gate), onto=onto)
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
        x = self.self_attention(self.norm1(x), onto=x)
        x = self.cross_attention(self.norm2(x), tokens, onto=x)
        out: Tensor = self.mlp(self.norm3(x), onto=x)
        return out


class Transformer(nn.Module):
    """`depth` blocks over the grid's positions, with a residual connection, (B, width, H, W) -> same shape."""

    def __init__(self, width: int, context_width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, 1e-6)
        self.project_in = Linear(width, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, context_width, heads) for _ in range(depth))
        self.project_out = zeroed(Linear(width, width))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        batch, width, *sides = x.shape
        # In channels-last memory the positions are rows already, so this is a view.
        rows = x.permute(0, 2, 3, 1).reshape(batch, -1, width)
        h = self.project_in(self.norm(x).permute(0, 2, 3, 1).reshape(rows.shape))
        for block in self.blocks:
            h = block(h, tokens)
        out: Tensor = self.project_out(h, onto=rows).unflatten(1, sides).permute(0, 3, 1, 2)
        return out
