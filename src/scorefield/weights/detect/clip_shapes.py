"""Identify a CLIP, one tower or both, in the layout of OpenAI and OpenCLIP or of transformers."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from scorefield.weights.detect.identity import ClipIdentity, Family, Layout, Part, Tower, part
from scorefield.weights.tensor_index import Stored

_BY_PICTURE = {  # width and patch of the image tower
    (768, 32): Family.VIT_B_32, (768, 16): Family.VIT_B_16, (1024, 14): Family.VIT_L_14,
    (1280, 14): Family.VIT_H_14, (1664, 14): Family.VIT_BIG_G_14,
}  # fmt: skip
_BY_TEXT = {512: Family.VIT_B, 768: Family.VIT_L_14, 1024: Family.VIT_H_14, 1280: Family.VIT_BIG_G_14}
_GELU = (Family.VIT_H_14, Family.VIT_BIG_G_14)
_OPENAI_SCALARS = {"input_resolution", "context_length", "vocab_size"}
_EITHER = "QuickGELU or GELU is not in the tensors: the weights that OpenAI published need QuickGELU"
_CUT = "it has 23 of 24 layers, as Stable Diffusion 2 uses them"


# How a tower is recognised in each layout: its prefixes, the tensor with its sizes, one more that it has.
_Look = tuple[tuple[str, ...], str, str]
_TEXT: Mapping[Layout, _Look] = {
    Layout.TRANSFORMERS: (("text_model.", ""), "embeddings.token_embedding.weight", "final_layer_norm.weight"),
    Layout.OPENAI: (("", "model."), "token_embedding.weight", "ln_final.weight"),
}
_PICTURE: Mapping[Layout, _Look] = {
    Layout.TRANSFORMERS: (("vision_model.", ""), "embeddings.patch_embedding.weight", "post_layernorm.weight"),
    Layout.OPENAI: (("visual.", "model.visual."), "conv1.weight", "ln_post.weight"),
}
_LAYER = r"(?:encoder\.layers|transformer\.resblocks)\.(\d+)\."


class _Found(NamedTuple):
    prefix: str
    shape: tuple[int, ...]  # of the first tensor
    layers: int


def identify_clip(tensors: Mapping[str, Stored]) -> ClipIdentity | None:
    """The CLIP that a whole file is, or None."""
    for layout in (Layout.TRANSFORMERS, Layout.OPENAI):
        text, picture = _tower(tensors, _TEXT[layout], 2), _tower(tensors, _PICTURE[layout], 4)
        if text or picture:
            return _identity(tensors, layout, text, picture)
    return None


def _identity(
    tensors: Mapping[str, Stored], layout: Layout, text: _Found | None, picture: _Found | None
) -> ClipIdentity:
    family, parts = Family.UNKNOWN, dict[str, Part]()
    if text:
        family = _BY_TEXT.get(text.shape[1], family)
        parts["text_encoder"] = part(tensors, text.prefix, but=picture.prefix if picture else None)
    if picture:
        family = _BY_PICTURE.get((picture.shape[0], picture.shape[-1]), Family.UNKNOWN)
        parts["image_encoder"] = part(tensors, picture.prefix)
    notes = [_CUT] if text and not picture and (text.layers, text.shape[1]) == (23, 1024) else []
    if family not in _GELU and not tensors.keys() >= _OPENAI_SCALARS:
        notes.append(_EITHER)
    return ClipIdentity(
        family=family, layout=layout, parts=parts, notes=tuple(notes),
        text=Tower(text.layers, text.shape[1]) if text else None,
        image=Tower(picture.layers, picture.shape[0], picture.shape[-1]) if picture else None,
    )  # fmt: skip


def _tower(tensors: Mapping[str, Stored], look: _Look, sides: int) -> _Found | None:
    prefixes, first, last = look
    for prefix in prefixes:
        sized = tensors.get(prefix + first)
        if sized is not None and len(sized.shape) == sides and prefix + last in tensors:
            pattern = re.compile(re.escape(prefix) + _LAYER)
            return _Found(prefix, sized.shape, len({found[1] for name in tensors if (found := pattern.match(name))}))
    return None
