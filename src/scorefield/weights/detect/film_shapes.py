"""Identify a network of Wan by itself: its video transformer, its autoencoder, and text encoders of T5's kind."""

import math
import re
from collections.abc import Mapping

from scorefield.weights.detect.identity import (
    WANS,
    Family,
    FilmVaeIdentity,
    Layout,
    TextEncoderIdentity,
    TransformerIdentity,
)
from scorefield.weights.tensor_index import TensorIndex

_MOST = 2**20  # of a side: far above every published network
_PREFIXES = ("", "model.diffusion_model.", "diffusion_model.")  # ComfyUI's files have any of them
_TRANSFORMERS: Mapping[Layout, Mapping[str, str]] = {
    Layout.WAN: {
        "patch": "patch_embedding.weight", "text": "text_embedding.0.weight", "time": "time_embedding.0.weight",
        "mlp": "blocks.0.ffn.0.weight", "last": "head.head.weight", "image": "img_emb.proj.1.weight",
        "positions": "img_emb.emb_pos",
    },
    Layout.DIFFUSERS: {
        "patch": "patch_embedding.weight", "text": "condition_embedder.text_embedder.linear_1.weight",
        "time": "condition_embedder.time_embedder.linear_1.weight", "mlp": "blocks.0.ffn.net.0.proj.weight",
        "last": "proj_out.weight", "image": "condition_embedder.image_embedder.ff.net.0.proj.weight",
        "positions": "condition_embedder.image_embedder.pos_embed",
    },
}  # fmt: skip
_VAES: Mapping[Layout, Mapping[str, str]] = {
    Layout.WAN: {
        "first": "encoder.conv1.weight", "latents": "conv2.weight", "last": "decoder.head.2.weight",
        "down": "encoder.downsamples.", "block": ".residual.6.weight",
    },
    Layout.DIFFUSERS: {
        "first": "encoder.conv_in.weight", "latents": "post_quant_conv.weight", "last": "decoder.conv_out.weight",
        "down": "encoder.down_blocks.", "block": ".conv2.weight",
    },
}  # fmt: skip
_SHRINK, _SHRINK_TIME = ".resample.1.weight", ".time_conv.weight"
_TEXTS: Mapping[Layout, Mapping[str, str]] = {
    Layout.WAN: {
        "tokens": "token_embedding.weight", "q": "blocks.0.attn.q.weight", "mlp": "blocks.0.ffn.gate.0.weight",
        "bias": "blocks.{}.pos_embedding.embedding.weight",
    },
    Layout.TRANSFORMERS: {
        "tokens": "shared.weight", "q": "encoder.block.0.layer.0.SelfAttention.q.weight",
        "mlp": "encoder.block.0.layer.1.DenseReluDense.wi_0.weight",
        "bias": "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight",
    },
}  # fmt: skip
_TIED = "encoder.embed_tokens.weight"  # some files have the embedding under this name alone
_BLOCK = re.compile(r"(?:blocks|encoder\.block)\.(\d+)\.")
_T5 = "the T5 of Flux and Stable Diffusion 3"
SPIECE = "spiece_model"  # the tokenizer in ComfyUI's files: bytes of a sentencepiece model

Shape = tuple[int, ...]


def identify_transformer(index: TensorIndex) -> TransformerIdentity | None:
    """The video transformer that a whole file is, or None."""
    for layout, prefix in ((layout, prefix) for layout in _TRANSFORMERS for prefix in _PREFIXES):
        shapes = _shapes(index, _TRANSFORMERS[layout], prefix)
        sides = {name: shapes.get(name, ()) for name in ("text", "time", "mlp", "last")}
        patch = shapes.get("patch", ())
        if len(patch) != 5 or any(len(shape) != 2 for shape in sides.values()):
            continue
        image, positions = shapes.get("image", ()), shapes.get("positions", ())
        return TransformerIdentity(
            family=WANS.get(patch[0], Family.WAN), layout=layout, parts={"transformer": index.part(prefix)},
            prefix=prefix, in_channels=patch[1], out_channels=sides["last"][0] // math.prod(patch[2:]),
            patch_size=(patch[2], patch[3], patch[4]), width=patch[0], mlp_width=sides["mlp"][0],
            depth=_count(index, prefix), text_width=sides["text"][1], time_features=sides["time"][1],
            image_width=image[1] if len(image) == 2 else None,
            image_positions=positions[1] if len(positions) == 3 else None,
        )  # fmt: skip
    return None


