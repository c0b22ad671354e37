"""Identify an autoencoder by itself, in either layout and with any names of its attention."""

from collections.abc import Mapping

from scorefield.weights.checkpoint_layout import VAE
from scorefield.weights.detect.identity import Family, Layout, VaeIdentity, part
from scorefield.weights.tensor_index import Stored

_KL_F8 = (128, 4, 4)  # channels, latent channels, levels
_SAME_VAE = "the autoencoder of Stable Diffusion XL has the same shapes and another scale: its names do not show which"
_OLD_NAMES = "its attention has the names of older diffusers (query, key, value, proj_attn)"
_LEVELS = {
    Layout.LDM: "encoder.down.{}.block.0.norm1.weight",
    Layout.DIFFUSERS: "encoder.down_blocks.{}.resnets.0.norm1.weight",
}


def identify_vae(tensors: Mapping[str, Stored]) -> VaeIdentity | None:
    """The autoencoder that a whole file is, or None."""
    for prefix in ("", VAE):
        first, last = tensors.get(f"{prefix}encoder.conv_in.weight"), tensors.get(f"{prefix}post_quant_conv.weight")
        if first is None or last is None or not (first.shape and last.shape):
            continue
        for layout, name in _LEVELS.items():
            levels = sum(prefix + name.format(i) in tensors for i in range(8))
            if not levels:
                continue
            old = any(key.endswith(".proj_attn.weight") for key in tensors)
            return VaeIdentity(
                family=Family.KL_F8 if (first.shape[0], last.shape[0], levels) == _KL_F8 else Family.UNKNOWN,
                layout=layout, parts={"vae": part(tensors, prefix)}, channels=last.shape[0], levels=levels,
                notes=(_SAME_VAE, _OLD_NAMES) if old else (_SAME_VAE,),
            )  # fmt: skip
    return None
