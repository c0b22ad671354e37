"""Read the configurations of a Wan, in the original folder or in diffusers'."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from scorefield.errors import DamagedError, UnsupportedError
from scorefield.families.sizes import Sizes
from scorefield.families.wan.specs import Networks
from scorefield.input_files import Json, read_json
from scorefield.latent.wan_latents import WAN_21, FilmLatents
from scorefield.nets.causal_vae import CausalVaeConfig
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
# The settings with one supported value.
_FIXED: Mapping[str, Mapping[str, Json]] = {
    "transformer": {
        "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "eps": 1e-6, "added_kv_proj_dim": None,
        "image_dim": None, "pos_embed_seq_len": None,
    },
    "vae": {"attn_scales": [], "is_residual": False, "dropout": 0.0, "patch_size": None},
    "text_encoder": {
        "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
    },
    "scheduler": {"prediction_type": "flow_prediction", "num_train_timesteps": 1000, "use_flow_sigmas": True},
}  # fmt: skip


def original(path: Path) -> Networks:
    """The networks of the original folder, whose config.json is its transformer's."""
    sizes = Sizes(path / "config.json", read_json(path / "config.json"), _MODEL)
    if (task := sizes.settings.get("model_type")) != "t2v":
        raise UnsupportedError(f"{path} is a Wan for {task}; only films from words (t2v) can be drawn yet")
    sizes.hold_few("num_layers")
    return Networks(transformer=VideoDitConfig(**cast(dict[str, Any], sizes.fields(_ORIGINAL))))


def of_folder(checkpoint: Checkpoint) -> Networks:
    """The networks of diffusers' folder; UnsupportedError for a setting that is not supported."""
    transformer, vae, text = (_sizes(checkpoint, part) for part in ("transformer", "vae", "text_encoder"))
    if (scheduler := checkpoint.folder.scheduler) is not None:
        _check(Sizes(checkpoint.path / "scheduler", scheduler, _MODEL), "scheduler")
    for sizes in (transformer, text):
        sizes.hold_few("num_layers")
    vae.hold_few("num_res_blocks")
    patch = transformer.numbers("patch_size", 3)
    return Networks(
        transformer=VideoDitConfig(
            **cast(dict[str, Any], transformer.fields(_TRANSFORMER)),
            width=transformer.number("num_attention_heads") * transformer.number("attention_head_dim"),
            patch_size=(patch[0], patch[1], patch[2]),
            like="diffusers",
        ),
        vae=_vae(vae),
        text=Umt5Config(**text.fields(_TEXT)),
        latents=latents(vae),
    )


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
