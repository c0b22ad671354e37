"""Identify a file or folder of weights by the names and shapes of its tensors."""

import json
from collections.abc import Iterable
from dataclasses import replace

from scorefield.errors import DamagedError
from scorefield.printable import one_line
from scorefield.weights.checkpoint_layout import EMA, PARTS, UNET, V_PREDICTION, ZERO_SNR, needed_parts
from scorefield.weights.detect.adapter_shapes import identify_inversion, identify_lora
from scorefield.weights.detect.component_shapes import identify_clip, identify_vae
from scorefield.weights.detect.film_shapes import identify_film_vae, identify_text_encoder, identify_transformer
from scorefield.weights.detect.identity import (
    AnyIdentity,
    Family,
    Kind,
    Layout,
    ModelIdentity,
    OwnIdentity,
    Prediction,
    Task,
    UnknownIdentity,
)
from scorefield.weights.tensor_index import DiffusersFolder, TensorIndex

OWN = "scorefield"  # the entry of a file's metadata that makes it one of ours
STATED = {"epsilon": "eps", "eps": "eps", "v": "v", "v_prediction": "v", "v-prediction": "v"}  # predictions

# A U-Net by the widths of the tokens that it attends to and of the vector that is added to the time.
_UNETS = {
    (768, None): Family.SD1, (1024, None): Family.SD2, (1024, 2048): Family.UNCLIP_H,
    (1024, 1536): Family.UNCLIP_L, (2048, 2816): Family.SDXL, (1280, 2560): Family.SDXL_REFINER,
}  # fmt: skip
_TASKS = {4: Task.TEXT, 9: Task.INPAINTING, 5: Task.DEPTH, 7: Task.UPSCALING, 8: Task.EDITING}  # by channels in
_WIDTHS = {Family.SDXL_REFINER: 384}  # the others have 320
_UPSCALER_WIDTH = 256  # of Stable Diffusion 2, which also has an embedding of the noise level
_COUNTS = {Family.SD1: 686, Family.SD2: 686, Family.UNCLIP_H: 690, Family.UNCLIP_L: 690}  # tensors
_STEPS = {875000: "eps", 110000: "v"}  # of 2.0-base and of 2.1 at 768 pixels
_EITHER = (
    "Stable Diffusion 2 was published with both and its tensors do not show which: say eps for a model of 512 pixels"
    " (2-base, 2.1-base), v for one of 768"
)


def identify_file(index: TensorIndex) -> AnyIdentity:
    """Identify a file by its index; an UnknownIdentity says what the file resembles most."""
    return (
        _own(index)
        or identify_lora(index)
        or identify_transformer(index)
        or identify_film_vae(index)
        or identify_text_encoder(index)
        or _checkpoint(index)
        or _unet(index)
        or identify_vae(index)
        or identify_clip(index)
        or identify_inversion(index)
        or UnknownIdentity(resembles=_resemblance(index.tensors))
    )


def identify_folder(folder: DiffusersFolder) -> ModelIdentity:
    """Identify a diffusers pipeline by its U-Net; its prediction is the one that its scheduler states."""
    unet = _unet(folder.parts["unet"]) if "unet" in folder.parts else None
    whole = unet or ModelIdentity(kind=Kind.PIPELINE, resembles=f"a {one_line(folder.name)}")
    scheduler = folder.scheduler or {}
    if unet and folder.scheduler is not None and (stated := scheduler.get("prediction_type", "epsilon")):
        says = Prediction(STATED.get(str(stated)), f"its scheduler says {one_line(str(stated))}")
        whole = replace(whole, prediction=says)
    return replace(
        whole, kind=Kind.PIPELINE, layout=Layout.DIFFUSERS, missing=folder.missing,
        parts={name: index.part() for name, index in folder.parts.items()},
        zero_snr=unet is not None and scheduler.get("rescale_betas_zero_snr") is True,
    )  # fmt: skip


