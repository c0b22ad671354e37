"""The text files of diffusers' folder of a Wan: the configurations of its networks, its scheduler and its pipeline."""

from collections.abc import Mapping

from scorefield.conversion.folder_texts import image_encoder as clip_image_encoder
from scorefield.conversion.folder_texts import image_processor, of_diffusers, text
from scorefield.families.wan.configs import EXPERTS, FIXED, TEXT, TRANSFORMER
from scorefield.families.wan.specs import Networks, task_of
from scorefield.input_files import Json
from scorefield.latent.wan_latents import FilmLatents
from scorefield.nets.causal_vae import CausalVaeConfig
from scorefield.nets.clip import ClipConfig
from scorefield.nets.umt5 import Umt5Config
from scorefield.nets.video_dit import VideoDitConfig

_VERSION = "0.35.0"  # of diffusers, whose names these are


def transformer(config: VideoDitConfig) -> dict[str, Json]:
    """The config.json of a transformer."""
    own = {name: getattr(config, field) for name, field in TRANSFORMER.items()}
    return of_diffusers("WanTransformer3DModel", _VERSION) | own | {
        **FIXED["transformer"],
        "added_kv_proj_dim": None if config.image_width is None else config.width,
        "attention_head_dim": config.width // config.heads,
        "image_dim": config.image_width,
        "patch_size": [*config.patch_size],
        "pos_embed_seq_len": config.image_positions,
        "rope_max_seq_len": 1024,
    }  # fmt: skip


def vae(config: CausalVaeConfig, latents: FilmLatents) -> dict[str, Json]:
    """The config.json of an autoencoder."""
    own: dict[str, Json] = {
        "base_dim": config.width,
        "dim_mult": [*config.multipliers],
        "latents_mean": [*latents.mean],
        "latents_std": [*latents.deviation],
        "num_res_blocks": config.resblocks,
        "temperal_downsample": [*config.halves_time],
        "z_dim": config.channels,
    }
    if config.patch_size > 1 or config.shortcuts or config.decoder_width != config.width:
        channels, halvings = 3 * config.patch_size**2, len(config.multipliers) - 1
        own |= {
            "decoder_base_dim": config.decoder_width,
            "in_channels": channels,
            "is_residual": config.shortcuts,
            "out_channels": channels,
            "patch_size": config.patch_size if config.patch_size > 1 else None,
            "scale_factor_spatial": config.patch_size * 2**halvings,
            "scale_factor_temporal": 2 ** sum(config.halves_time),
        }
    return {**of_diffusers("AutoencoderKLWan", _VERSION), **FIXED["vae"], **own}


def text_encoder(config: Umt5Config) -> dict[str, Json]:
    """The config.json of a text encoder."""
    return {name: getattr(config, field) for name, field in TEXT.items()} | {
        **FIXED["text_encoder"],
        "architectures": ["UMT5EncoderModel"],
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "is_encoder_decoder": True,
        "model_type": "umt5",
        "num_decoder_layers": config.layers,
        "pad_token_id": 0,
        "scalable_attention": True,
    }  # fmt: skip


def image_encoder(config: ClipConfig) -> dict[str, Json]:
    """The config.json of an image encoder without its projection."""
    settings = clip_image_encoder(config) | {"architectures": ["CLIPVisionModel"]}
    del settings["projection_dim"]
    return settings


def scheduler(shift: float) -> dict[str, Json]:
    """The scheduler that was published with a Wan of this flow shift."""
    own: dict[str, Json] = {"flow_shift": shift, "solver_order": 2, "solver_type": "bh2"}
    return {**of_diffusers("UniPCMultistepScheduler", _VERSION), **FIXED["scheduler"], **own}


def pipeline(
    networks: Networks, steps: Mapping[str, Json], configs: Mapping[str, Mapping[str, Json]]
) -> dict[str, str]:
    """Every text file of a whole model's folder but its tokenizer's, by its name there.

    `steps` is the scheduler's configuration, `configs` are those of the parts.
    """
    classes: dict[str, Json] = {
        "scheduler": ["diffusers", steps["_class_name"]],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    files = {f"{part}/config.json": config for part, config in configs.items()}
    files["scheduler/scheduler_config.json"] = steps
    if networks.boundary is not None:
        classes |= {EXPERTS[1]: classes["transformer"], "boundary_ratio": networks.boundary / 1000}
    if networks.vae.shortcuts:
        classes["expand_timesteps"] = True
    if task_of(networks).pipeline == "WanImageToVideoPipeline":
        clip = networks.image_clip
        classes["image_encoder"] = ["transformers", "CLIPVisionModel"] if clip else [None, None]
        classes["image_processor"] = ["transformers", "CLIPImageProcessor"] if clip else [None, None]
        if clip:
            files["image_processor/preprocessor_config.json"] = image_processor(clip.vision.image_size)
    files["model_index.json"] = of_diffusers(task_of(networks).pipeline, _VERSION) | classes
    return {name: text(config) for name, config in files.items()}
