"""The text files of a diffusers folder: the configurations of its networks and schedulers, the tokenizers' files."""

import bz2
import functools
import json
from collections.abc import Mapping
from typing import cast

from scorefield.families.stable_diffusion import folder_settings
from scorefield.input_files import Json
from scorefield.latent.kl_codec import Latents
from scorefield.nets.clip import DEVIATION, MEAN, ClipConfig, EncoderConfig, TextConfig, VisionConfig
from scorefield.nets.kl import KlConfig
from scorefield.nets.unet import UnetConfig
from scorefield.prompt.bpe import MERGES, ClipTokenizer

_CLASSES: dict[str, Json] = {  # of every part that a model may have
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "image_normalizer": ["stable_diffusion", "StableUnCLIPImageNormalizer"],
}
_IDS: dict[str, Json] = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}  # as published; 2: the largest id


def text(value: Mapping[str, Json]) -> str:
    """The text of a JSON file, formatted as diffusers does."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def unet(config: UnetConfig, side: int, features: int | None = None) -> dict[str, Json]:
    """The config.json of a U-Net for pictures `side` px wide; `features` are the time features of XL's numbers."""
    widths = [config.channels * multiplier for multiplier in config.multipliers]
    kinds = ["CrossAttn" if depth else "" for depth in config.depths]
    own: dict[str, Json] = {}
    if config.pooled_width is not None:
        own["projection_class_embeddings_input_dim"] = config.pooled_width
        own |= {"class_embed_type": "projection"} if features is None else {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": features,
            "transformer_layers_per_block": [*(depth or 1 for depth in config.depths[:-1]), config.middle_depth],
        }  # fmt: skip
    return of_diffusers("UNet2DConditionModel") | _fields(config, folder_settings.UNET) | own | {
        "attention_head_dim": config.heads or [config.heads_at(width) for width in widths],  # it counts heads
        "block_out_channels": [*widths],
        "down_block_types": [f"{kind}DownBlock2D" for kind in kinds],
        "sample_size": side // 8,
        "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(kinds)],
        "upcast_attention": side == 768,  # as published: its attention has large numbers
        "use_linear_projection": config.linear_projections,
    }  # fmt: skip


def vae(config: KlConfig, latents: Latents, side: int) -> dict[str, Json]:
    """The config.json of an autoencoder for pictures `side` px wide."""
    own: dict[str, Json] = {"latents_mean": [*latents.mean], "latents_std": [*latents.deviation]}
    constants = _constants("vae", "in_channels", "norm_num_groups", "out_channels")
    return of_diffusers("AutoencoderKL") | _fields(config, folder_settings.VAE) | constants | {
        "block_out_channels": [config.width * multiplier for multiplier in config.multipliers],
        "down_block_types": ["DownEncoderBlock2D"] * len(config.multipliers),
        "sample_size": side,
        "scaling_factor": latents.factor,
        "up_block_types": ["UpDecoderBlock2D"] * len(config.multipliers),
        **(own if latents.mean else {}),
    }  # fmt: skip


def text_encoder(config: EncoderConfig) -> dict[str, Json]:
    """The config.json of a text encoder, projected or not."""
    return _text(config.text, config.activation, config.embed_dim or config.text.width) | {
        "architectures": ["CLIPTextModel" if config.embed_dim is None else "CLIPTextModelWithProjection"],
        "model_type": "clip_text_model",
    }


def image_encoder(config: ClipConfig) -> dict[str, Json]:
    """The config.json of an image encoder with its projection."""
    return _encoder(config.vision, folder_settings.VISION, config.activation, config.embed_dim) | {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
    }


def clip(config: ClipConfig) -> dict[str, Json]:
    """The config.json of a whole CLIP."""
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "text_config": _text(config.text, config.activation, config.embed_dim),
        "vision_config": _encoder(config.vision, folder_settings.VISION, config.activation, config.embed_dim),
    }


def normalizer(width: int) -> dict[str, Json]:
    """The config.json of the statistics of unCLIP's image vectors."""
    return of_diffusers("StableUnCLIPImageNormalizer") | {"embedding_dim": width}


def _text(config: TextConfig, activation: str, projection: int) -> dict[str, Json]:
    return _IDS | _encoder(config, folder_settings.TEXT, activation, projection)


def _encoder(
    config: TextConfig | VisionConfig, table: Mapping[str, str], activation: str, projection: int
) -> dict[str, Json]:
    return _fields(config, table) | {
        "hidden_act": activation,
        "intermediate_size": 4 * config.width,
        "projection_dim": projection,
    }


