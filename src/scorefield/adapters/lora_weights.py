"""A model with LoRAs: a new model, which shares every tensor that no LoRA changes."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import torch
from torch import nn

from scorefield.adapters.compiled import compiled
from scorefield.adapters.learned_words import check_hash
from scorefield.core.presence import Alternating, State, on_demand
from scorefield.errors import RequestError, UnsupportedError
from scorefield.model.system import AppliedLora, System
from scorefield.nets.clip import TextConfig
from scorefield.nets.experts import Experts
from scorefield.nets.packed import Conv2d, Linear, dense, layers, pack
from scorefield.nets.unet import Unet, UnetConfig
from scorefield.nets.video_dit import VideoDit, VideoDitConfig
from scorefield.notes import UnusedKeysWarning, note
from scorefield.prompt.conditioner import Conditioner
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.sdxl import XlConditioner
from scorefield.request import Lora
from scorefield.stages.diffusion import only_stage
from scorefield.weights.detect.identity import BY_WORDS, WANS, Family
from scorefield.weights.key_maps import clip_keys, unet_keys, wan_keys
from scorefield.weights.lora.file import LoraFile
from scorefield.weights.lora.lora_keys import TEXT, TEXT_2, TRANSFORMER, UNET
from scorefield.weights.lora.merge import Scales, Stack, Target, names
from scorefield.weights.model_files import expert_of

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
    if system.loras:
        raise RequestError("this model already has LoRAs: give all of them together to the model without any")
    part, stacks = _stacks(system, net, encoders, loras)
    read = [one.with_encoder(_merged(one.encoder, name, stacks[0])) for name, one in encoders.items()]
    worded = stage.conditioner
    if read:
        worded = worded.with_encoders(*read) if isinstance(worded, XlConditioner) else read[0]
    unused = {file: keys for stack in stacks for file, keys in stack.unused.items()}
    applied = tuple(
        AppliedLora(
            path=one.asked.path, scales=_scales(one.asked), sha256=one.file.sha256, unused=tuple(unused[one.file])
        )
        for one in loras
    )
    _note_unused(applied)
    made = replace(
        system,
        stages=(replace(stage, denoiser=stage.denoiser.with_net(_changed(net, part, stacks)), conditioner=worded),),
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


def _stacks(
    system: System, net: nn.Module, encoders: Mapping[str, PublishedConditioner], loras: Sequence[OpenedLora]
) -> tuple[str, Sequence[Stack]]:
    """The part that the network of a model is, and the LoRAs fitted to it, or to each of its experts.

    A LoRA whose file is named for one expert of a Wan 2.2, high or low noise, changes that one, any other both.
    """
    if isinstance(net, Unet) and encoders:
        texts = {part: one.encoder.config.text for part, one in encoders.items()}
        return UNET, [stacked(net.config, texts, loras)]
    if isinstance(net, VideoDit):
        return TRANSFORMER, [_stacked_on_wan(net.config, loras)]
    if isinstance(net, Experts) and isinstance(net.high, VideoDit) and isinstance(net.low, VideoDit):
        named = [(one, expert_of(Path(one.asked.path).name)) for one in loras]
        return TRANSFORMER, [
            _stacked_on_wan(one.config, [lora for lora, of in named if of is None or of[0] == noise])
            for noise, one in (("high", net.high), ("low", net.low))
        ]
    raise UnsupportedError(f"the model {system.name} takes no LoRA: they are for Stable Diffusion and Wan")


def stacked(net: UnetConfig, texts: Mapping[str, TextConfig], loras: Sequence[OpenedLora]) -> Stack:
    """The LoRAs fitted to the model of this U-Net and these text encoders by part.

    UnsupportedError for one of another family, DamagedError for one that fits no layer.
    """
    mine = BY_WORDS.get(net.context_width, Family.UNKNOWN)
    return _fitted(dict(_names(net, texts)), loras, mine, of_any_size=Family.UNKNOWN)


def _stacked_on_wan(net: VideoDitConfig, loras: Sequence[OpenedLora]) -> Stack:
    """The same for a video transformer of Wan."""
    layouts = wan_keys.original(net), wan_keys.diffusers(net)
    layers = {name: target for entries in layouts for name, target in names(TRANSFORMER, entries)}
    return _fitted(layers, loras, WANS.get(net.width, Family.WAN), of_any_size=Family.WAN)


def _fitted(layers: Mapping[str, Target], loras: Sequence[OpenedLora], mine: Family, *, of_any_size: Family) -> Stack:
    """The LoRAs for a model of the family `mine`; one that does not show its family, or its size, may fit."""
    for _, file in loras:
        if mine is not Family.UNKNOWN and file.family not in (Family.UNKNOWN, of_any_size, mine):
            raise UnsupportedError(f"{file.path} is a LoRA for {file.family}; this model is a {mine}")
    return Stack(layers, [(one.file, _scales(one.asked)) for one in loras])


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


def _changed(net: nn.Module, part: str, stacks: Sequence[Stack]) -> nn.Module:
    """A copy of `net` with its stack, or of each of its experts with its own."""
    if not isinstance(net, Experts):
        return _merged(net, part, stacks[0])
    high, low = (_merged(one, part, stack) for one, stack in zip((net.high, net.low), stacks, strict=True))
    experts = Experts(high, low, net.boundary)
    Alternating(experts, (high, low))
    return experts.eval()


def _merged(net: M, part: str, stack: Stack) -> M:
    """A copy of `net` that shares its tensors, except those that the stack changes; one on demand has them changed."""
    if (found := on_demand(net)) is not None:
        return cast(M, found.changed(partial(_change, layers(net), part, stack)))
    held = dict(net.named_parameters()) | dict(net.named_buffers())
    kept: dict[int, object] = {id(tensor): tensor for tensor in held.values()}
    for ours in stack.touched(part):
        weight = held[ours]
        if weight.is_meta:  # of a hollow model, which has no numbers to change
            continue
        rows = dense(weight)
        if (made := stack.merged(part, ours, rows)) is not rows:
            kept[id(weight)] = nn.Parameter(made, requires_grad=False)
    merged = copy.deepcopy(net, kept)
    pack(merged)
    return merged


def _change(packable: Mapping[str, Linear | Conv2d], part: str, stack: Stack, state: State) -> None:
    """Change the tensors of a part, which have just been read."""
    for ours in stack.touched(part):
        weight, rows = state[ours], dense(state[ours])
        if (made := stack.merged(part, ours, rows)) is not rows:
            state[ours] = packable[ours].packed(made) if weight.is_mkldnn else made
