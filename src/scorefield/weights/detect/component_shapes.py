"""Identify a file with only an autoencoder or a CLIP, in every published layout."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from scorefield.weights.checkpoint_layout import VAE
from scorefield.weights.detect.identity import ClipIdentity, EncoderSizes, Family, Layout, VaeIdentity
from scorefield.weights.tensor_index import Part, Stored, TensorIndex

_KL_F8 = (128, 4, 4)  # channels, latent channels, levels
_SAME_VAE = "the autoencoder of Stable Diffusion XL has the same shapes and another scale: its names do not show which"
_OLD_NAMES = "its attention has the names of older diffusers (query, key, value, proj_attn)"
_LEVELS = {
    Layout.LDM: "encoder.down.{}.block.0.norm1.weight",
    Layout.DIFFUSERS: "encoder.down_blocks.{}.resnets.0.norm1.weight",
}

_BY_PICTURE = {  # width and patch of the image encoder
    (768, 32): Family.VIT_B_32, (768, 16): Family.VIT_B_16, (1024, 14): Family.VIT_L_14,
    (1280, 14): Family.VIT_H_14, (1664, 14): Family.VIT_BIG_G_14,
}  # fmt: skip
_BY_TEXT = {512: Family.VIT_B, 768: Family.VIT_L_14, 1024: Family.VIT_H_14, 1280: Family.VIT_BIG_G_14}
_GELU = (Family.VIT_H_14, Family.VIT_BIG_G_14)
_OPENAI_SCALARS = {"input_resolution", "context_length", "vocab_size"}
_EITHER = "its tensors do not show QuickGELU or GELU: the weights that OpenAI published need QuickGELU"
_CUT = "it has 23 of 24 layers, as Stable Diffusion 2 uses them"
# How a text or image encoder is recognised: its prefixes, the tensor that shows its sizes, and one more tensor.
_Look = tuple[tuple[str, ...], str, str]
_ENCODERS: Mapping[Layout, tuple[_Look, _Look]] = {
    Layout.TRANSFORMERS: (
        (("text_model.", ""), "embeddings.token_embedding.weight", "final_layer_norm.weight"),
        (("vision_model.", ""), "embeddings.patch_embedding.weight", "post_layernorm.weight"),
    ),
    Layout.OPENAI: (
        (("", "model."), "token_embedding.weight", "ln_final.weight"),
        (("visual.", "model.visual."), "conv1.weight", "ln_post.weight"),
    ),
}
_LAYER = r"(?:encoder\.layers|transformer\.resblocks)\.(\d+)\."


class _Found(NamedTuple):
    prefix: str
    shape: tuple[int, ...]  # of the first tensor
    layers: int


def identify_vae(index: TensorIndex) -> VaeIdentity | None:
    """The autoencoder that a whole file is, or None."""
    tensors = index.tensors
    for prefix in ("", VAE):
        first, last = tensors.get(f"{prefix}encoder.conv_in.weight"), tensors.get(f"{prefix}post_quant_conv.weight")
        if first is None or last is None or not (first.shape and last.shape):
            continue
        for layout, name in _LEVELS.items():
            if levels := sum(prefix + name.format(i) in tensors for i in range(8)):
                old = any(key.endswith(".proj_attn.weight") for key in tensors)
                return VaeIdentity(
                    family=Family.KL_F8 if (first.shape[0], last.shape[0], levels) == _KL_F8 else Family.UNKNOWN,
                    layout=layout, parts={"vae": index.part(prefix)}, channels=last.shape[0], levels=levels,
                    notes=(_SAME_VAE, _OLD_NAMES) if old else (_SAME_VAE,),
                )  # fmt: skip
    return None


def identify_clip(index: TensorIndex) -> ClipIdentity | None:
    """The CLIP that a whole file is, with one encoder or both, or None."""
    for layout, (text_look, picture_look) in _ENCODERS.items():
        text, picture = _encoder(index.tensors, text_look, 2), _encoder(index.tensors, picture_look, 4)
        if not (text or picture):
            continue
        family, parts = Family.UNKNOWN, dict[str, Part]()
        if text:
            family = _BY_TEXT.get(text.shape[1], family)
            parts["text_encoder"] = index.part(text.prefix, but=picture.prefix if picture else None)
        if picture:
            family = _BY_PICTURE.get((picture.shape[0], picture.shape[-1]), Family.UNKNOWN)
            parts["image_encoder"] = index.part(picture.prefix)
        notes = [_CUT] if text and not picture and (text.layers, text.shape[1]) == (23, 1024) else []
        if family not in _GELU and not index.tensors.keys() >= _OPENAI_SCALARS:
            notes.append(_EITHER)
        return ClipIdentity(
            family=family, layout=layout, parts=parts, notes=tuple(notes),
            text=EncoderSizes(text.layers, text.shape[1]) if text else None,
            image=EncoderSizes(picture.layers, picture.shape[0], picture.shape[-1]) if picture else None,
        )  # fmt: skip
    return None


def _encoder(tensors: Mapping[str, Stored], look: _Look, sides: int) -> _Found | None:
    prefixes, first, last = look
    for prefix in prefixes:
        sized = tensors.get(prefix + first)
        if sized is not None and len(sized.shape) == sides and prefix + last in tensors:
            pattern = re.compile(re.escape(prefix) + _LAYER)
            return _Found(prefix, sized.shape, len({found[1] for name in tensors if (found := pattern.match(name))}))
    return None
