"""The sizes that a diffusers folder states in the config.json of its parts, for a model of its own."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from scorefield.errors import DamagedError
from scorefield.families.stable_diffusion.second_encoder import NUMBERS
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.input_files import Json
from scorefield.nets.clip import Activation, ClipConfig, EncoderConfig, TextConfig, VisionConfig
from scorefield.nets.kl import KlConfig
from scorefield.nets.unet import UnetConfig
from scorefield.weights.checkpoint import Checkpoint


def stated(checkpoint: Checkpoint) -> Networks:
    """The networks of the folder's configurations; DamagedError for one that these networks cannot have."""

    def sizes_of(part: str) -> _Sizes:
        return _Sizes(checkpoint.path / part / "config.json", checkpoint.json(f"{part}/config.json"))

    sizes = sizes_of("unet")
    unet, kl, text = _unet(sizes), _kl(sizes_of("vae")), _text(sizes_of("text_encoder"))
    if sizes.told.get("addition_embed_type"):
        return _xl(sizes, Networks(unet=unet, kl=kl, text=text), sizes_of("text_encoder_2"))
    sizes.hold(unet.context_width == text.text.width, "cross_attention_dim")
    image_clip = _image_clip(sizes_of("image_encoder")) if unet.pooled_width else None
    return Networks(unet=unet, kl=kl, text=text, image_clip=image_clip)


class _Sizes:
    """One config.json, asked for what it must say."""

    def __init__(self, path: Path, told: Mapping[str, Json]) -> None:
        self.path, self.told = path, told

    def number(self, name: str) -> int:
        """A number above 0."""
        return self._whole(name, self.told.get(name))

    def numbers(self, name: str, count: int) -> list[int]:
        """As many numbers above 0: a list of them, or one for all."""
        value = self.told.get(name)
        if not isinstance(value, list):
            return [self._whole(name, value)] * count
        self.hold(len(value) == count, name)
        return [self._whole(name, one) for one in value]

    def widths(self) -> list[int]:
        """The width of each level, each a multiple of the first."""
        value = self.told.get("block_out_channels")
        widths = self.numbers("block_out_channels", len(value) if isinstance(value, list) else 1)
        self.hold(all(width % widths[0] == 0 for width in widths), "block_out_channels")
        return widths

    def hold(self, holds: bool, name: str) -> None:
        """DamagedError about the entry of that name unless something holds."""
        if not holds:
            raise DamagedError(f"{self.path}: {name} {self.told.get(name)} is not that of a Stable Diffusion")

    def _whole(self, name: str, value: Json) -> int:
        self.hold(type(value) is int and value > 0, name)
        return cast(int, value)


def _unet(sizes: _Sizes) -> UnetConfig:
    widths, kinds = sizes.widths(), sizes.told.get("down_block_types")
    sizes.hold(isinstance(kinds, list) and len(kinds) == len(widths), "down_block_types")
    heads = sizes.numbers("attention_head_dim", len(widths))  # it counts heads: diffusers' issue 2011
    head_widths = {width // count for width, count in zip(widths, heads, strict=True)}
    same, vector, added = len(set(heads)) == 1, *map(sizes.told.get, ("class_embed_type", "addition_embed_type"))
    sizes.hold(vector in (None, "projection"), "class_embed_type")
    sizes.hold(added is None or (added == "text_time" and vector is None), "addition_embed_type")
    sizes.hold(same or len(head_widths) == 1, "attention_head_dim")
    deep = "transformer_layers_per_block"
    depths = sizes.numbers(deep, len(widths)) if deep in sizes.told else [1] * len(widths)
    return UnetConfig(
        in_channels=sizes.number("in_channels"),
        out_channels=sizes.number("out_channels"),
        channels=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        resblocks=sizes.number("layers_per_block"),
        depths=tuple(
            depth if kind == "CrossAttnDownBlock2D" else 0
            for depth, kind in zip(depths, cast(list[Json], kinds), strict=True)
        ),
        middle_depth=depths[-1],
        heads=heads[0] if same else None,
        head_width=None if same else head_widths.pop(),
        context_width=sizes.number("cross_attention_dim"),
        linear_projections=sizes.told.get("use_linear_projection") is True,
        pooled_width=sizes.number("projection_class_embeddings_input_dim") if vector or added else None,
    )


def _xl(sizes: _Sizes, plain: Networks, second: _Sizes) -> Networks:
    """The networks `plain` with a second text encoder; the U-Net gets the last state but one of both."""
    summary, text_2 = second.number("projection_dim"), _text(second)
    pooled = summary + NUMBERS * sizes.number("addition_time_embed_dim")
    sizes.hold(plain.unet.pooled_width == pooled, "projection_class_embeddings_input_dim")
    sizes.hold(plain.unet.context_width == plain.text.text.width + text_2.text.width, "cross_attention_dim")
    return replace(
        plain,
        text=replace(plain.text, skip=1, normed=False),
        text_2=replace(text_2, embed_dim=summary, skip=1, normed=False),
    )


def _kl(sizes: _Sizes) -> KlConfig:
    widths = sizes.widths()
    return KlConfig(
        channels=sizes.number("latent_channels"),
        width=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        resblocks=sizes.number("layers_per_block"),
    )


def _text(sizes: _Sizes) -> EncoderConfig:
    width = _width(sizes)
    text = TextConfig(
        width=width,
        layers=sizes.number("num_hidden_layers"),
        heads=sizes.number("num_attention_heads"),
        context_length=sizes.number("max_position_embeddings"),
        vocab_size=sizes.number("vocab_size"),
        end_id=49407,  # SD 1's config says 2, and SD 2's too: transformers takes that for the largest id
    )
    return EncoderConfig(text=text, activation=_activation(sizes))


def _image_clip(sizes: _Sizes) -> ClipConfig:
    vision = VisionConfig(
        width=_width(sizes),
        layers=sizes.number("num_hidden_layers"),
        heads=sizes.number("num_attention_heads"),
        patch_size=sizes.number("patch_size"),
        image_size=sizes.number("image_size"),
    )
    return ClipConfig(vision=vision, embed_dim=sizes.number("projection_dim"), activation=_activation(sizes))


def _width(sizes: _Sizes) -> int:
    """The sizes of a CLIP encoder, whose feed-forward layers are four times as wide."""
    width = sizes.number("hidden_size")
    sizes.hold(sizes.number("intermediate_size") == 4 * width, "intermediate_size")
    return width


def _activation(sizes: _Sizes) -> Activation:
    activation = sizes.told.get("hidden_act")
    sizes.hold(activation in ("gelu", "quick_gelu"), "hidden_act")
    return cast(Activation, activation)
