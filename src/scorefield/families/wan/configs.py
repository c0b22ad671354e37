"""The configurations of a Wan, read: those of the original folder, and those of diffusers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from scorefield.errors import DamagedError, UnsupportedError
from scorefield.families.sizes import Sizes
from scorefield.families.wan.specs import WAN22_A14B, Networks
from scorefield.input_files import Json, read_json
from scorefield.latent.wan_latents import WAN_21, WAN_22, FilmLatents
from scorefield.nets.causal_vae import WAN_22_VAE, WAN_VAE, CausalVaeConfig
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
_TRANSFORMER = {
    "in_channels": "in_channels", "out_channels": "out_channels", "ffn_dim": "mlp_width", "num_layers": "depth",
    "num_attention_heads": "heads", "text_dim": "text_width", "freq_dim": "time_features",
}  # fmt: skip
_TEXT = {
    "vocab_size": "vocab_size", "d_model": "width", "num_layers": "layers", "num_heads": "heads",
    "d_kv": "head_width", "d_ff": "mlp_width",
}  # fmt: skip
# The settings that this program has one value for.
_FIXED: Mapping[str, Mapping[str, Json]] = {
    "transformer": {
        "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "eps": 1e-6, "added_kv_proj_dim": None,
        "image_dim": None, "pos_embed_seq_len": None,
    },
    "vae": {"attn_scales": [], "dropout": 0.0},
    "text_encoder": {
        "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
    },
    "scheduler": {"prediction_type": "flow_prediction", "num_train_timesteps": 1000, "use_flow_sigmas": True},
}  # fmt: skip


def original(path: Path) -> Networks:
    """The networks of the original folder, whose config.json is that of its transformer, or of each expert."""
    two = any((path / name).is_dir() for name in ORIGINAL_EXPERTS)
    files = [path / name / "config.json" for name in (ORIGINAL_EXPERTS if two else ("",))]
    vae, latents = VAES[vae_of(path)]
    return Networks(
        transformer=_alike([_original_transformer(Sizes(file, read_json(file), _MODEL)) for file in files], path),
        boundary=WAN22_A14B.boundary if two else None,  # the original has it in its code
        vae=vae,
        latents=latents,
    )


def vae_of(path: Path) -> str:
    """The file of the original folder's autoencoder; empty for another folder."""
    return next((name for name in VAES if (path / name).is_file()), "")


def _original_transformer(sizes: Sizes) -> VideoDitConfig:
    if (task := sizes.settings.get("model_type")) not in ("t2v", "ti2v"):
        raise UnsupportedError(f"{sizes.path.parent} is a Wan for {task}; only films from words (t2v) can be drawn yet")
    sizes.hold_few("num_layers")
    return VideoDitConfig(**cast(dict[str, Any], sizes.fields(_ORIGINAL)))


def _alike(experts: list[VideoDitConfig], path: Path) -> VideoDitConfig:
    """The configuration of all experts; DamagedError if they differ."""
    if any(one != experts[0] for one in experts):
        raise DamagedError(f"{path}: the two transformers of a Wan are of one size; these belong to two models")
    return experts[0]


def of_folder(checkpoint: Checkpoint) -> Networks:
    """The networks of diffusers' folder; UnsupportedError for a setting that this program does not have."""
    boundary = _boundary(checkpoint)
    experts = [_transformer(_sizes(checkpoint, part)) for part in (EXPERTS if boundary else EXPERTS[:1])]
    vae, text = (_sizes(checkpoint, part) for part in ("vae", "text_encoder"))
    if (scheduler := checkpoint.folder.scheduler) is not None:
        _check(Sizes(checkpoint.path / "scheduler", scheduler, _MODEL), "scheduler")
    text.hold_few("num_layers")
    vae.hold_few("num_res_blocks")
    return Networks(
        transformer=_alike(experts, checkpoint.path),
        boundary=boundary,
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
    return VideoDitConfig(
        **cast(dict[str, Any], sizes.fields(_TRANSFORMER)),
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
    """The published previews with the folder's own statistics; UnsupportedError for another number of channels."""
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
    for name, value in _FIXED[part].items():
        if sizes.settings.get(name, value) != value:
            raise UnsupportedError(
                f"{sizes.path}: {name} {one_line(str(sizes.settings[name]))[:80]} is not supported ({value} is)"
            )
