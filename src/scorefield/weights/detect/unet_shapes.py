"""Identify a published U-Net of latent diffusion by a few of its shapes, and the meaning of its output."""

from collections.abc import Mapping
from typing import NamedTuple

from scorefield.weights.checkpoint_layout import V_PREDICTION
from scorefield.weights.detect.identity import Family, Layout, Prediction, Task
from scorefield.weights.tensor_index import Stored, TensorIndex

# By the widths of the tokens that it attends to and of the vector that is added to the time.
_FAMILIES = {
    (768, None): Family.SD1, (1024, None): Family.SD2, (1024, 2048): Family.UNCLIP_H,
    (1024, 1536): Family.UNCLIP_L, (2048, 2816): Family.SDXL, (1280, 2560): Family.SDXL_REFINER,
}  # fmt: skip
_TASKS = {4: Task.TEXT, 9: Task.INPAINTING, 5: Task.DEPTH, 7: Task.UPSCALING, 8: Task.EDITING}  # by channels in
_WIDTHS = {Family.SDXL_REFINER: 384}  # the others have 320
_UPSCALER_WIDTH = 256  # of Stable Diffusion 2, which also has an embedding of the noise level
_COUNTS = {Family.SD1: 686, Family.SD2: 686, Family.UNCLIP_H: 690, Family.UNCLIP_L: 690}  # tensors
STATED = {"epsilon": "eps", "eps": "eps", "v": "v", "v_prediction": "v", "v-prediction": "v"}
_STEPS = {875000: "eps", 110000: "v"}  # of 2.0-base and of 2.1 at 768 pixels
_EITHER = (
    "Stable Diffusion 2 was published with both and its tensors do not show which: say eps for a model of 512 pixels"
    " (2-base, 2.1-base), v for one of 768"
)


class UnetShapes(NamedTuple):
    """The properties that follow from a U-Net's shapes."""

    family: Family
    layout: Layout
    task: Task | None
    channels: int  # in
    context: int  # width of the tokens
    notes: tuple[str, ...]


def unet_shapes(tensors: Mapping[str, Stored], prefix: str = "") -> UnetShapes | None:
    """The U-Net behind `prefix`, of any family; None if there is no U-Net that attends to tokens."""
    ldm = f"{prefix}input_blocks.0.0.weight" in tensors and f"{prefix}middle_block.0.in_layers.0.weight" in tensors
    first = tensors.get(prefix + ("input_blocks.0.0.weight" if ldm else "conv_in.weight"))
    words = (one for name, one in tensors.items() if name.startswith(prefix) and name.endswith(".attn2.to_k.weight"))
    keys = next(words, None)
    if first is None or keys is None or len(first.shape) != 4 or len(keys.shape) != 2:
        return None
    width, channels, context = first.shape[0], first.shape[1], keys.shape[1]
    vector, levels = _added(tensors, prefix, ldm)
    family = _FAMILIES.get((context, None if levels else vector), Family.UNKNOWN)
    if width != (_UPSCALER_WIDTH if levels else _WIDTHS.get(family, 320)):
        family = Family.UNKNOWN
    unclip = family in (Family.UNCLIP_H, Family.UNCLIP_L)
    task = Task.VARIATION if unclip else _TASKS.get(channels)
    expected = _COUNTS.get(family, 0) + levels
    count = sum(name.startswith(prefix) for name in tensors)
    odd = family in _COUNTS and count != expected
    notes = (f"its U-Net has {count} tensors where the published one has {expected}",) if odd else ()
    return UnetShapes(family, Layout.LDM if ldm else Layout.DIFFUSERS, task, channels, context, notes)


def _added(tensors: Mapping[str, Stored], prefix: str, ldm: bool) -> tuple[int | None, bool]:
    """The width of the vector added to the time, if any, and whether a noise level's embedding is added, too."""
    names = ("label_emb.0.0.weight",) if ldm else ("class_embedding.linear_1.weight", "add_embedding.linear_1.weight")
    found = [tensors[prefix + name].shape for name in names if prefix + name in tensors]
    levels = prefix + ("label_emb.weight" if ldm else "class_embedding.weight") in tensors
    return (found[0][-1] if found and found[0] else None), levels


def prediction(shapes: UnetShapes, index: TensorIndex) -> Prediction:
    """The meaning of the network's output, if the file or its family shows it."""
    stated = index.metadata.get("modelspec.prediction_type", "")
    if stated in STATED:
        return Prediction(STATED[stated], "the file's metadata say so")
    if V_PREDICTION in index.tensors:
        return Prediction("v", f"the file has the marker {V_PREDICTION}")
    step = index.values.get("global_step")
    match shapes.family:
        case Family.SD1 | Family.SDXL | Family.SDXL_REFINER:
            return Prediction("eps", f"every published {shapes.family} predicts it")
        case Family.UNCLIP_H | Family.UNCLIP_L:
            return Prediction("v", f"the published {shapes.family} predicts it")
        case Family.SD2 if shapes.task is Task.UPSCALING:
            return Prediction("v", "the published upscaler predicts it")
        case Family.SD2 if isinstance(step, int) and step in _STEPS:
            return Prediction(_STEPS[step], f"its global_step is {step}")
        case Family.SD2:
            return Prediction(None, _EITHER)
        case _:
            return Prediction(None, "its family is not known: say eps or v")
