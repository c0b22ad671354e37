"""The sizes that a diffusers folder states in the config.json of its parts, for a model of its own."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

from scorefield.errors import DamagedError
from scorefield.families.stable_diffusion.second_encoder import NUMBERS
from scorefield.families.stable_diffusion.settings import check
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.input_files import Json, read_json
from scorefield.latent.kl_codec import Latents
from scorefield.nets.clip import Activation, ClipConfig, EncoderConfig, TextConfig, VisionConfig
from scorefield.nets.kl import KlConfig
from scorefield.nets.unet import UnetConfig
from scorefield.nets.unet_blocks import GROUPS
from scorefield.weights.checkpoint import Checkpoint
from scorefield.weights.detect.identity import shown

C = TypeVar("C")

# Sizes are read before the tensors are compared with them, and a network takes time and memory for each of its blocks
# even on the meta device: the bounds are far above every published model, and far below what hurts.
_LARGEST = 2**20
_MOST_BLOCKS = 1000


def stated(checkpoint: Checkpoint, known: Networks | None = None) -> Networks:
    """The networks of the folder's configurations, and of `known` where a part has none.

    UnsupportedError for a setting that this program does not have, DamagedError for sizes that do not fit together.
    """
    first, vae = (_Sizes.of(checkpoint, part, optional=known is not None) for part in ("unet", "vae"))

    def network(part: str, read: Callable[[_Sizes], C], otherwise: C | None) -> C:
        sizes = _Sizes.of(checkpoint, part, optional=otherwise is not None)
        return otherwise if otherwise is not None and not sizes.settings else read(sizes)

    unet = network("unet", _unet, known.unet if known else None)
    text = network("text_encoder", _text, known.text if known else None)
    plain = Networks(unet=unet, kl=network("vae", _kl, known.kl if known else None), text=text)
    xl = bool(first.settings.get("addition_embed_type") or (known.text_2 if known else None))
    plain = replace(plain, latents=_latents(vae, xl=xl))
    if xl:
        return _xl(first, plain, network("text_encoder_2", _second, known.text_2 if known else None))
    first.hold(unet.context_width == text.text.width, "cross_attention_dim")
    if unet.pooled_width is None:
        return plain
    image_clip = network("image_encoder", _image_clip, known.image_clip if known else None)
    return replace(plain, image_clip=image_clip)


def other_latents(path: Path, *, xl: bool) -> Latents | None:
    """What the folder of another autoencoder, or of a whole model, states of its latents; None if nothing."""
    file = next((one for one in (path / "vae" / "config.json", path / "config.json") if one.is_file()), None)
    if file is None:
        return None
    check(path, "vae", settings := read_json(file))
    return _latents(_Sizes(file, settings), xl=xl)


class _Sizes:
    """One config.json, asked for what it must say."""

    def __init__(self, path: Path, settings: Mapping[str, Json]) -> None:
        self.path, self.settings = path, settings

    @classmethod
    def of(cls, checkpoint: Checkpoint, part: str, *, optional: bool) -> "_Sizes":
        """Those of a part, each setting checked; none if there is no file and it is `optional`."""
        path = checkpoint.path / part / "config.json"
        if optional and not path.exists():
            return cls(path, {})
        check(checkpoint.path, part, settings := checkpoint.json(f"{part}/config.json"))
        return cls(path, settings)

    def number(self, name: str) -> int:
        """A number from 1 to _LARGEST."""
        return self._whole(name, self.settings.get(name))

    def numbers(self, name: str, count: int) -> list[int]:
        """As many such numbers: a list of them, or one for all."""
        value = self.settings.get(name)
        if not isinstance(value, list):
            return [self._whole(name, value)] * count
        self.hold(len(value) == count, name)
        return [self._whole(name, one) for one in value]

    def widths(self) -> list[int]:
        """The width of each level, each a multiple of the first, which the group norms divide."""
        value = self.settings.get("block_out_channels")
        widths = self.numbers("block_out_channels", len(value) if isinstance(value, list) else 1)
        self.hold(widths[0] % GROUPS == 0 and all(width % widths[0] == 0 for width in widths), "block_out_channels")
        return widths

    def layers(self, name: str, each: int) -> int:
        """A number of layers, which stands for `each` times as many blocks of the whole network."""
        layers = self.number(name)
        self.hold(layers * each <= _MOST_BLOCKS, name)
        return layers

    def hold(self, holds: bool, name: str) -> None:
        """DamagedError about the entry of that name unless something holds."""
        if not holds:
            value = shown(str(self.settings.get(name)))[:80]
            raise DamagedError(f"{self.path}: {name} {value} is not that of a Stable Diffusion")

    def _whole(self, name: str, value: Json) -> int:
        self.hold(type(value) is int and 0 < value <= _LARGEST, name)
        return cast(int, value)


def _unet(sizes: _Sizes) -> UnetConfig:
    widths, kinds = sizes.widths(), sizes.settings.get("down_block_types")
    sizes.hold(isinstance(kinds, list) and len(kinds) == len(widths), "down_block_types")
    mirrored = [str(kind).replace("Down", "Up") for kind in reversed(cast(list[Json], kinds))]
    sizes.hold(sizes.settings.get("up_block_types", mirrored) == mirrored, "up_block_types")
    heads = sizes.numbers("attention_head_dim", len(widths))  # it counts heads: diffusers' issue 2011
    head_widths = {width // count for width, count in zip(widths, heads, strict=True)}
    same, vector, added = len(set(heads)) == 1, *map(sizes.settings.get, ("class_embed_type", "addition_embed_type"))
    sizes.hold(vector in (None, "projection"), "class_embed_type")
    sizes.hold(added is None or (added == "text_time" and vector is None), "addition_embed_type")
    sizes.hold(same or len(head_widths) == 1, "attention_head_dim")
    sizes.hold(all(width % count == 0 for width, count in zip(widths, heads, strict=True)), "attention_head_dim")
    deep = "transformer_layers_per_block"
    depths = sizes.numbers(deep, len(widths)) if deep in sizes.settings else [1] * len(widths)
    return UnetConfig(
        in_channels=sizes.number("in_channels"),
        out_channels=sizes.number("out_channels"),
        channels=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        resblocks=sizes.layers("layers_per_block", sum(1 + depth for depth in depths)),
        depths=tuple(
            depth if kind == "CrossAttnDownBlock2D" else 0
            for depth, kind in zip(depths, cast(list[Json], kinds), strict=True)
        ),
        middle_depth=depths[-1],
        heads=heads[0] if same else None,
        head_width=None if same else head_widths.pop(),
        context_width=sizes.number("cross_attention_dim"),
        linear_projections=sizes.settings.get("use_linear_projection") is True,
        pooled_width=sizes.number("projection_class_embeddings_input_dim") if vector or added else None,
    )


def _xl(sizes: _Sizes, plain: Networks, second: EncoderConfig) -> Networks:
    """The networks `plain` with a second text encoder; the U-Net gets the last state but one of both."""
    if sizes.settings:
        pooled = (second.embed_dim or 0) + NUMBERS * sizes.number("addition_time_embed_dim")
        sizes.hold(plain.unet.pooled_width == pooled, "projection_class_embeddings_input_dim")
    sizes.hold(plain.unet.context_width == plain.text.text.width + second.text.width, "cross_attention_dim")
    return replace(plain, text=replace(plain.text, skip=1, normed=False), text_2=second)


def _second(sizes: _Sizes) -> EncoderConfig:
    return replace(_text(sizes), embed_dim=sizes.number("projection_dim"), skip=1, normed=False)


def _kl(sizes: _Sizes) -> KlConfig:
    widths = sizes.widths()
    return KlConfig(
        channels=sizes.number("latent_channels"),
        width=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        resblocks=sizes.layers("layers_per_block", len(widths)),
    )


def _latents(sizes: _Sizes, *, xl: bool) -> Latents | None:
    """The factor, mean and deviation of an autoencoder's latents; None if it states no factor. XL alone has a mean."""
    factor = sizes.settings.get("scaling_factor")
    if factor is None and not sizes.settings.get("latents_mean"):
        return None
    both = []
    for name in ("latents_mean", "latents_std"):
        values = sizes.settings.get(name) or []
        numbers = isinstance(values, list) and all(_is_number(one) for one in values)
        sizes.hold(
            numbers and len(cast(list[float], values)) in ((0, sizes.number("latent_channels")) if xl else (0,)), name
        )
        both.append(tuple(map(float, cast(list[float], values))))
    sizes.hold(len(both[0]) == len(both[1]) and all(one > 0 for one in both[1]), "latents_std")
    sizes.hold(_is_number(factor) and cast(float, factor) > 0, "scaling_factor")
    return Latents(float(cast(float, factor)), *both)


