"""Read the configurations of a diffusers folder: check each setting, and take the sizes of the networks."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

from scorefield.errors import UnsupportedError
from scorefield.families.sizes import Sizes
from scorefield.families.stable_diffusion import folder_settings
from scorefield.families.stable_diffusion.specs import NUMBERS, Networks
from scorefield.input_files import Json, read_json
from scorefield.latent.kl_codec import Latents
from scorefield.nets.clip import Activation, ClipConfig, EncoderConfig, TextConfig, VisionConfig
from scorefield.nets.kl import KlConfig
from scorefield.nets.unet import UnetConfig
from scorefield.nets.unet_blocks import GROUPS
from scorefield.printable import one_line
from scorefield.weights.checkpoint import Checkpoint

C = TypeVar("C")

_MODEL = "Stable Diffusion"  # in errors


def check(path: Path, part: str, stated: Mapping[str, Json]) -> None:
    """UnsupportedError that names the first setting of a part that is not supported."""
    for name, value in stated.items():
        has = folder_settings.ALLOWED[part].get(name, () if name.startswith("_") else None)
        if has is None:
            why = "it is not known"
        elif not has or all(one in has for one in (value if isinstance(value, list) else [value])):
            continue
        else:
            *others, last = map(str, has)
            why = f"{', '.join(others)} and {last} are" if others else f"{last} is"
        raise UnsupportedError(
            f"{path}: {part} {one_line(name)[:80]} {one_line(str(value))[:80]} is not supported ({why})"
        )


def schedule(scheduler: Mapping[str, Json]) -> tuple[str, dict[str, Json]] | None:
    """The schedule that a scheduler states, and the setting that states it; None if none does."""
    stated = (
        (found, {name: value}) for name, value, found in folder_settings.SCHEDULES if scheduler.get(name) == value
    )
    return next(stated, None)


def stated(checkpoint: Checkpoint, known: Networks | None = None) -> Networks:
    """The networks that the folder's configurations describe; those of `known` for parts without one.

    UnsupportedError for a setting that is not supported, DamagedError for sizes that do not fit together.
    """

    def network(part: str, read: Callable[[Sizes], C], otherwise: C | None) -> C:
        sizes = _sizes(checkpoint, part, optional=otherwise is not None)
        return otherwise if otherwise is not None and not sizes.settings else read(sizes)

    first, vae = (_sizes(checkpoint, part, optional=known is not None) for part in ("unet", "vae"))
    unet = network("unet", _unet, known.unet if known else None)
    text = network("text_encoder", _text, known.text if known else None)
    kl = network("vae", _kl, known.kl if known else None)
    xl = bool(first.settings.get("addition_embed_type") or (known and known.text_2))
    networks = Networks(unet=unet, kl=kl, text=text, latents=_latents(vae, xl=xl))
    if xl:
        return _xl(first, networks, network("text_encoder_2", _second, known.text_2 if known else None))
    first.hold(unet.context_width == text.text.width, "cross_attention_dim")
    if unet.pooled_width is None:
        return networks
    image_clip = network("image_encoder", _image_clip, known.image_clip if known else None)
    return replace(networks, image_clip=image_clip)


def other_latents(path: Path, *, xl: bool) -> Latents | None:
    """The statistics of the latents that the folder of an autoencoder or of a whole model states; None if none."""
    file = next((one for one in (path / "vae" / "config.json", path / "config.json") if one.is_file()), None)
    if file is None:
        return None
    check(path, "vae", settings := read_json(file))
    return _latents(Sizes(file, settings, _MODEL), xl=xl)


def _sizes(checkpoint: Checkpoint, part: str, *, optional: bool) -> Sizes:
    """The sizes of a part, each setting checked; none if there is no file and it is `optional`."""
    path = checkpoint.path / part / "config.json"
    if optional and not path.exists():
        return Sizes(path, {}, _MODEL)
    check(checkpoint.path, part, settings := checkpoint.json(f"{part}/config.json"))
    return Sizes(path, settings, _MODEL)


def _widths(sizes: Sizes) -> tuple[int, tuple[int, ...]]:
    """The width of the first level, a multiple of the norms' groups, and each level's as a multiple of it."""
    value = sizes.settings.get(name := "block_out_channels")
    widths = sizes.numbers(name, len(value) if isinstance(value, list) else 1)
    sizes.hold(widths[0] % GROUPS == 0 and all(width % widths[0] == 0 for width in widths), name)
    return widths[0], tuple(width // widths[0] for width in widths)


def _unet(sizes: Sizes) -> UnetConfig:
    (width, multipliers), kinds = _widths(sizes), sizes.settings.get("down_block_types")
    levels = len(multipliers)
    sizes.hold(isinstance(kinds, list) and len(kinds) == levels, "down_block_types")
    mirrored = [str(kind).replace("Down", "Up") for kind in reversed(cast(list[Json], kinds))]
    sizes.hold(sizes.settings.get("up_block_types", mirrored) == mirrored, "up_block_types")
    heads = sizes.numbers("attention_head_dim", levels)  # it counts heads: diffusers' issue 2011
    head_widths = {width * factor // count for factor, count in zip(multipliers, heads, strict=True)}
    same, vector, added = len(set(heads)) == 1, *map(sizes.settings.get, ("class_embed_type", "addition_embed_type"))
    sizes.hold(vector in (None, "projection"), "class_embed_type")
    sizes.hold(added is None or (added == "text_time" and vector is None), "addition_embed_type")
    sizes.hold(same or len(head_widths) == 1, "attention_head_dim")
    even = all(width * factor % count == 0 for factor, count in zip(multipliers, heads, strict=True))
    sizes.hold(even, "attention_head_dim")
    deep = "transformer_layers_per_block"
    depths = sizes.numbers(deep, levels) if deep in sizes.settings else [1] * levels
    sizes.hold_few("layers_per_block", sum(1 + depth for depth in depths))
    return UnetConfig(
        **sizes.fields(folder_settings.UNET),
        channels=width,
        multipliers=multipliers,
        depths=tuple(
            depth if kind == "CrossAttnDownBlock2D" else 0
            for depth, kind in zip(depths, cast(list[Json], kinds), strict=True)
        ),
        middle_depth=depths[-1],
        heads=heads[0] if same else None,
        head_width=None if same else head_widths.pop(),
        linear_projections=sizes.settings.get("use_linear_projection") is True,
        pooled_width=sizes.number("projection_class_embeddings_input_dim") if vector or added else None,
    )


def _xl(sizes: Sizes, plain: Networks, second: EncoderConfig) -> Networks:
    """The networks `plain` with a second text encoder; the U-Net reads the second-to-last state of both."""
    if sizes.settings:
        pooled = (second.embed_dim or 0) + NUMBERS * sizes.number("addition_time_embed_dim")
        sizes.hold(plain.unet.pooled_width == pooled, "projection_class_embeddings_input_dim")
    sizes.hold(plain.unet.context_width == plain.text.text.width + second.text.width, "cross_attention_dim")
    return replace(plain, text=replace(plain.text, skip=1, normed=False), text_2=second)


def _kl(sizes: Sizes) -> KlConfig:
    width, multipliers = _widths(sizes)
    sizes.hold_few("layers_per_block", len(multipliers))
    return KlConfig(**sizes.fields(folder_settings.VAE), width=width, multipliers=multipliers)


def _latents(sizes: Sizes, *, xl: bool) -> Latents | None:
    """The factor, mean and deviation of an autoencoder's latents; None if it states no factor. Only XL has a mean."""
    factor = sizes.settings.get("scaling_factor")
    if factor is None and not sizes.settings.get("latents_mean"):
        return None
    both = []
    for name in ("latents_mean", "latents_std"):
        values = sizes.settings.get(name) or []
        sizes.hold(isinstance(values, list) and all(map(_is_number, values)), name)
        numbers = tuple(map(float, cast(list[float], values)))
        sizes.hold(len(numbers) in ((0, sizes.number("latent_channels")) if xl else (0,)), name)
        both.append(numbers)
    sizes.hold(len(both[0]) == len(both[1]) and all(one > 0 for one in both[1]), "latents_std")
    sizes.hold(_is_number(factor) and cast(float, factor) > 0, "scaling_factor")
    return Latents(float(cast(float, factor)), *both)


