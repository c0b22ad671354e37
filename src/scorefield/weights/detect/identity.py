"""The identity of a file or folder of weights: one dataclass for each kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, NamedTuple

from scorefield.weights.tensor_index import Part


class Kind(StrEnum):
    """Kinds of files and folders."""

    CHECKPOINT = "checkpoint"  # every part of a model in one file
    PIPELINE = "pipeline"  # a folder with a part in each of its folders
    UNET = "U-Net"
    VAE = "autoencoder"
    CLIP = "CLIP"  # one encoder or both
    TRANSFORMER = "video transformer"
    TEXT_ENCODER = "text encoder"
    LORA = "LoRA"
    EMBEDDING = "textual inversion"
    OWN = "own"
    UNKNOWN = "unknown"


class Family(StrEnum):
    """Which published model's shapes the tensors have."""

    SD1 = "Stable Diffusion 1"
    SD2 = "Stable Diffusion 2"
    UNCLIP_H = "Stable Diffusion 2.1 unCLIP (ViT-H)"
    UNCLIP_L = "Stable Diffusion 2.1 unCLIP (ViT-L)"
    SDXL = "Stable Diffusion XL"
    SDXL_REFINER = "Stable Diffusion XL refiner"
    KL_F8 = "KL-f8"  # the autoencoder of all of these
    VIT_B_32 = "CLIP ViT-B/32"
    VIT_B_16 = "CLIP ViT-B/16"
    VIT_B = "CLIP ViT-B"  # the text encoder of both
    VIT_L_14 = "CLIP ViT-L/14"
    VIT_H_14 = "CLIP ViT-H/14"
    VIT_BIG_G_14 = "CLIP ViT-bigG/14"
    WAN_1_3B = "Wan 1.3B"
    WAN_5B = "Wan 2.2 5B"
    WAN_14B = "Wan 14B"
    WAN = "Wan"  # of another size
    WAN_VAE = "Wan 2.1 VAE"
    WAN_22_VAE = "Wan 2.2 VAE"
    UMT5 = "UMT5"
    SCOREFIELD = "scorefield"
    UNKNOWN = "unknown"


BY_WORDS = {768: Family.SD1, 1024: Family.SD2, 2048: Family.SDXL}  # by the width of the tokens that the U-Net reads
WANS = {1536: Family.WAN_1_3B, 3072: Family.WAN_5B, 5120: Family.WAN_14B}  # by the width of the transformer


class Layout(StrEnum):
    """Which program's names the tensors have."""

    LDM = "ldm"  # of the original training code, CompVis and Stability AI
    DIFFUSERS = "diffusers"
    TRANSFORMERS = "transformers"
    OPENAI = "OpenAI"  # and OpenCLIP, which has the same
    WAN = "Wan"  # of the original files, which ComfyUI's have too
    KOHYA = "kohya"
    PEFT = "PEFT"
    OLD_DIFFUSERS = "diffusers before PEFT"
    LYCORIS = "LyCORIS"
    A1111 = "A1111"
    BARE = "bare"  # tensors without a name
    SCOREFIELD = "scorefield"
    UNKNOWN = "unknown"


class Task(StrEnum):
    """The task of a U-Net, by its inputs in addition to the noisy latents."""

    TEXT = "text to image"
    INPAINTING = "inpainting"
    DEPTH = "depth to image"
    UPSCALING = "upscaling"
    EDITING = "editing by instruction"
    VARIATION = "image variation"