def _own(index: TensorIndex) -> OwnIdentity | None:
    if OWN not in index.metadata:
        return None
    try:
        kind = one_line(str(json.loads(index.metadata[OWN])["kind"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DamagedError(f"{index.path} has a scorefield header that cannot be read; get it again") from None
    return OwnIdentity(family=Family.SCOREFIELD, layout=Layout.SCOREFIELD, parts={kind: index.part()}, holds=kind)


def _checkpoint(index: TensorIndex) -> ModelIdentity | None:
    tensors = index.tensors
    there = {prefix: name for prefix, name in PARTS.items() if any(key.startswith(prefix) for key in tensors)}
    if UNET not in there:
        return None
    unet = _unet(index, UNET)
    whole = unet or ModelIdentity(kind=Kind.CHECKPOINT, resembles=_resemblance(tensors))
    parts = {name: index.part(prefix) for prefix, name in there.items()}
    return replace(
        whole, kind=Kind.CHECKPOINT, layout=Layout.LDM, parts=parts, ema=EMA in there,
        missing=tuple(name for name in needed_parts(whole.family) if name not in parts),
        zero_snr=unet is not None and ZERO_SNR in tensors,
    )  # fmt: skip


def _unet(index: TensorIndex, prefix: str = "") -> ModelIdentity | None:
    """The U-Net behind `prefix`, of any family; None if there is no U-Net that attends to tokens."""
    names = {name.removeprefix(prefix): one.shape for name, one in index.tensors.items() if name.startswith(prefix)}
    ldm = "input_blocks.0.0.weight" in names and "middle_block.0.in_layers.0.weight" in names
    first = names.get("input_blocks.0.0.weight" if ldm else "conv_in.weight", ())
    words = next((shape for name, shape in names.items() if name.endswith(".attn2.to_k.weight")), ())
    if len(first) != 4 or len(words) != 2:
        return None
    width, channels, context = first[0], first[1], words[1]
    vectors = ("label_emb.0.0.weight",) if ldm else ("class_embedding.linear_1.weight", "add_embedding.linear_1.weight")
    vector = next((names[name] for name in vectors if name in names), ())[-1:]
    levels = ("label_emb.weight" if ldm else "class_embedding.weight") in names
    family = _UNETS.get((context, vector[0] if vector and not levels else None), Family.UNKNOWN)
    if width != (_UPSCALER_WIDTH if levels else _WIDTHS.get(family, 320)):
        family = Family.UNKNOWN
    task = Task.VARIATION if family in (Family.UNCLIP_H, Family.UNCLIP_L) else _TASKS.get(channels)
    expected = _COUNTS[family] + levels if family in _COUNTS else len(names)
    note = f"its U-Net has {len(names)} tensors where the published one has {expected}"
    return ModelIdentity(
        kind=Kind.UNET, family=family, layout=Layout.LDM if ldm else Layout.DIFFUSERS, task=task,
        parts={"unet": index.part(prefix)}, channels=channels, context=context,
        notes=(note,) if len(names) != expected else (), prediction=_prediction(index, family, task),
        resembles="Stable Diffusion of other widths" if family is Family.UNKNOWN else None,
    )  # fmt: skip


def _prediction(index: TensorIndex, family: Family, task: Task | None) -> Prediction:
    """The meaning of the network's output, if the file or its family shows it."""
    stated = index.metadata.get("modelspec.prediction_type", "")
    if stated in STATED:
        return Prediction(STATED[stated], "the file's metadata say so")
    if V_PREDICTION in index.tensors:
        return Prediction("v", f"the file has the marker {V_PREDICTION}")
    step = index.values.get("global_step")
    match family:
        case Family.SD1 | Family.SDXL | Family.SDXL_REFINER:
            return Prediction("eps", f"every published {family} predicts it")
        case Family.UNCLIP_H | Family.UNCLIP_L:
            return Prediction("v", f"the published {family} predicts it")
        case Family.SD2 if task is Task.UPSCALING:
            return Prediction("v", "the published upscaler predicts it")
        case Family.SD2 if isinstance(step, int) and step in _STEPS:
            return Prediction(_STEPS[step], f"its global_step is {step}")
        case Family.SD2:
            return Prediction(None, _EITHER)
        case _:
            return Prediction(None, "its family is not known: say eps or v")


# What an unknown file may be, and fragments of its tensors' names; the list goes from special to general.
_LOOKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a Stable Diffusion U-Net in the ldm layout", ("input_blocks.", "middle_block.", ".attn2.to_k.", "time_embed.")),
    ("a Stable Diffusion U-Net in the diffusers layout", ("down_blocks.", "mid_block.", ".attn2.to_k.", "conv_in.")),
    ("a ControlNet", ("zero_convs.", "input_hint_block.", "middle_block_out.")),
    ("a ControlNet in the diffusers layout", ("controlnet_cond_embedding.", "controlnet_down_blocks.")),
    ("a GLIDE U-Net", ("input_blocks.", ".encoder_kv.", "transformer.resblocks.", "padding_embedding")),
    ("a Karlo decoder", ("input_blocks.", "cf_param", "clip_tok_proj.", ".encoder_kv.")),
    ("a Karlo prior", ("prd_emb", "text_enc_proj.", "transformer.resblocks.")),
    ("a Karlo prior in the diffusers layout", ("prd_embedding", "proj_to_clip_embeddings.", "transformer_blocks.")),
    ("a U-Net of guided diffusion (ADM)", ("input_blocks.", "middle_block.", ".qkv.", "time_embed.")),
    ("a U-Net of score_sde", ("all_modules.", "sigmas", ".GroupNorm_0.")),
    ("a DDPM U-Net in the diffusers layout", ("down_blocks.", "up_blocks.", "time_embedding.linear_1.", "conv_in.")),
    ("a DDPM U-Net in the layout of ermongroup/ddim", ("temb.dense.", "down.0.block.", "up.0.block.", "temb_proj.")),
    ("a Wan video transformer", ("patch_embedding.", "text_embedding.0.", ".cross_attn.norm_k.", "head.modulation")),
    ("a Wan video transformer in the diffusers layout",
     ("patch_embedding.", "condition_embedder.", "scale_shift_table")),
    ("a Wan autoencoder", ("encoder.downsamples.", ".residual.0.gamma", "decoder.head.")),
    ("a T5 text encoder", ("shared.weight", ".SelfAttention.", ".DenseReluDense.")),
    ("a T5 text encoder in Wan's layout", ("token_embedding.", ".pos_embedding.embedding.", ".ffn.gate.")),
    ("a Flux transformer", ("double_blocks.", "single_blocks.")),
    ("a Stable Diffusion 3 transformer", ("joint_blocks.",)),
    ("a Stable Diffusion autoencoder in the ldm layout", ("encoder.down.", "decoder.up.", "quant_conv.")),
    ("a Stable Diffusion autoencoder in the diffusers layout",
     ("encoder.down_blocks.", "decoder.up_blocks.", "quant_conv.")),
    ("a CLIP model with convolutions (RN50 and its like)", ("visual.layer1.", "visual.attnpool.")),
    ("a CLIP model in OpenAI's layout", ("visual.", "transformer.resblocks.", "token_embedding.")),
    ("a CLIP model in the transformers layout", ("text_model.", "vision_model.", "self_attn.q_proj.")),
)  # fmt: skip


def _resemblance(names: Iterable[str]) -> str | None:
    """The model with the largest share of its fragments in `names`, if that is more than half; else None."""
    every = "\n".join(names)
    shares = [(sum(fragment in every for fragment in fragments) / len(fragments), look) for look, fragments in _LOOKS]
    share, look = max(shares, key=lambda one: one[0])  # the first of equals
    return look if share > 0.5 else None