def _is_number(value: Json) -> bool:
    return type(value) in (int, float) and math.isfinite(cast(float, value))


def _text(sizes: Sizes) -> EncoderConfig:
    activation = _activation(sizes)
    # SD 1's config says end_id 2, and SD 2's too: transformers takes that for the largest id
    return EncoderConfig(text=TextConfig(**sizes.fields(folder_settings.TEXT), end_id=49407), activation=activation)


def _second(sizes: Sizes) -> EncoderConfig:
    return replace(_text(sizes), embed_dim=sizes.number("projection_dim"), skip=1, normed=False)


def _image_clip(sizes: Sizes) -> ClipConfig:
    activation, vision = _activation(sizes), VisionConfig(**sizes.fields(folder_settings.VISION), stem="patch")
    return ClipConfig(vision=vision, embed_dim=sizes.number("projection_dim"), activation=activation)


def _activation(sizes: Sizes) -> Activation:
    """The activation of a CLIP encoder, whose feed-forward layers are four times as wide as the others."""
    width = sizes.number("hidden_size")
    sizes.hold(sizes.number("intermediate_size") == 4 * width, "intermediate_size")
    sizes.hold(width % sizes.number("num_attention_heads") == 0, "num_attention_heads")
    sizes.hold_few("num_hidden_layers")
    activation = sizes.settings.get("hidden_act")
    sizes.hold(activation in ("gelu", "quick_gelu"), "hidden_act")
    return cast(Activation, activation)
