"""The networks to convert, each with its names in both layouts and its config.json."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from scorefield.conversion import folder_texts
from scorefield.conversion.writer import Change, Piece
from scorefield.families.fill import fits, hollow
from scorefield.families.stable_diffusion.parts import STATISTICS, STATISTICS_LDM, VISION, Parts, Weights
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.input_files import Json
from scorefield.latent.kl_codec import Latents, published
from scorefield.nets.clip import ClipConfig, EncoderConfig, ImageEncoder, TextEncoder
from scorefield.nets.kl import Kl, KlConfig
from scorefield.nets.unet import Unet, UnetConfig
from scorefield.prompt.unclip import Statistics
from scorefield.weights import checkpoint_layout as layout
from scorefield.weights.key_map import Entry, under
from scorefield.weights.key_maps import clip_keys, kl_keys, unet_keys

NORMALIZER = "image_normalizer"  # the part that holds the statistics of unCLIP's image vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network: where its weights are, and their names in both layouts."""

    part: str  # its folder in diffusers' layout
    build: Callable[[], nn.Module]
    weights: Weights
    diffusers: Sequence[Entry]  # the names of diffusers, or of transformers for a CLIP
    original: Sequence[Entry]  # those of the training code: ldm's, or OpenAI's for a CLIP
    config: Mapping[str, Json]  # its config.json

    @property
    def file_name(self) -> str:
        """The file of its weights in its folder."""
        return f"{'diffusion_pytorch_model' if '_class_name' in self.config else 'model'}.safetensors"

    def piece(self, *, to_folder: bool, named: str | None = None, change: Change | None = None) -> Piece:
        """The network to convert; DamagedError, which calls it `named`, if its source has other keys or shapes."""
        with hollow():
            ours = self.build().state_dict()
        fits(ours, named or self.part, *self.weights)
        written = self.diffusers if to_folder else self.original
        return Piece(source=self.weights.source, ours=ours, stored=self.weights.entries, written=written, change=change)


def of_model(networks: Networks, places: Parts, side: int) -> list[Network]:
    """The networks of a whole model for pictures `side` px wide."""
    xl = networks.text_2
    first, projected = places.encoder.text, places.encoder.embed_dim is not None
    if places.encoder.activation == "gelu":  # Stable Diffusion 2's, which single files have by OpenCLIP's own names
        text = under("", layout.OPENCLIP, clip_keys.openai_text(first, projected=projected))
    else:
        prefix = layout.XL_TEXT if xl else layout.TRANSFORMERS
        text = under("", prefix, clip_keys.transformers_text(first, projected=projected))
    made = [
        unet(places.unet, networks.unet, side, layout.UNET, features=networks.size_features if xl else None),
        vae(places.kl, networks.kl, networks.latents or published(xl=xl is not None), side, layout.VAE),
        text_encoder(places.text, places.encoder, text, written=networks.text),
    ]
    if places.second and xl:
        original = under("", layout.XL_TEXT_2, clip_keys.openai_text(xl.text))
        made.append(text_encoder(places.second.weights, xl, original, part="text_encoder_2"))
    if places.image and networks.image_clip:
        made.append(image_encoder(places.image.weights, networks.image_clip, VISION))
        if places.image.statistics:
            made.append(_statistics(places.image.statistics, networks.image_clip.embed_dim))
    return made


def unet(weights: Weights, config: UnetConfig, side: int, prefix: str = "", *, features: int | None = None) -> Network:
    """A U-Net for pictures `side` px wide; `features` are those of XL's numbers."""
    return Network(
        part="unet",
        build=lambda: Unet(config),
        weights=weights,
        diffusers=[*unet_keys.diffusers(config, "class_embedding" if features is None else "add_embedding")],
        original=[*under("", prefix, unet_keys.ldm(config))],
        config=folder_texts.unet(config, side, features),
    )


def vae(weights: Weights, config: KlConfig, latents: Latents, side: int, prefix: str = "") -> Network:
    """An autoencoder for pictures `side` px wide."""
    return Network(
        part="vae",
        build=lambda: Kl(config),
        weights=weights,
        diffusers=[*kl_keys.diffusers(config)],
        original=[*under("", prefix, kl_keys.ldm(config))],
        config=folder_texts.vae(config, latents, side),
    )


def text_encoder(
    weights: Weights, config: EncoderConfig, original: Iterable[Entry], *,
    part: str = "text_encoder", written: EncoderConfig | None = None,
) -> Network:  # fmt: skip
    """A text encoder; `written` is the part of it that a folder holds, if that is less."""
    written = written or config
    return Network(
        part=part,
        build=lambda: TextEncoder(config),
        weights=weights,
        diffusers=[*clip_keys.transformers_text(written.text, projected=written.embed_dim is not None)],
        original=[*original],
        config=folder_texts.text_encoder(written),
    )


def image_encoder(weights: Weights, config: ClipConfig, prefix: str) -> Network:
    """An image encoder."""
    return Network(
        part="image_encoder",
        build=lambda: ImageEncoder(config.vision, config.embed_dim, config.activation),
        weights=weights,
        diffusers=[*clip_keys.transformers_vision(config.vision)],
        original=[*under("", prefix, clip_keys.openai_vision(config.vision))],
        config=folder_texts.image_encoder(config),
    )


def _statistics(weights: Weights, width: int) -> Network:
    """The mean and the deviation of unCLIP's image vectors."""
    return Network(
        part=NORMALIZER,
        build=lambda: Statistics(width),
        weights=weights,
        diffusers=STATISTICS,
        original=STATISTICS_LDM,
        config=folder_texts.normalizer(width),
    )