def of_diffusers(name: str, version: str = "0.31.0") -> dict[str, Json]:
    """The class of a part, and the version of diffusers whose names its settings have."""
    return {"_class_name": name, "_diffusers_version": version}


def _fields(config: object, table: Mapping[str, str]) -> dict[str, Json]:
    """The fields of a configuration by their names in `table`."""
    return {name: getattr(config, field) for name, field in table.items()}


def _constants(part: str, *names: str) -> dict[str, Json]:
    """The settings of a part that have one value in this program."""
    return {name: folder_settings.ALLOWED[part][name][0] for name in names}


def pipeline(
    *,
    inpaints: bool,
    steps: Mapping[str, Json],
    networks: Mapping[str, Mapping[str, Json]],
    pads: Mapping[str, str],
    blank: bool,
) -> dict[str, str]:
    """Every text file of a whole model's folder, by its name there.

    `steps` is the scheduler's configuration, `networks` are those of the parts, `pads` the padding token of each
    tokenizer. `blank` is for XL alone: see `XlConditioner`.
    """
    configs = {f"{part}/config.json": config for part, config in networks.items()}
    configs["scheduler/scheduler_config.json"] = steps
    index: dict[str, Json] = {part: _CLASSES[part] for part in (*networks, *pads)}
    index["scheduler"] = ["diffusers", steps["_class_name"]]
    kind = "StableDiffusionInpaintPipeline" if inpaints else "StableDiffusionPipeline"
    if "text_encoder_2" in networks:
        kind = kind.replace("Diffusion", "DiffusionXL")
        index["force_zeros_for_empty_prompt"] = blank
    elif "image_encoder" in networks:
        kind = "StableUnCLIPImg2ImgPipeline"
        index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
        index["image_noising_scheduler"] = ["diffusers", "DDPMScheduler"]
        side = cast(int, networks["image_encoder"]["image_size"])
        noise = _constants("image_noising_scheduler", "beta_schedule", "num_train_timesteps", "trained_betas")
        configs["feature_extractor/preprocessor_config.json"] = image_processor(side)
        configs["image_noising_scheduler/scheduler_config.json"] = of_diffusers("DDPMScheduler") | noise
    else:
        index |= {"feature_extractor": [None, None], "safety_checker": [None, None], "requires_safety_checker": False}
    configs["model_index.json"] = of_diffusers(kind) | index
    words = {f"{part}/{name}": one for part, pad in pads.items() for name, one in tokenizer(pad).items()}
    return {name: text(config) for name, config in configs.items()} | words


def scheduler(prediction: str, *, zero_snr: bool, xl: bool) -> dict[str, Json]:
    """The scheduler that was published with a model of `prediction` (eps, v).

    `zero_snr` is for models that were trained with zero terminal SNR.
    """
    levels = ("beta_end", "beta_schedule", "beta_start", "num_train_timesteps", "trained_betas")
    config = _constants("scheduler", *levels) | {"steps_offset": 1}
    config["prediction_type"] = "v_prediction" if prediction == "v" else "epsilon"
    if xl:
        config |= of_diffusers("EulerDiscreteScheduler") | {"timestep_spacing": "leading"}
    else:
        config |= of_diffusers("DDIMScheduler" if prediction == "v" else "PNDMScheduler")
        config |= {"clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True}
    return config | ({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if zero_snr else {})


def image_processor(side: int) -> dict[str, Json]:
    """How a picture is prepared for an image encoder: its middle square, `side` px wide."""
    return {
        "crop_size": {"height": side, "width": side},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [*MEAN],
        "image_processor_type": "CLIPImageProcessor",
        "image_std": [*DEVIATION],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": side},
    }


def tokenizer(pad: str) -> dict[str, str]:
    """The files of CLIP's tokenizer with the padding token `pad`."""
    roles: dict[str, Json] = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": pad,
                              "unk_token": "<|endoftext|>"}  # fmt: skip
    config: dict[str, Json] = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "add_prefix_space": False}
    return _vocabulary() | {"special_tokens_map.json": text(roles), "tokenizer_config.json": text(config | roles)}


@functools.cache
def _vocabulary() -> dict[str, str]:
    """The files that do not depend on the padding token."""
    words = ClipTokenizer.packaged().tokenizer.get_vocab(with_added_tokens=True)
    return {
        "merges.txt": bz2.decompress(MERGES.read_bytes()).decode(),
        "vocab.json": json.dumps(dict(sorted(words.items(), key=lambda item: item[1])), ensure_ascii=False),
    }
