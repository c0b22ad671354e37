"""The text files of a diffusers folder: model_index.json, the schedulers, the tokenizers, the image preprocessing."""

import bz2
import functools
import json
from collections.abc import Mapping
from typing import cast

from scorefield.conversion.diffusers_config import VERSION
from scorefield.input_files import Json
from scorefield.prompt.bpe import MERGES, ClipTokenizer
from scorefield.prompt.unclip import DEVIATION, MEAN

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
_LEVELS: dict[str, Json] = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "trained_betas": None,
}


def text(value: Mapping[str, Json]) -> str:
    """The text of a JSON file, formatted as diffusers does."""
    return json.dumps(value, indent=2) + "\n"


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
    texts: dict[str, str] = {"scheduler/scheduler_config.json": text(steps)}
    texts |= {f"{part}/config.json": text(config) for part, config in networks.items()}
    texts |= {f"{part}/{name}": one for part, pad in pads.items() for name, one in tokenizer(pad).items()}
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
        texts["feature_extractor/preprocessor_config.json"] = text(_preprocessing(side))
        texts["image_noising_scheduler/scheduler_config.json"] = text(_image_noise())
    else:
        index |= {"feature_extractor": [None, None], "safety_checker": [None, None], "requires_safety_checker": False}
    return {"model_index.json": text({"_class_name": kind, "_diffusers_version": VERSION} | index)} | texts


def scheduler(prediction: str, *, zero_snr: bool, xl: bool) -> dict[str, Json]:
    """The scheduler that was published with a model of `prediction` (eps, v).

    `zero_snr` is for models that were trained to pure noise.
    """
    config = _LEVELS | {"prediction_type": "v_prediction" if prediction == "v" else "epsilon"}
    if xl:
        config |= {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}
    else:
        name = "DDIMScheduler" if prediction == "v" else "PNDMScheduler"
        config |= {"_class_name": name, "clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True}
    if zero_snr:
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return dict(sorted((config | {"_diffusers_version": VERSION}).items()))


def _image_noise() -> dict[str, Json]:
    """The scheduler of the noise on unCLIP's image vectors."""
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": VERSION,
        "beta_schedule": "squaredcos_cap_v2",
        "num_train_timesteps": 1000,
        "trained_betas": None,
    }


def _preprocessing(side: int) -> dict[str, Json]:
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
