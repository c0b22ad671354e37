"""diffusers' and transformers' networks of the sizes that our configurations say."""

import importlib
from typing import Any

from scorefield.nets.causal_vae import CausalVaeConfig
from scorefield.nets.clip import ClipConfig, EncoderConfig, TextConfig, VisionConfig
from scorefield.nets.kl import KlConfig
from scorefield.nets.umt5 import Umt5Config
from scorefield.nets.unet import UnetConfig
from scorefield.nets.video_dit import VideoDitConfig


def unet_config(config: UnetConfig, sdxl: bool = False) -> dict[str, Any]:
    """diffusers' configuration of the same U-Net."""
    widths = [config.channels * multiplier for multiplier in config.multipliers]
    made: dict[str, Any] = {
        "in_channels": config.in_channels,
        "block_out_channels": widths,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in config.depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(config.depths)],
        "layers_per_block": config.resblocks,
        "transformer_layers_per_block": [depth or 1 for depth in config.depths[:-1]] + [config.middle_depth],
        "cross_attention_dim": config.context_width,
        "attention_head_dim": [config.heads_at(width) for width in widths],  # it counts heads: their issue 2011
        "use_linear_projection": config.linear_projections,
        "projection_class_embeddings_input_dim": config.pooled_width,
    }
    if config.pooled_width is not None:
        vector = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
        made |= vector if sdxl else {"class_embed_type": "projection"}
    return made


def unet(config: UnetConfig, sdxl: bool = False) -> Any:
    return importlib.import_module("diffusers").UNet2DConditionModel(**unet_config(config, sdxl))


def kl(config: KlConfig) -> Any:
    levels = len(config.multipliers)
    return importlib.import_module("diffusers").AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=[config.width * multiplier for multiplier in config.multipliers],
        layers_per_block=config.resblocks,
        latent_channels=config.channels,
    )


def video_dit(config: VideoDitConfig) -> Any:
    return importlib.import_module("diffusers").WanTransformer3DModel(
        patch_size=config.patch_size,
        num_attention_heads=config.heads,
        attention_head_dim=config.width // config.heads,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        text_dim=config.text_width,
        freq_dim=config.time_features,
        ffn_dim=config.mlp_width,
        num_layers=config.depth,
        image_dim=config.image_width,
        added_kv_proj_dim=None if config.image_width is None else config.width,
        pos_embed_seq_len=config.image_positions,
    )


def causal_vae(config: CausalVaeConfig) -> Any:
    colours = 3 * config.patch_size**2
    return importlib.import_module("diffusers").AutoencoderKLWan(
        base_dim=config.width,
        decoder_base_dim=config.decoder_width,
        z_dim=config.channels,
        dim_mult=list(config.multipliers),
        num_res_blocks=config.resblocks,
        temperal_downsample=list(config.halves_time),
        is_residual=config.shortcuts,
        in_channels=colours,
        out_channels=colours,
        patch_size=config.patch_size if config.patch_size > 1 else None,
    )


def text_config(config: TextConfig, embed_dim: int | None, activation: str) -> dict[str, Any]:
    """transformers' configuration of the same text encoder."""
    return {
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.context_length,
        "vocab_size": config.vocab_size,
        "projection_dim": embed_dim,
        "hidden_act": activation,
        "eos_token_id": config.end_id,
        "bos_token_id": (config.end_id or 1) - 1,
        "pad_token_id": 0,
    }


def vision_config(config: VisionConfig, embed_dim: int, activation: str) -> dict[str, Any]:
    """transformers' configuration of the same image encoder."""
    return {
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "patch_size": config.patch_size,
        "image_size": config.image_size,
        "projection_dim": embed_dim,
        "hidden_act": activation,
    }


def vision(config: ClipConfig) -> Any:
    """transformers' image encoder without a projection."""
    peers = importlib.import_module("transformers")
    held = vision_config(config.vision, config.embed_dim, config.activation)
    return peers.CLIPVisionModel(peers.CLIPVisionConfig(**held))


def text(config: EncoderConfig) -> Any:
    """transformers' text encoder, with a projection where ours has one."""
    peers = importlib.import_module("transformers")
    kind = peers.CLIPTextModel if config.embed_dim is None else peers.CLIPTextModelWithProjection
    return kind(peers.CLIPTextConfig(**text_config(config.text, config.embed_dim, config.activation)))


def umt5(config: Umt5Config) -> Any:
    """transformers' UMT5 encoder."""
    peers = importlib.import_module("transformers")
    held = peers.UMT5Config(
        vocab_size=config.vocab_size,
        d_model=config.width,
        d_kv=config.head_width,
        d_ff=config.mlp_width,
        num_layers=config.layers,
        num_heads=config.heads,
        relative_attention_num_buckets=config.buckets,
        relative_attention_max_distance=config.farthest,
        feed_forward_proj="gated-gelu",
    )
    return peers.UMT5EncoderModel(held).eval()
