"""The texts of a diffusers folder: what it is, its parts' configurations, its scheduler and its tokenizer."""

import bz2
import json
from collections.abc import Mapping

from scorefield.nets.clip import ClipConfig, EncoderConfig, TextConfig, VisionConfig
from scorefield.nets.kl import KlConfig
from scorefield.nets.unet import UnetConfig
from scorefield.prompt.bpe import MERGES, ClipTokenizer
from scorefield.weights.folder import Json

_VERSION = "0.31.0"  # of diffusers, whose names these are
_STABLE: dict[str, Json] = {
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
}
_IDS: dict[str, Json] = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}  # as published; 2: the largest id


def text(held: Mapping[str, Json]) -> str:
    """The JSON as such a file has it."""
    return json.dumps(held, indent=2) + "\n"


def pipeline(
    *, inpaints: bool, prediction: str, networks: Mapping[str, Mapping[str, Json]], pad: str
) -> dict[str, str]:
    """Every text of a whole model's folder, by its name there; `networks` are the parts' configurations."""
    kind = "StableDiffusionInpaintPipeline" if inpaints else "StableDiffusionPipeline"
    steps = scheduler(prediction)
    index: dict[str, Json] = {"_class_name": kind, "_diffusers_version": _VERSION}
    index |= _STABLE
    index |= {"scheduler": ["diffusers", steps["_class_name"]], "requires_safety_checker": False}
    configs = {f"{name}/config.json": text(config) for name, config in networks.items()}
    return (
        {"model_index.json": text(index), "scheduler/scheduler_config.json": text(steps)}
        | configs
        | {f"tokenizer/{name}": held for name, held in tokenizer(pad).items()}
    )


def scheduler(prediction: str) -> dict[str, Json]:
    """The scheduler that was published with a model of `prediction` (eps, v)."""
    return {
        "_class_name": "DDIMScheduler" if prediction == "v" else "PNDMScheduler",
        "_diffusers_version": _VERSION,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction" if prediction == "v" else "epsilon",
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
    }


def unet(config: UnetConfig, side: int, *, upcast: bool) -> dict[str, Json]:
    """The config.json of a U-Net for pictures `side` wide; `upcast` has its attention in float32."""
    widths = [config.channels * multiplier for multiplier in config.multipliers]
    heads: Json = config.heads or [config.heads_at(width) for width in widths]
    kinds = ["CrossAttn" if depth else "" for depth in config.depths]
    pooled: dict[str, Json] = {}
    if config.pooled_width is not None:
        pooled = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": config.pooled_width}
    return pooled | {
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": _VERSION,
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


def vae(config: KlConfig, side: int) -> dict[str, Json]:
    """The config.json of an autoencoder for pictures `side` wide."""
    levels = len(config.multipliers)
    return {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": _VERSION,
        "block_out_channels": [config.width * multiplier for multiplier in config.multipliers],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "in_channels": 3,
        "latent_channels": config.channels,
        "layers_per_block": config.resblocks,
        "norm_num_groups": 32,
        "out_channels": 3,
        "sample_size": side,
        "scaling_factor": 0.18215,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def text_encoder(config: EncoderConfig) -> dict[str, Json]:
    """The config.json of a text tower, projected or not."""
    kind = "CLIPTextModel" if config.embed_dim is None else "CLIPTextModelWithProjection"
    told: dict[str, Json] = {"architectures": [kind], "model_type": "clip_text_model"}
    told["projection_dim"] = config.embed_dim or config.text.width
    return told | _words(config.text, config.activation)


def image_encoder(config: ClipConfig) -> dict[str, Json]:
    """The config.json of an image tower with its projection."""
    told: dict[str, Json] = {"architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model"}
    told["projection_dim"] = config.embed_dim
    return told | _pixels(config.vision, config.activation)


def clip(config: ClipConfig) -> dict[str, Json]:
    """The config.json of a whole CLIP."""
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "text_config": _words(config.text, config.activation) | {"projection_dim": config.embed_dim},
        "vision_config": _pixels(config.vision, config.activation) | {"projection_dim": config.embed_dim},
    }


def _words(config: TextConfig, activation: str) -> dict[str, Json]:
    return _IDS | {
        "hidden_act": activation,
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "max_position_embeddings": config.context_length,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "vocab_size": config.vocab_size,
    }


def _pixels(config: VisionConfig, activation: str) -> dict[str, Json]:
    return {
        "hidden_act": activation,
        "hidden_size": config.width,
        "image_size": config.image_size,
        "intermediate_size": 4 * config.width,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "patch_size": config.patch_size,
    }


def tokenizer(pad: str) -> dict[str, str]:
    """The files of CLIP's tokenizer, of which `pad` fills a prompt up."""
    words = ClipTokenizer.packaged().tokenizer.get_vocab(with_added_tokens=True)
    roles: dict[str, Json] = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": pad,
                              "unk_token": "<|endoftext|>"}  # fmt: skip
    told: dict[str, Json] = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "add_prefix_space": False}
    return {
        "merges.txt": bz2.decompress(MERGES.read_bytes()).decode(),
        "vocab.json": json.dumps(dict(sorted(words.items(), key=lambda item: item[1])), ensure_ascii=False),
        "special_tokens_map.json": text(roles),
        "tokenizer_config.json": text(told | roles),
    }
