"""Read the configurations of a Wan, in the original folder or in diffusers'."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from scorefield.errors import DamagedError, UnsupportedError
from scorefield.families.sizes import Sizes
from scorefield.families.wan.specs import TASKS, Networks
from scorefield.input_files import Json, read_json
from scorefield.latent.wan_latents import WAN_21, WAN_22, FilmLatents
from scorefield.nets.causal_vae import WAN_22_VAE, WAN_VAE, CausalVaeConfig
from scorefield.nets.clip import DEVIATION, MEAN, VIT_H_14, Activation, ClipConfig, VisionConfig
from scorefield.nets.umt5 import Umt5Config
from scorefield.nets.video_dit import VideoDitConfig
from scorefield.printable import one_line
from scorefield.weights.checkpoint import Checkpoint

# Files and folders of the original layout, the first expert for the noisier levels; and those of diffusers'.
VAES = {"Wan2.1_VAE.pth": (WAN_VAE, WAN_21), "Wan2.2_VAE.pth": (WAN_22_VAE, WAN_22)}
ORIGINAL_EXPERTS = "high_noise_model", "low_noise_model"
EXPERTS = "transformer", "transformer_2"

_MODEL = "Wan"  # in errors
_ORIGINAL = {
    "in_dim": "in_channels", "out_dim": "out_channels", "dim": "width", "ffn_dim": "mlp_width", "num_layers": "depth",
    "num_heads": "heads", "text_len": "text_length", "freq_dim": "time_features",
}  # fmt: skip
TRANSFORMER = {
    "in_channels": "in_channels", "out_channels": "out_channels", "ffn_dim": "mlp_width", "num_layers": "depth",
    "num_attention_heads": "heads", "text_dim": "text_width", "freq_dim": "time_features",
}  # fmt: skip
TEXT = {
    "vocab_size": "vocab_size", "d_model": "width", "num_layers": "layers", "num_heads": "heads",
    "d_kv": "head_width", "d_ff": "mlp_width",
}  # fmt: skip
_IMAGE = {
    "hidden_size": "width", "num_hidden_layers": "layers", "num_attention_heads": "heads", "patch_size": "patch_size",
    "image_size": "image_size",
}  # fmt: skip
# The settings with one supported value.
FIXED: Mapping[str, Mapping[str, Json]] = {
    "transformer": {
        "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "eps": 1e-6,
    },
    "vae": {"attn_scales": [], "dropout": 0.0},
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
    """The networks of the original folder, whose config.json is that of its transformer, or of each expert."""
    two = any((path / name).is_dir() for name in ORIGINAL_EXPERTS)
    files = [path / name / "config.json" for name in (ORIGINAL_EXPERTS if two else ("",))]
    sizes = [Sizes(file, read_json(file), _MODEL) for file in files]
    named = str(sizes[0].settings.get("model_type"))
    if (task := TASKS.get(named)) is None or (two and task.experts is None):
        raise UnsupportedError(f"{path} is a Wan for {one_line(named)[:80]}; those for {', '.join(TASKS)} can be drawn")
    own = replace(task.transformer, image_width=None) if two else task.transformer
    vae, statistics = VAES[vae_of(path)]
    networks = Networks(
        transformer=_alike([_original_transformer(one, own) for one in sizes], path),
        boundary=task.experts.boundary if two and task.experts else None,  # the original has it in its code
        vae=vae,
        latents=statistics,
        image_clip=VIT_H_14 if own.image_width else None,
    )
    return _checked(networks, sizes[0])


def vae_of(path: Path) -> str:
    """The file of the original folder's autoencoder; empty for another folder."""
    return next((name for name in VAES if (path / name).is_file()), "")


def _original_transformer(sizes: Sizes, own: VideoDitConfig) -> VideoDitConfig:
    sizes.hold_few("num_layers")
    return VideoDitConfig(
        **cast(dict[str, Any], sizes.fields(_ORIGINAL)),
        image_width=own.image_width,
        image_positions=own.image_positions,
    )


def _alike(experts: list[VideoDitConfig], path: Path) -> VideoDitConfig:
    """The configuration of all experts; DamagedError if they differ."""
    if any(one != experts[0] for one in experts):
        raise DamagedError(f"{path}: the two transformers of a Wan are of one size; these belong to two models")
    return experts[0]