def identify_film_vae(index: TensorIndex) -> FilmVaeIdentity | None:
    """The causal autoencoder that a whole file is, or None."""
    for layout, names in _VAES.items():
        shapes = _shapes(index, {name: names[name] for name in ("first", "latents", "last")})
        if len(shapes) < 3 or any(len(shape) != 5 for shape in shapes.values()):
            continue
        first, latents, last = shapes["first"], shapes["latents"], shapes["last"]
        widths: list[list[int]] = [[]]  # of the blocks of each level
        halves_time: list[bool] = []
        places = []
        for key, stored in index.tensors.items():
            end = next((end for end in (names["block"], _SHRINK) if key.endswith(end)), None)
            if end and key.startswith(names["down"]):
                numbers = re.findall(r"\d+", key.removesuffix(end))
                places.append(((*map(int, numbers), _MOST)[:2], key, end, stored.shape))
        for _, key, end, shape in sorted(places):
            if end == _SHRINK:
                widths.append([])
                halves_time.append(key.removesuffix(end) + _SHRINK_TIME in index.tensors)
            else:
                widths[-1].append(shape[0])
        if not all(widths):
            return None
        channels = latents[0]
        return FilmVaeIdentity(
            family={16: Family.WAN_VAE, 48: Family.WAN_22_VAE}.get(channels, Family.WAN), layout=layout,
            parts={"vae": index.part()}, channels=channels, width=first[0],
            multipliers=tuple(level[-1] // first[0] for level in widths),
            decoder_width=last[1] * first[0] // widths[0][-1], resblocks=len(widths[0]),
            halves_time=tuple(halves_time), patch_size=math.isqrt(first[1] // 3),
        )  # fmt: skip
    return None


def identify_text_encoder(index: TensorIndex) -> TextEncoderIdentity | None:
    """The encoder of T5's kind that a whole file is, or None; UMT5's has a bias of positions in every layer."""
    for layout, names in _TEXTS.items():
        shapes = _shapes(index, {**names, "bias": names["bias"].format(0)})
        if "tokens" not in shapes and layout is Layout.TRANSFORMERS:
            shapes |= _shapes(index, {"tokens": _TIED})
        if len(shapes) < 4 or any(len(shape) != 2 for shape in shapes.values()):
            continue
        layers, heads = _count(index, ""), shapes["bias"][1]
        each = all(names["bias"].format(layer) in index.tensors for layer in range(layers))
        return TextEncoderIdentity(
            family=Family.UMT5 if each else Family.UNKNOWN, resembles=None if each else _T5, layout=layout,
            parts={"text_encoder": index.part()}, vocab_size=shapes["tokens"][0], width=shapes["tokens"][1],
            layers=layers, heads=heads, head_width=shapes["q"][0] // heads, mlp_width=shapes["mlp"][0],
            tokenizer=SPIECE in index.tensors,
        )  # fmt: skip
    return None


def _shapes(index: TensorIndex, names: Mapping[str, str], prefix: str = "") -> dict[str, Shape]:
    """The shapes of those of the tensors `names` that are there, in likely sizes."""
    there = {name: stored.shape for name, key in names.items() if (stored := index.tensors.get(prefix + key))}
    return {name: shape for name, shape in there.items() if all(0 < side <= _MOST for side in shape)}


def _count(index: TensorIndex, prefix: str) -> int:
    """How many blocks there are behind `prefix`."""
    matches = (_BLOCK.match(key.removeprefix(prefix)) for key in index.tensors if key.startswith(prefix))
    return len({match[1] for match in matches if match})
