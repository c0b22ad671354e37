"""The networks of a model to be converted, each with its names in both layouts and its config.json."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from scorefield.conversion import diffusers_config as configs
from scorefield.conversion.writer import Change, Piece
from scorefield.families.fill import fits
from scorefield.families.stable_diffusion.image_encoder import STATISTICS, STATISTICS_LDM, VISION
from scorefield.families.stable_diffusion.parts import Parts, Place
from scorefield.families.stable_diffusion.specs import Networks
from scorefield.input_files import Json
from scorefield.latent.kl_codec import SCALE, XL_SCALE, Latents
from scorefield.nets.clip import ClipConfig, EncoderConfig, ImageEncoder, TextEncoder
from scorefield.nets.kl import Kl
from scorefield.nets.meta_init import hollow
from scorefield.nets.unet import Unet
from scorefield.prompt.unclip import Statistics
from scorefield.weights.checkpoint_layout import OPENCLIP, TRANSFORMERS, VAE, XL_TEXT, XL_TEXT_2
from scorefield.weights.checkpoint_layout import UNET as UNET_PREFIX
from scorefield.weights.key_map import Entry, under
from scorefield.weights.key_maps import clip_keys, kl_keys, unet_keys
from scorefield.weights.lora.merge import Stack
from scorefield.weights.lora.targets import TEXT, TEXT_2, UNET

NORMALIZER = "image_normalizer"  # the part that holds the statistics of unCLIP's image vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network: where its weights are, and their names in both layouts."""

    part: str  # its folder in diffusers' layout
    net: nn.Module  # on the meta device
    place: Place
    diffusers: Sequence[Entry]
    ldm: Sequence[Entry]
    config: Mapping[str, Json]  # its config.json
    change: Change | None = None  # what LoRAs do to its weights

    @property
    def file(self) -> str:
        """The file of its weights in a folder."""
        return f"{self.part}/{'diffusion_pytorch_model' if '_class_name' in self.config else 'model'}.safetensors"

    def piece(self, *, to_folder: bool) -> Piece:
        """The network to convert; DamagedError if the keys or shapes in its source are not those of this network."""
        fits(ours := self.net.state_dict(), self.part, *self.place)
        written = self.diffusers if to_folder else self.ldm
        return Piece(
            source=self.place.source, ours=ours, stored=self.place.entries, written=written, change=self.change
        )


def common(networks: Networks, places: Parts, stack: Stack, *, side: int, upcast: bool) -> Iterator[Network]:
    """The three networks of every model: U-Net, autoencoder and text encoder.

    Their configurations are for pictures `side` px wide; with `upcast` they ask for attention in float32.
    """
    xl = networks.text_2
    with hollow():
        yield Network(
            part="unet",
            net=Unet(networks.unet),
            place=places.unet,
            diffusers=list(unet_keys.diffusers(networks.unet, "add_embedding" if xl else "class_embedding")),
            ldm=list(under("", UNET_PREFIX, unet_keys.ldm(networks.unet))),
            config=configs.unet(networks.unet, side, upcast=upcast, summary=xl.embed_dim if xl else None),
            change=partial(stack.merged, UNET),
        )
        yield Network(
            part="vae",
            net=Kl(networks.kl),
            place=places.kl,
            diffusers=list(kl_keys.diffusers(networks.kl)),
            ldm=list(under("", VAE, kl_keys.ldm(networks.kl))),
            config=configs.vae(networks.kl, side, networks.latents or Latents(XL_SCALE if xl else SCALE)),
        )
        yield Network(
            part="text_encoder",
            net=TextEncoder(places.encoder),
            place=places.text,
            diffusers=list(clip_keys.transformers_text(networks.text.text, projected=False)),
            ldm=_text_tower(networks, places.encoder),
            config=configs.text_encoder(networks.text),
            change=partial(stack.merged, TEXT),
        )


def _text_tower(networks: Networks, encoder: EncoderConfig) -> list[Entry]:
    """The text encoder's names in one file: OpenCLIP's own for Stable Diffusion 2."""
    projected = encoder.embed_dim is not None
    if encoder.activation == "gelu":
        return list(under("", OPENCLIP, clip_keys.openai_text(encoder.text, projected=projected)))
    prefix = XL_TEXT if networks.text_2 else TRANSFORMERS
    return list(under("", prefix, clip_keys.transformers_text(encoder.text, projected=projected)))


def second_text_tower(config: EncoderConfig, place: Place, stack: Stack) -> Network:
    """XL's second text encoder."""
    with hollow():
        return Network(
            part="text_encoder_2",
            net=TextEncoder(config),
            place=place,
            diffusers=list(clip_keys.transformers_text(config.text, projected=True)),
            ldm=list(under("", XL_TEXT_2, clip_keys.openai_text(config.text))),
            config=configs.text_encoder(config),
            change=partial(stack.merged, TEXT_2),
        )


def image_tower(config: ClipConfig, place: Place) -> Network:
    """unCLIP's image encoder."""
    with hollow():
        return Network(
            part="image_encoder",
            net=ImageEncoder(config.vision, config.embed_dim, config.activation),
            place=place,
            diffusers=list(clip_keys.transformers_vision(config.vision)),
            ldm=list(under("", VISION, clip_keys.openai_vision(config.vision))),
            config=configs.image_encoder(config),
        )


def statistics(width: int, place: Place) -> Network:
    """The mean and the deviation of unCLIP's image vectors."""
    with hollow():
        return Network(
            part=NORMALIZER,
            net=Statistics(width),
            place=place,
            diffusers=STATISTICS,
            ldm=STATISTICS_LDM,
            config=configs.normalizer(width),
        )