def of_folder(checkpoint: Checkpoint) -> Networks:
    """The networks of diffusers' folder; UnsupportedError for a setting that this program does not have."""
    boundary = _boundary(checkpoint)
    experts = [_sizes(checkpoint, part) for part in (EXPERTS if boundary else EXPERTS[:1])]
    vae, text = (_sizes(checkpoint, part) for part in ("vae", "text_encoder"))
    if (scheduler := checkpoint.folder.scheduler) is not None:
        _check(Sizes(checkpoint.path / "scheduler", scheduler, _MODEL), "scheduler")
    text.hold_few("num_layers")
    vae.hold_few("num_res_blocks")
    transformer = _alike([_transformer(one) for one in experts], checkpoint.path)
    networks = Networks(
        transformer=transformer,
        boundary=boundary,
        vae=_vae(vae),
        text=Umt5Config(**text.fields(TEXT)),
        latents=latents(vae),
        image_clip=_image_clip(checkpoint) if transformer.image_width else None,
    )
    return _checked(networks, experts[0])


def _checked(networks: Networks, sizes: Sizes) -> Networks:
    """The networks; DamagedError for a transformer, whose settings are `sizes`, that does not fit the others."""
    transformer, vae, clip = networks.transformer, networks.vae, networks.image_clip
    inputs, outputs = ("in_dim", "out_dim") if "in_dim" in sizes.settings else ("in_channels", "out_channels")
    mask = 2 ** sum(vae.halves_time)  # a channel for each frame of a latent
    sizes.hold(transformer.out_channels == vae.channels, outputs)
    joined = mask + vae.channels
    sizes.hold(transformer.in_channels - vae.channels in ((joined,) if clip else (0, joined)), inputs)
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


def _boundary(checkpoint: Checkpoint) -> float | None:
    """The clock's number at which the second transformer takes over, of a folder that has two."""
    index = checkpoint.folder.model_index
    if index.get(EXPERTS[1]) in (None, [None, None]):
        return None
    stated = index.get("boundary_ratio")
    if type(stated) not in (int, float) or not 0 < cast(float, stated) < 1:
        raise DamagedError(
            f"{checkpoint.path}: a Wan of two transformers needs a boundary_ratio between 0 and 1, "
            f"not {one_line(str(stated))[:80]}"
        )
    return 1000 * cast(float, stated)


def _transformer(sizes: Sizes) -> VideoDitConfig:
    sizes.hold_few("num_layers")
    patch = sizes.numbers("patch_size", 3)
    joined = {
        field: sizes.number(name)
        for name, field in (("image_dim", "image_width"), ("pos_embed_seq_len", "image_positions"))
        if sizes.settings.get(name) is not None
    }
    return VideoDitConfig(
        **cast(dict[str, Any], sizes.fields(TRANSFORMER)),
        **cast(dict[str, Any], joined),
        width=sizes.number("num_attention_heads") * sizes.number("attention_head_dim"),
        patch_size=(patch[0], patch[1], patch[2]),
        like="diffusers",
    )


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
        patch_size=sizes.number("patch_size") if sizes.settings.get("patch_size") else 1,
        shortcuts=sizes.settings.get("is_residual") is True,
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
    published = {len(one.mean): one.colours for one in (WAN_21, WAN_22)}
    grey = ((0.0, 0.0, 0.0),) * (len(both[0]) + 1)  # none were published for another number of channels
    return FilmLatents(both[0], both[1], published.get(len(both[0]), grey))


def _sizes(checkpoint: Checkpoint, part: str) -> Sizes:
    sizes = Sizes(checkpoint.path / part / "config.json", checkpoint.json(f"{part}/config.json"), _MODEL)
    _check(sizes, part.removesuffix("_2"))
    return sizes


def _check(sizes: Sizes, part: str) -> None:
    for name, value in FIXED[part].items():
        if sizes.settings.get(name, value) != value:
            raise UnsupportedError(
                f"{sizes.path}: {name} {one_line(str(sizes.settings[name]))[:80]} is not supported ({value} is)"
            )
