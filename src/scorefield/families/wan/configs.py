"""Read the configurations of a Wan, in the original folder or in diffusers'."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from scorefield.errors import DamagedError, UnsupportedError
from scorefield.families.sizes import Sizes
from scorefield.families.wan.specs import TASKS, Networks
from scorefield.input_files import Json, read_json
from scorefield.latent.wan_latents import WAN_21, FilmLatents
from scorefield.nets.causal_vae import CausalVaeConfig
from scorefield.nets.clip import DEVIATION, MEAN, VIT_H_14, Activation, ClipConfig, VisionConfig
from scorefield.nets.umt5 import Umt5Config
from scorefield.nets.video_dit import VideoDitConfig
from scorefield.printable import one_line
from scorefield.weights.checkpoint import Checkpoint

_MODEL = "Wan"  # in errors
_ORIGINAL = {
    "in_dim": "in_channels", "out_dim": "out_channels", "dim": "width", "ffn_dim": "mlp_width", "num_layers": "depth",
    "num_heads": "heads", "text_len": "text_length", "freq_dim": "time_features",
}  # fmt: skip
_TRANSFORMER = {
    "in_channels": "in_channels", "out_channels": "out_channels", "ffn_dim": "mlp_width", "num_layers": "depth",
    "num_attention_heads": "heads", "text_dim": "text_width", "freq_dim": "time_features",
}  # fmt: skip
_TEXT = {
    "vocab_size": "vocab_size", "d_model": "width", "num_layers": "layers", "num_heads": "heads",
    "d_kv": "head_width", "d_ff": "mlp_width",
}  # fmt: skip
_IMAGE = {
    "hidden_size": "width", "num_hidden_layers": "layers", "num_attention_heads": "heads", "patch_size": "patch_size",
    "image_size": "image_size",
}  # fmt: skip
# The settings with one supported value.
_FIXED: Mapping[str, Mapping[str, Json]] = {
    "transformer": {
        "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "eps": 1e-6,
    },
    "vae": {"attn_scales": [], "is_residual": False, "dropout": 0.0, "patch_size": None},
    "text_encoder": {
        "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
    },
    "image_encoder": {"layer_norm_eps": 1e-5, "num_channels": 3},
    "image_processor": {
        "do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True, "resample": 3,
        "rescale_factor": 1 / 255, "image_mean": [*MEAN], "image_std": [*DEVIATION],
    },
    "scheduler": {"prediction_type": "flow_prediction", "num_train_timesteps": 1000, "use_flow_sigmas": True},
}  # fmt: skip


def original(path: Path) -> Networks:
    """The networks of the original folder, whose config.json is its transformer's."""
    sizes = Sizes(path / "config.json", read_json(path / "config.json"), _MODEL)
    named = str(sizes.settings.get("model_type"))
    if (task := TASKS.get(named)) is None:
        raise UnsupportedError(f"{path} is a Wan for {one_line(named)[:80]}; those for {', '.join(TASKS)} can be drawn")
    sizes.hold_few("num_layers")
    own = task.transformer
    transformer = VideoDitConfig(
        **cast(dict[str, Any], sizes.fields(_ORIGINAL)),
        image_width=own.image_width,
        image_positions=own.image_positions,
    )
    return _checked(Networks(transformer=transformer, image_clip=VIT_H_14 if own.image_width else None), sizes)


def of_folder(checkpoint: Checkpoint) -> Networks:
    """The networks of diffusers' folder; UnsupportedError for a setting that is not supported."""
    transformer, vae, text = (_sizes(checkpoint, part) for part in ("transformer", "vae", "text_encoder"))
    if (scheduler := checkpoint.folder.scheduler) is not None:
        _check(Sizes(checkpoint.path / "scheduler", scheduler, _MODEL), "scheduler")
    for sizes in (transformer, text):
        sizes.hold_few("num_layers")
    vae.hold_few("num_res_blocks")
    patch = transformer.numbers("patch_size", 3)
    joined = {
        field: transformer.number(name)
        for name, field in (("image_dim", "image_width"), ("pos_embed_seq_len", "image_positions"))
        if transformer.settings.get(name) is not None
    }
    networks = Networks(
        transformer=VideoDitConfig(
            **cast(dict[str, Any], transformer.fields(_TRANSFORMER)),
            **cast(dict[str, Any], joined),
            width=transformer.number("num_attention_heads") * transformer.number("attention_head_dim"),
            patch_size=(patch[0], patch[1], patch[2]),
            like="diffusers",
        ),
        vae=_vae(vae),
        text=Umt5Config(**text.fields(_TEXT)),
        latents=latents(vae),
        image_clip=_image_clip(checkpoint) if joined else None,
    )
    return _checked(networks, transformer)


