"""The config.json of each network in a diffusers folder."""

from scorefield.families.stable_diffusion.second_encoder import NUMBERS
from scorefield.input_files import Json
from scorefield.latent.kl_codec import PUBLISHED, Latents
from scorefield.nets.clip import ClipConfig, EncoderConfig, TextConfig, VisionConfig
from scorefield.nets.kl import KlConfig
from scorefield.nets.unet import UnetConfig

VERSION = "0.31.0"  # of diffusers, whose names these are
_IDS: dict[str, Json] = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}  # as published; 2: the largest id


def unet(config: UnetConfig, side: int, *, upcast: bool, summary: int | None = None) -> dict[str, Json]:
    """The config.json of a U-Net for pictures `side` px wide; with `upcast` it asks for attention in float32.

    `summary` is the width of the second text encoder's summary, for XL.
    """
    widths = [config.channels * multiplier for multiplier in config.multipliers]
    heads: Json = config.heads or [config.heads_at(width) for width in widths]
    kinds = ["CrossAttn" if depth else "" for depth in config.depths]
    return _vector(config, summary) | {
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": VERSION,
        "attention_head_dim": heads,  # the number of heads: diffusers' issue 2011
        "block_out_channels": [*widths],
        "cross_attention_dim": config.context_width,
        "down_block_types": [f"{kind}DownBlock2D" for kind in kinds],
        "in_channels": config.in_channels,
        "layers_per_block": config.resblocks,
        "out_channels": config.out_channels,
        "sample_size": side // 8,
        "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(kinds)],
        "upcast_attention": upcast,
        "use_linear_projection": config.linear_projections,
    }


def _vector(config: UnetConfig, summary: int | None) -> dict[str, Json]:
    """The settings of the vector that is added to the time, of unCLIP or of XL, and of XL's deeper transformers."""
    if config.pooled_width is None:
        return {}
    width: dict[str, Json] = {"projection_class_embeddings_input_dim": config.pooled_width}
    if summary is None:
        return width | {"class_embed_type": "projection"}
    return width | {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (config.pooled_width - summary) // NUMBERS,
        "transformer_layers_per_block": [*(depth or 1 for depth in config.depths[:-1]), config.middle_depth],
    }


def vae(config: KlConfig, side: int, latents: Latents = PUBLISHED) -> dict[str, Json]:
    """The config.json of an autoencoder for pictures `side` px wide."""
    levels = len(config.multipliers)
    own: dict[str, Json] = {"latents_mean": [*latents.mean], "latents_std": [*latents.deviation]}
    return (own if latents.mean else {}) | {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": VERSION,
        "block_out_channels": [config.width * multiplier for multiplier in config.multipliers],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "in_channels": 3,
        "latent_channels": config.channels,
        "layers_per_block": config.resblocks,
        "norm_num_groups": 32,
        "out_channels": 3,
        "sample_size": side,
        "scaling_factor": latents.factor,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def text_encoder(config: EncoderConfig) -> dict[str, Json]:
    """The config.json of a text encoder, projected or not."""
    kind = "CLIPTextModel" if config.embed_dim is None else "CLIPTextModelWithProjection"
    head: dict[str, Json] = {"architectures": [kind], "model_type": "clip_text_model"}
    head["projection_dim"] = config.embed_dim or config.text.width
    return head | _text(config.text, config.activation)


def image_encoder(config: ClipConfig) -> dict[str, Json]:
    """The config.json of an image encoder with its projection."""
    head: dict[str, Json] = {"architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model"}
    head["projection_dim"] = config.embed_dim
    return head | _vision(config.vision, config.activation)


def normalizer(width: int) -> dict[str, Json]:
    """The config.json of the statistics of unCLIP's image vectors."""
    return {"_class_name": "StableUnCLIPImageNormalizer", "_diffusers_version": VERSION, "embedding_dim": width}


def clip(config: ClipConfig) -> dict[str, Json]:
    """The config.json of a whole CLIP."""
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "text_config": _text(config.text, config.activation) | {"projection_dim": config.embed_dim},
        "vision_config": _vision(config.vision, config.activation) | {"projection_dim": config.embed_dim},
    }


def _text(config: TextConfig, activation: str) -> dict[str, Json]:
    return _IDS | {
        "hidden_act": activation,
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "max_position_embeddings": config.context_length,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "vocab_size": config.vocab_size,
    }


def _vision(config: VisionConfig, activation: str) -> dict[str, Json]:
    return {
        "hidden_act": activation,
        "hidden_size": config.width,
        "image_size": config.image_size,
        "intermediate_size": 4 * config.width,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "patch_size": config.patch_size,
    }