def _is_number(value: Json) -> bool:
    return type(value) in (int, float) and math.isfinite(cast(float, value))


def _text(sizes: _Sizes) -> EncoderConfig:
    width = _width(sizes)
    text = TextConfig(
        width=width,
        layers=sizes.layers("num_hidden_layers", 1),
        heads=_heads(sizes, width),
        context_length=sizes.number("max_position_embeddings"),
        vocab_size=sizes.number("vocab_size"),
        end_id=49407,  # SD 1's config says 2, and SD 2's too: transformers takes that for the largest id
    )
    return EncoderConfig(text=text, activation=_activation(sizes))


def _image_clip(sizes: _Sizes) -> ClipConfig:
    width = _width(sizes)
    vision = VisionConfig(
        width=width,
        layers=sizes.layers("num_hidden_layers", 1),
        heads=_heads(sizes, width),
        patch_size=sizes.number("patch_size"),
        image_size=sizes.number("image_size"),
    )
    return ClipConfig(vision=vision, embed_dim=sizes.number("projection_dim"), activation=_activation(sizes))


def _width(sizes: _Sizes) -> int:
    """The sizes of a CLIP encoder, whose feed-forward layers are four times as wide."""
    width = sizes.number("hidden_size")
    sizes.hold(sizes.number("intermediate_size") == 4 * width, "intermediate_size")
    return width


def _heads(sizes: _Sizes, width: int) -> int:
    heads = sizes.number("num_attention_heads")
    sizes.hold(width % heads == 0, "num_attention_heads")
    return heads


def _activation(sizes: _Sizes) -> Activation:
    activation = sizes.settings.get("hidden_act")
    sizes.hold(activation in ("gelu", "quick_gelu"), "hidden_act")
    return cast(Activation, activation)
