"""The files of textual inversions, in every form in which they are published."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from scorefield.weights import inversion_png
from scorefield.weights.detect import inversion_shapes
from scorefield.weights.diffusers_folder import SourceError
from scorefield.weights.reader import Reader
from scorefield.weights.tensor_index import Plain

NAMES = ("learned_embeds.safetensors", "learned_embeds.bin")  # of the file in a folder that diffusers wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class Inversion:
    """What the file of a textual inversion holds."""

    path: Path
    token: str | None  # as the file names it, if it does
    vectors: tuple[Tensor, ...]  # (n, D) float32 for each text tower: one, or the two of Stable Diffusion XL
    sha256: str  # of the file


def read(path: Path) -> Inversion:
    """The textual inversion of a file, or of a folder that has one as `learned_embeds`.

    Files of diffusers ({token: vectors}), of A1111 (.pt with `string_to_param`, .safetensors with `emb_params`, .png),
    bare tensors, and `clip_l` beside `clip_g`. SourceError for what is missing, damaged or something else.
    """
    file = next((path / name for name in NAMES if (path / name).is_file()), path)
    if file.is_dir():
        raise SourceError(f"{file} is a folder without {' or '.join(NAMES)}; name a file")
    token, tensors = _picture(file) if inversion_png.is_png(file) else _weights(file)
    vectors = tuple(_vectors(file, tensor) for tensor in tensors)
    if len(counts := {len(one) for one in vectors}) > 1:
        numbers = " and ".join(map(str, sorted(counts)))
        raise SourceError(
            f"{file} has {numbers} vectors for its two text towers, which read the same places; get it again"
        )
    name = token.strip() if isinstance(token, str) else ""
    return Inversion(path=file, token=name or None, vectors=vectors, sha256=_sha256(file))


def _vectors(file: Path, tensor: Tensor) -> Tensor:
    vectors = tensor[None] if tensor.ndim == 1 else tensor
    if vectors.ndim != 2 or not vectors.is_floating_point():
        raise SourceError(f"{file} holds no vectors of a word: its tensor is {tuple(vectors.shape)} {vectors.dtype}")
    return vectors.float().clone()


def _picture(file: Path) -> tuple[Plain, Sequence[Tensor]]:
    token, vectors = inversion_png.read(file)
    return token, [vectors]


def _weights(file: Path) -> tuple[Plain, Sequence[Tensor]]:
    source = Reader(file)
    named = inversion_shapes.vector_keys(source.listing)
    if named is None:
        raise SourceError(f"{file} is no textual inversion: `scorefield inspect` tells what it is")
    return named.token, [source.fetch(key) for key in named.keys]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
