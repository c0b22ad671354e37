"""What can be found out about a file of weights: its kind, family, layout, task and parts, and notes on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from scorefield.weights.tensor_index import Plain, Stored


class Kind(StrEnum):
    """What a path holds."""

    CHECKPOINT = "checkpoint"  # every part of a model in one file
    PIPELINE = "pipeline"  # a folder with a part in each of its folders
    UNET = "U-Net"
    VAE = "autoencoder"
    CLIP = "CLIP"  # one tower or both
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
    VIT_B = "CLIP ViT-B"  # the text tower of both
    VIT_L_14 = "CLIP ViT-L/14"
    VIT_H_14 = "CLIP ViT-H/14"
    VIT_BIG_G_14 = "CLIP ViT-bigG/14"
    SCOREFIELD = "scorefield"
    UNKNOWN = "unknown"


BY_WORDS = {768: Family.SD1, 1024: Family.SD2, 2048: Family.SDXL}  # by the width of the tokens that the U-Net reads


class Layout(StrEnum):
    """Which program's names the tensors have."""

    LDM = "ldm"  # of the original training code, CompVis and Stability AI
    DIFFUSERS = "diffusers"
    TRANSFORMERS = "transformers"
    OPENAI = "OpenAI"  # and OpenCLIP, which has the same
    KOHYA = "kohya"
    PEFT = "PEFT"
    OLD_DIFFUSERS = "diffusers before PEFT"
    LYCORIS = "LyCORIS"
    A1111 = "A1111"
    BARE = "bare"  # tensors without a word of what they belong to
    SCOREFIELD = "scorefield"
    UNKNOWN = "unknown"


class Task(StrEnum):
    """What a U-Net is for, by what it sees beside the noisy latents."""

    TEXT = "text to image"
    INPAINTING = "inpainting"
    DEPTH = "depth to image"
    UPSCALING = "upscaling"
    EDITING = "editing by instruction"
    VARIATION = "image variation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One network in a file: what its names begin with, and how large it is."""

    prefix: str
    tensors: int
    numbers: int  # parameters; buffers are not counted


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network's output means, and how that is known."""

    value: str | None  # "eps" or "v"; None where the user must say it
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """All that names and shapes tell about a file or folder."""

    kind: Kind
    family: Family = Family.UNKNOWN
    layout: Layout = Layout.UNKNOWN
    task: Task | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)
    missing: tuple[str, ...] = ()  # parts that such a model has and this path has not
    ema: bool = False  # an averaged copy of the U-Net lies beside it
    prediction: Prediction | None = None  # None where nothing is predicted
    facts: Mapping[str, Plain] = field(default_factory=dict)  # as rank, token, vectors, layers
    notes: tuple[str, ...] = ()  # what a user should know, a sentence each
    resembles: str | None = None  # of an unknown file


def part(tensors: Mapping[str, Stored], prefix: str, but: str | None = None) -> Part:
    """The part of all tensors whose names begin with `prefix`, and do not begin with `but`."""
    mine = {
        name: one for name, one in tensors.items() if name.startswith(prefix) and not (but and name.startswith(but))
    }
    return Part(prefix=prefix, tensors=len(mine), numbers=numbers(mine))


def numbers(tensors: Mapping[str, Stored]) -> int:
    """How many parameters there are: numbers in floating tensors, without known buffers."""
    weights = (one for name, one in tensors.items() if one.dtype[0] in "FBfb" and not name.endswith(_BUFFERS))
    return sum(one.numbers for one in weights if one.dtype not in _TRUTHS)


_BUFFERS = ("position_ids", "attn_mask", "model_ema.decay", "model_ema.num_updates")
_TRUTHS = ("BOOL", "bool")