def _checked(networks: Networks, sizes: Sizes) -> Networks:
    """The networks; DamagedError for a transformer, whose settings are `sizes`, that does not fit the others."""
    transformer, vae, clip = networks.transformer, networks.vae, networks.image_clip
    inputs, outputs = ("in_dim", "out_dim") if "in_dim" in sizes.settings else ("in_channels", "out_channels")
    mask = 2 ** sum(vae.halves_time)  # a channel for each frame of a latent
    sizes.hold(transformer.out_channels == vae.channels, outputs)
    sizes.hold(transformer.in_channels == vae.channels + (mask + vae.channels if clip else 0), inputs)
    if clip is not None:
        states = 1 + (clip.vision.image_size // clip.vision.patch_size) ** 2
        sizes.hold(transformer.image_width == clip.vision.width, "image_dim")
        sizes.hold(transformer.image_positions in (None, 2 * states), "pos_embed_seq_len")
    return networks


def _image_clip(checkpoint: Checkpoint) -> ClipConfig:
    """The image encoder of diffusers' folder, and a check of what its image processor does to pictures."""
    sizes = _sizes(checkpoint, "image_encoder")
    sizes.hold_few("num_hidden_layers")
    width, activation = sizes.number("hidden_size"), sizes.settings.get("hidden_act", "quick_gelu")
    sizes.hold(sizes.number("intermediate_size") == 4 * width, "intermediate_size")
    sizes.hold(width % sizes.number("num_attention_heads") == 0, "num_attention_heads")
    sizes.hold(activation in ("gelu", "quick_gelu"), "hidden_act")
    side, part = sizes.number("image_size"), "image_processor"
    name = f"{part}/preprocessor_config.json"
    processor = Sizes(checkpoint.path / name, checkpoint.json(name), _MODEL)
    _check(processor, part)
    square: tuple[Json, ...] = (None, side, {"height": side, "width": side})
    for setting, values in (("size", (None, side, {"shortest_edge": side})), ("crop_size", square)):
        processor.hold(processor.settings.get(setting) in values, setting)
    vision = VisionConfig(**sizes.fields(_IMAGE), stem="patch")
    return ClipConfig(vision=vision, activation=cast(Activation, activation))


def shift(checkpoint: Checkpoint) -> float | None:
    """The flow shift that a folder's scheduler states, if it states one."""
    scheduler = checkpoint.folder.scheduler or {} if checkpoint.is_folder else {}
    stated = scheduler.get("flow_shift")
    if stated is None:
        return None
    if type(stated) not in (int, float) or not 0 < cast(float, stated) <= 100:
        raise DamagedError(f"{checkpoint.path}: the scheduler's flow_shift {one_line(str(stated))[:80]} is no shift")
    return float(cast(float, stated))


def _vae(sizes: Sizes) -> CausalVaeConfig:
    levels = sizes.settings.get("dim_mult")
    multipliers = sizes.numbers("dim_mult", len(levels) if isinstance(levels, list) else 1)
    halves = sizes.settings.get("temperal_downsample")
    sizes.hold(isinstance(halves, list) and len(halves) == len(multipliers) - 1, "temperal_downsample")
    width = sizes.number("base_dim")
    return CausalVaeConfig(
        channels=sizes.number("z_dim"),
        width=width,
        decoder_width=sizes.number("decoder_base_dim") if sizes.settings.get("decoder_base_dim") else width,
        multipliers=tuple(multipliers),
        resblocks=sizes.number("num_res_blocks"),
        halves_time=tuple(one is True for one in cast(list[Json], halves)),
    )


def latents(sizes: Sizes) -> FilmLatents:
    """The folder's own statistics with the published preview, which is grey for another number of channels."""
    both = []
    for name in ("latents_mean", "latents_std"):
        values = sizes.settings.get(name)
        right = isinstance(values, list) and all(type(one) in (int, float) for one in values)
        sizes.hold(right and len(cast(list[Json], values)) == sizes.number("z_dim"), name)
        both.append(tuple(map(float, cast(list[float], values))))
    sizes.hold(all(one > 0 for one in both[1]), "latents_std")
    colours = WAN_21.colours
    if len(both[0]) != len(WAN_21.mean):  # none was published for another number of channels: grey
        colours = ((0.0, 0.0, 0.0),) * (len(both[0]) + 1)
    return FilmLatents(both[0], both[1], colours)


def _sizes(checkpoint: Checkpoint, part: str) -> Sizes:
    sizes = Sizes(checkpoint.path / part / "config.json", checkpoint.json(f"{part}/config.json"), _MODEL)
    _check(sizes, part)
    return sizes


def _check(sizes: Sizes, part: str) -> None:
    for name, value in _FIXED[part].items():
        if sizes.settings.get(name, value) != value:
            raise UnsupportedError(
                f"{sizes.path}: {name} {one_line(str(sizes.settings[name]))[:80]} is not supported ({value} is)"
            )
