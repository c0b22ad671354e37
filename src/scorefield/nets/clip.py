"""CLIP: an image encoder and a text encoder with a shared space of vectors (Radford et al. 2021)."""

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets.layers import ChannelNorm, attend, channels_last, hiding

Activation = Literal["gelu", "quick_gelu"]
Stem = Literal["patch", "convolutions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """The image encoder; sizes are in pixels. With a stem of convolutions, `patch_size` must be a power of 2."""

    width: int = 256
    layers: int = 6
    heads: int = 4
    patch_size: int = 16
    image_size: int = 128
    stem: Stem = "patch"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """The text encoder; `end_id` is the token whose state becomes the prompt's summary, None for the largest id."""

    width: int = 256
    layers: int = 3
    heads: int = 4
    context_length: int = 32
    vocab_size: int = 512
    end_id: int | None = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipConfig:
    """Both encoders and the space they share."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    embed_dim: int = 256
    activation: Activation = "gelu"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """A text encoder, and which of its states condition a diffusion model."""

    text: TextConfig
    embed_dim: int | None = None  # of the summary; None if it is not projected
    activation: Activation = "quick_gelu"
    skip: int = 0  # the states are taken this many blocks before the last
    normed: bool = True  # whether the final norm is applied to the states


VIT_B_32 = ClipConfig(
    vision=VisionConfig(width=768, layers=12, heads=12, patch_size=32, image_size=224),
    text=TextConfig(width=512, layers=12, heads=8, context_length=77, vocab_size=49408, end_id=49407),
    embed_dim=512,
    activation="quick_gelu",
)
VIT_L_14 = ClipConfig(
    vision=VisionConfig(width=1024, layers=24, heads=16, patch_size=14, image_size=224),
    text=TextConfig(width=768, layers=12, heads=12, context_length=77, vocab_size=49408, end_id=49407),
    embed_dim=768,
    activation="quick_gelu",
)
VIT_H_14 = ClipConfig(
    vision=VisionConfig(width=1280, layers=32, heads=16, patch_size=14, image_size=224),
    text=TextConfig(width=1024, layers=24, heads=16, context_length=77, vocab_size=49408, end_id=49407),
    embed_dim=1024,
)
# Of the pixels that every published CLIP was trained on, by channel (Radford et al. 2021).
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

BIG_G_TEXT = TextConfig(width=1280, layers=32, heads=20, context_length=77, vocab_size=49408, end_id=49407)

SD1_TEXT = EncoderConfig(text=VIT_L_14.text)
SD2_TEXT = EncoderConfig(text=VIT_H_14.text, embed_dim=1024, activation="gelu", skip=1)  # of the single files
SD2_TEXT_23 = EncoderConfig(text=replace(VIT_H_14.text, layers=23), activation="gelu")  # the folders' copy of it
SDXL_TEXT = EncoderConfig(text=VIT_L_14.text, skip=1, normed=False)
SDXL_TEXT_2 = EncoderConfig(text=BIG_G_TEXT, embed_dim=1280, activation="gelu", skip=1, normed=False)


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), which OpenAI's weights were trained with."""
    return x * torch.sigmoid(1.702 * x)


class SelfAttention(nn.Module):
    """Multi-head self-attention, (B, L, width) -> same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.out(attend(q, k, v, bias).transpose(1, 2).reshape(batch, length, width))
        return mixed


class Block(nn.Module):
    """Pre-norm transformer block, (B, L, width) -> same shape."""

    def __init__(self, width: int, heads: int, activation: Activation) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.activation = quick_gelu if activation == "quick_gelu" else F.gelu

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norm1(x), bias)
        mapped: Tensor = x + self.fc2(self.activation(self.fc1(self.norm2(x))))
        return mapped


def _blocks(width: int, layers: int, heads: int, activation: Activation) -> nn.ModuleList:
    """Blocks with the published initialisation: the residual branches shrink with the depth."""
    blocks = nn.ModuleList(Block(width, heads, activation) for _ in range(layers))
    for name, weight in blocks.named_parameters():
        if name.endswith(("out.weight", "fc2.weight")):
            nn.init.normal_(weight, std=width**-0.5 * (2 * layers) ** -0.5)
        elif name.endswith("qkv.weight"):
            nn.init.normal_(weight, std=width**-0.5)
        elif name.endswith("fc1.weight"):
            nn.init.normal_(weight, std=(2 * width) ** -0.5)
        elif name.endswith("bias"):
            nn.init.zeros_(weight)
    return blocks


def _stem(config: VisionConfig) -> nn.Module:
    """(B, 3, S, S) -> (B, width, S / patch_size, S / patch_size): one patch embedding, or a series of halvings.

    Early convolutions learn from fewer pictures (Xiao et al. 2021); published CLIPs have the patch embedding.
    """
    if config.stem == "patch":
        return nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size, bias=False)
    halvings = config.patch_size.bit_length() - 1
    widths = [3, *(config.width >> (halvings - 1 - k) for k in range(halvings))]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), ChannelNorm(after), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(config.width, config.width, 1))


class ImageEncoder(nn.Module):
    """A ViT: (B, 3, S, S) pixels -> (B, 1 + patches, width) states, the class token's first."""

    def __init__(self, config: VisionConfig, embed_dim: int | None, activation: Activation) -> None:
        super().__init__()
        self.image_size = config.image_size
        patches, scale = (config.image_size // config.patch_size) ** 2, config.width**-0.5
        self.patch = _stem(config)
        self.class_token = nn.Parameter(torch.empty(config.width))
        self.positions = nn.Parameter(torch.empty(1 + patches, config.width))
        self.norm_pre = nn.LayerNorm(config.width)
        self.blocks = _blocks(config.width, config.layers, config.heads, activation)
        self.norm_post = nn.LayerNorm(config.width)
        self.projection = nn.Identity() if embed_dim is None else nn.Linear(config.width, embed_dim, bias=False)
        for weight in (self.class_token, self.positions, *self.projection.parameters()):
            nn.init.normal_(weight, std=scale)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.states(pixels, len(self.blocks))

    def states(self, pixels: Tensor, blocks: int) -> Tensor:
        """The states (B, 1 + patches, width) after the first `blocks` blocks."""
        if pixels.shape[1:] != (3, self.image_size, self.image_size):
            raise ValueError(
                f"pixels {tuple(pixels.shape)}: this CLIP sees (B, 3, {self.image_size}, {self.image_size})"
            )
        x = self.patch(channels_last(pixels)).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.to(x.dtype).expand(len(x), 1, -1), x], 1) + self.positions.to(x.dtype)
        x = self.norm_pre(x)
        for block in self.blocks[:blocks]:
            x = block(x)
        states: Tensor = x
        return states

    def embed(self, pixels: Tensor) -> Tensor:
        """The pictures' vectors (B, embed_dim), not normalised."""
        projected: Tensor = self.projection(self.norm_post(self(pixels)[:, 0]))
        return projected

    def normalised(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [0, 1] as a published CLIP sees them, on the encoder's device in its dtype."""
        place = self.positions
        mean, deviation = (
            torch.tensor(channels, dtype=torch.float32, device=place.device)[:, None, None]
            for channels in (MEAN, DEVIATION)
        )
        return ((pictures.to(place.device) - mean) / deviation).to(place.dtype)


class TextTransformer(nn.Module):
    """A causal transformer: (B, L) ids -> (B, L, width) states after the final norm."""

    def __init__(self, config: TextConfig, embed_dim: int | None, activation: Activation) -> None:
        super().__init__()
        self.end_id = config.end_id
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Parameter(torch.empty(config.context_length, config.width))
        self.blocks = _blocks(config.width, config.layers, config.heads, activation)
        self.norm = nn.LayerNorm(config.width)
        self.projection = nn.Identity() if embed_dim is None else nn.Linear(config.width, embed_dim, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.01)
        if isinstance(self.projection, nn.Linear):
            nn.init.normal_(self.projection.weight, std=config.width**-0.5)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.read(self.tokens(ids), mask)

    def read(self, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """The states (B, L, width) after the final norm, for any vectors (B, L, width) in place of the tokens'."""
        normed: Tensor = self.norm(self.states(vectors, mask)[-1])
        return normed

    def states(self, vectors: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """The input of the first block and the output of each, all (B, L, width) and before the final norm."""
        length, context = vectors.shape[1], len(self.positions)
        if length > context:
            raise ValueError(f"{length} tokens: this text encoder reads at most {context}")
        states = [vectors + self.positions[:length]]
        allowed = torch.ones(length, length, dtype=torch.bool, device=vectors.device).tril()
        if mask is not None:
            allowed = allowed & mask[:, None, None, :]
        bias = hiding(allowed, states[0].dtype)
        for block in self.blocks:
            states.append(block(states[-1], bias))
        return states

    def end(self, ids: Tensor) -> Tensor:
        """The position (B,) in each prompt whose state becomes its summary: the first end token, or the largest id."""
        return (ids if self.end_id is None else (ids == self.end_id).int()).argmax(1)

    def summary(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """The prompts' vectors (B, embed_dim), not normalised, from their states (B, L, width) after the final norm."""
        projected: Tensor = self.projection(hidden[torch.arange(len(ids), device=ids.device), self.end(ids)])
        return projected


class TextEncoder(TextTransformer):
    """The text encoder of a diffusion model, without CLIP's image encoder."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config.text, config.embed_dim, config.activation)
        self.config = config

    def condition(self, ids: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States (B, L, width) and summaries (B, embed_dim) of prompts `ids` (B, L).

        Stable Diffusion was trained without a mask: it reads padding like words.
        """
        return self.condition_of(self.tokens(ids), ids, mask)

    def condition_of(
        self, vectors: Tensor, ids: Tensor, mask: Tensor | None = None, *, clip_skip: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Like `condition`, with any vectors (B, L, width) in place of the tokens'; `ids` say where a prompt ends.

        The states come from the block `clip_skip` - 1 before the one that the configuration names.
        """
        states = self.states(vectors, mask)
        last, kept = self.norm(states[-1]), states[-clip_skip - self.config.skip]
        return self.norm(kept) if self.config.normed else kept, self.summary(last, ids)


class Clip(nn.Module):
    """Both encoders and the learned temperature; `logit_scale` is a logarithm, at most ln 100 while training."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = ImageEncoder(config.vision, config.embed_dim, config.activation)
        self.text = TextTransformer(config.text, config.embed_dim, config.activation)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Unit vectors (B, embed_dim) of `pixels` (B, 3, S, S); the embedded CLIP's pixels are in [-1, 1]."""
        return F.normalize(self.vision.embed(pixels).float(), dim=-1)

    def encode_text(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Unit vectors (B, embed_dim) of prompts `ids` (B, L), each holding its end token."""
        return F.normalize(self.text.summary(self.text_hidden(ids, mask), ids).float(), dim=-1)

    def text_hidden(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """States (B, L, width) of every token after the final norm; keys are hidden where `mask` (B, L) is False."""
        hidden: Tensor = self.text(ids, mask)
        return hidden
