"""A model with LoRAs: a new model, which shares with the first one every tensor that no LoRA changes."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from scorefield.adapters.compiled import compiled
from scorefield.errors import UnsupportedError
from scorefield.model.system import AppliedLora, Model
from scorefield.nets.clip import TextConfig
from scorefield.nets.packed import dense, pack
from scorefield.nets.unet import Unet, UnetConfig
from scorefield.prompt.conditioner import Conditioner
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.sdxl import XlConditioner
from scorefield.weights.detect.identity import BY_WORDS, Family
from scorefield.weights.key_maps import clip_keys, unet_keys
from scorefield.weights.lora.file import LoraFile
from scorefield.weights.lora.merge import Scales, Stack
from scorefield.weights.lora.targets import TEXT, TEXT_2, UNET, Target, names

M = TypeVar("M", bound=nn.Module)


@torch.inference_mode(False)  # as in `zoo.load`
def with_loras(model: Model, loras: Sequence[tuple[str, Scales]]) -> Model:
    """`model` with the LoRAs of (path, scales) pairs; `model` itself does not change.

    A weight becomes W + the sum of scale * delta, computed in float32 and cast once. UnsupportedError for a model that
    takes no LoRA or already has some, and for a LoRA of another family; DamagedError for files that are damaged or do
    not fit.
    """
    net, towers = model.denoiser.net, _towers(model.conditioner)
    if not isinstance(net, Unet) or not towers:
        raise UnsupportedError(f"the model {model.spec.name} takes no LoRA: they are for Stable Diffusion")
    if model.loras:
        raise UnsupportedError("this model has LoRAs already: give all of them at once to the one without")
    stack = stacked(net.config, {part: one.encoder.config.text for part, one in towers.items()}, loras)
    read = [one.with_tower(_merged(one.encoder, part, "", stack)) for part, one in towers.items()]
    worded = model.conditioner.with_towers(*read) if isinstance(model.conditioner, XlConditioner) else read[0]
    applied = tuple(
        AppliedLora(path=path, scales=scales, sha256=lora.sha256, unused=tuple(unused))
        for (path, scales), (lora, unused) in zip(loras, stack.unused.items(), strict=True)
    )
    made = replace(model, denoiser=_merged(model.denoiser, UNET, "net.", stack), conditioner=worded, loras=applied)
    return compiled(made) if model.compiled else made  # copies are not


def stacked(net: UnetConfig, texts: Mapping[str, TextConfig], loras: Sequence[tuple[str, Scales]]) -> Stack:
    """The LoRAs at those paths, each with its scales, fitted to the model of this U-Net and these text towers by part.

    UnsupportedError for one of another family, DamagedError for one that is damaged or fits no layer.
    """
    opened = [(LoraFile(Path(path)), scales) for path, scales in loras]
    mine = BY_WORDS.get(net.context_width, Family.UNKNOWN)
    for lora, _ in opened:
        if Family.UNKNOWN not in (mine, lora.family) and lora.family is not mine:
            raise UnsupportedError(f"{lora.path} is a LoRA for {lora.family}; this model is a {mine}")
    return Stack(dict(_names(net, texts)), opened)


def _towers(conditioner: Conditioner) -> Mapping[str, PublishedConditioner]:
    """What each text tower reads, by the tower's part; nothing of a model that takes no LoRA."""
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