class Prediction(NamedTuple):
    """The meaning of the network's output, and how that is known."""

    value: str | None  # "eps" or "v"; None if the user must say it
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The fields of every kind."""

    family: Family = Family.UNKNOWN
    layout: Layout = Layout.UNKNOWN
    parts: Mapping[str, Part] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # sentences for the user
    resembles: str | None = None  # the nearest known thing, if the family is unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity(Identity):
    """A whole model in one file or in a folder, or only its U-Net."""

    kind: Kind  # CHECKPOINT, PIPELINE or UNET
    task: Task | None = None
    channels: int | None = None  # into the U-Net; None for a model without one
    context: int | None = None  # the width of the tokens that the U-Net reads
    prediction: Prediction | None = None  # None for a model without a U-Net
    zero_snr: bool = False  # trained with zero terminal SNR
    missing: tuple[str, ...] = ()  # parts that such a model needs and this one lacks
    ema: bool = False  # whether the file also has an averaged copy of its U-Net


@dataclass(frozen=True, slots=True, kw_only=True)
class VaeIdentity(Identity):
    """A single autoencoder."""

    kind: ClassVar[Kind] = Kind.VAE
    channels: int  # of the latents
    levels: int


class EncoderSizes(NamedTuple):
    """The sizes of one of CLIP's encoders."""

    layers: int
    width: int
    patch: int | None = None  # px: the side of the squares that an image encoder reads


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipIdentity(Identity):
    """A CLIP, or one of its encoders: the other is None."""

    kind: ClassVar[Kind] = Kind.CLIP
    text: EncoderSizes | None = None
    image: EncoderSizes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerIdentity(Identity):
    """A video transformer of Wan alone, and its sizes, which are those of its tensors."""

    kind: ClassVar[Kind] = Kind.TRANSFORMER
    prefix: str  # before its names
    in_channels: int
    out_channels: int
    patch_size: tuple[int, int, int]
    width: int
    mlp_width: int
    depth: int
    text_width: int
    time_features: int
    image_width: int | None  # of the tokens of an image encoder
    image_positions: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmVaeIdentity(Identity):
    """The causal autoencoder of Wan alone, and its sizes."""

    kind: ClassVar[Kind] = Kind.VAE
    channels: int  # of the latents
    width: int
    decoder_width: int
    multipliers: tuple[int, ...]
    resblocks: int
    halves_time: tuple[bool, ...]
    patch_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderIdentity(Identity):
    """An encoder of T5 or UMT5 alone, and its sizes."""

    kind: ClassVar[Kind] = Kind.TEXT_ENCODER
    vocab_size: int
    width: int
    layers: int
    heads: int
    head_width: int
    mlp_width: int
    tokenizer: bool  # whether the file has one


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraIdentity(Identity):
    """A LoRA, or another product that LyCORIS makes."""

    kind: ClassVar[Kind] = Kind.LORA
    ranks: tuple[int, ...]  # of its layers; () if it is not a LoRA
    alpha: str | None  # in words; None if it is not a LoRA
    layers: int
    targets: Mapping[str, int]  # how many layers of each kind it changes


class LearnedWord(NamedTuple):
    """A word of a textual inversion."""

    token: str | None  # None if the file does not name it
    keys: tuple[str, ...]  # its tensors: one for each text encoder, the first encoder's first
    vectors: int = 0
    widths: tuple[int, ...] = ()  # one for each text encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingIdentity(Identity):
    """A textual inversion: one learned word, or several."""

    kind: ClassVar[Kind] = Kind.EMBEDDING
    words: tuple[LearnedWord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnIdentity(Identity):
    """One of scorefield's own files."""

    kind: ClassVar[Kind] = Kind.OWN
    holds: str  # generator, clip, ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownIdentity(Identity):
    """A file of an unknown kind; `resembles` names the nearest known one."""

    kind: ClassVar[Kind] = Kind.UNKNOWN


AnyIdentity = (ModelIdentity | VaeIdentity | ClipIdentity | TransformerIdentity | FilmVaeIdentity | TextEncoderIdentity
               | LoraIdentity | EmbeddingIdentity | OwnIdentity | UnknownIdentity)  # fmt: skip


def described(found: AnyIdentity) -> str:
    """What a file is, for an error: autoencoder (KL-f8)."""
    named = found.family if found.resembles is None else found.resembles
    if found.kind is not Kind.UNKNOWN:
        return f"{found.kind} ({named})"
    return f"of an unknown kind, most like {found.resembles}" if found.resembles else "of an unknown kind"
