"""A model with LoRAs: a new model, which shares every tensor that no LoRA changes."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from scorefield.adapters.compiled import compiled
from scorefield.adapters.learned_words import check_hash
from scorefield.errors import RequestError, UnsupportedError
from scorefield.model.system import AppliedLora, System
from scorefield.nets.clip import TextConfig
from scorefield.nets.packed import dense, pack
from scorefield.nets.unet import Unet, UnetConfig
from scorefield.notes import UnusedKeysWarning, note
from scorefield.prompt.conditioner import Conditioner
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.sdxl import XlConditioner
from scorefield.request import Lora
from scorefield.stages.diffusion import only_stage
from scorefield.weights.detect.identity import BY_WORDS, Family
from scorefield.weights.key_maps import clip_keys, unet_keys
from scorefield.weights.lora.file import LoraFile
from scorefield.weights.lora.lora_keys import TEXT, TEXT_2, UNET
from scorefield.weights.lora.merge import Scales, Stack, Target, names

_MOST_KEYS = 3  # that a note names

M = TypeVar("M", bound=nn.Module)


class OpenedLora(NamedTuple):
    """A LoRA of a request and its file."""

    asked: Lora
    file: LoraFile


def open_lora(asked: Lora) -> OpenedLora:
    """Open its file; RequestError if it has changed since it was recorded, or for a scale that is not a number."""
    path, colon, scale = asked.path.rpartition(":")
    if colon and Path(path).exists() and not Path(asked.path).exists():
        raise RequestError(f"{asked.path}: the scale after the colon must be a number, not {scale!r}")
    file = LoraFile(Path(asked.path))
    check_hash(asked.path, file.sha256, asked.sha256, "LoRA")
    return OpenedLora(asked, file)


@torch.inference_mode(False)  # as in `zoo.load`
def with_loras(system: System, loras: Sequence[OpenedLora]) -> System:
    """`system` with `loras`; `system` itself does not change.

    A weight becomes W + the sum of scale * delta, computed in float32 and cast once. UnsupportedError for a model that
    takes no LoRA or already has some, and for a LoRA of another family; DamagedError for files that do not fit.
    """
    if not loras:
        return system
    stage = only_stage(system.stages)
    net, encoders = stage.denoiser.net, _encoders(stage.conditioner)
    if not isinstance(net, Unet) or not encoders:
        raise UnsupportedError(f"the model {system.name} takes no LoRA: they are for Stable Diffusion")
    if system.loras:
        raise RequestError("this model already has LoRAs: give all of them together to the model without any")
    stack = stacked(net.config, {part: one.encoder.config.text for part, one in encoders.items()}, loras)
    read = [one.with_encoder(_merged(one.encoder, part, "", stack)) for part, one in encoders.items()]
    worded = stage.conditioner.with_encoders(*read) if isinstance(stage.conditioner, XlConditioner) else read[0]
    applied = tuple(
        AppliedLora(path=one.asked.path, scales=_scales(one.asked), sha256=one.file.sha256, unused=tuple(unused))
        for one, unused in zip(loras, stack.unused.values(), strict=True)
    )
    _note_unused(applied)
    made = replace(
        system,
        stages=(replace(stage, denoiser=_merged(stage.denoiser, UNET, "net.", stack), conditioner=worded),),
        choice=system.choice.model_copy(update={"loras": tuple(map(_recorded, applied))}),
        loras=applied,
    )
    return compiled(made) if system.choice.compiled else made  # a copy is not compiled


def _note_unused(loras: Sequence[AppliedLora]) -> None:
    """A note for each LoRA with keys that belong to no layer."""
    for lora in loras:
        if lora.unused:
            named = ", ".join(lora.unused[:_MOST_KEYS]) + (", ..." if len(lora.unused) > _MOST_KEYS else "")
            many = "1 key fits" if len(lora.unused) == 1 else f"{len(lora.unused)} keys fit"
            note(UnusedKeysWarning, f"{lora.path}: {many} no layer of this model, unused ({named})")


def stacked(net: UnetConfig, texts: Mapping[str, TextConfig], loras: Sequence[OpenedLora]) -> Stack:
    """The LoRAs fitted to the model of this U-Net and these text encoders by part.

    UnsupportedError for one of another family, DamagedError for one that fits no layer.
    """
    mine = BY_WORDS.get(net.context_width, Family.UNKNOWN)
    for _, file in loras:
        if Family.UNKNOWN not in (mine, file.family) and file.family is not mine:
            raise UnsupportedError(f"{file.path} is a LoRA for {file.family}; this model is a {mine}")
    return Stack(dict(_names(net, texts)), [(one.file, _scales(one.asked)) for one in loras])


def _scales(asked: Lora) -> Scales:
    return Scales(*asked.scales)


def _recorded(lora: AppliedLora) -> Lora:
    unet, text = lora.scales
    return Lora(path=lora.path, scale=unet, text_scale=None if text == unet else text, sha256=lora.sha256)


def _encoders(conditioner: Conditioner) -> Mapping[str, PublishedConditioner]:
    """The conditioner of each text encoder, by part; empty for a model that takes no LoRA."""
    if isinstance(conditioner, XlConditioner):
        return {TEXT: conditioner.first, TEXT_2: conditioner.second}
    return {TEXT: conditioner} if isinstance(conditioner, PublishedConditioner) else {}


def _names(net: UnetConfig, texts: Mapping[str, TextConfig]) -> Iterator[tuple[str, Target]]:
    """The names that a LoRA may have for the layers of these networks, in every layout that is in use."""
    yield from names(UNET, unet_keys.diffusers(net, "add_embedding" if TEXT_2 in texts else "class_embedding"))
    yield from names(UNET, unet_keys.ldm(net))
    for part, text in texts.items():
        for prefix in ("text_model.", ""):  # transformers 5 has dropped this level
            yield from names(part, clip_keys.transformers_text(text, projected=part == TEXT_2, prefix=prefix))


def _merged(module: M, part: str, prefix: str, stack: Stack) -> M:
    """A copy of `module` that shares its tensors, except those that the stack changes."""
    held = dict(module.named_parameters()) | dict(module.named_buffers())
    kept: dict[int, object] = {id(tensor): tensor for tensor in held.values()}
    for ours in stack.touched(part):
        weight = held[prefix + ours]
        if weight.is_meta:  # of a hollow model, which has no numbers to change
            continue
        rows = dense(weight)
        if (made := stack.merged(part, ours, rows)) is not rows:
            kept[id(weight)] = nn.Parameter(made, requires_grad=False)
    merged = copy.deepcopy(module, kept)
    pack(merged)
    return merged
