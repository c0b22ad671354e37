"""The file of a textual inversion, in every form in which they are published."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from scorefield.weights import adapters, inversion_png
from scorefield.weights.folder import SourceError
from scorefield.weights.listing import Plain
from scorefield.weights.source import Source

NAMES = ("learned_embeds.safetensors", "learned_embeds.bin")  # of the file in a folder that diffusers wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class Inversion:
    """What a file holds: the word that it names, if it names one, and its vectors (n, D) in float32."""

    path: Path  # of the file
    token: str | None
    vectors: Tensor
    sha256: str  # of the file


def read(path: Path) -> Inversion:
    """The textual inversion of a file, or of a folder that has one as `learned_embeds`.

    Files of diffusers ({token: vectors}), of A1111 (.pt with `string_to_param`, .safetensors with `emb_params`, .png)
    and bare tensors. SourceError for what is missing, damaged, something else, or for two text towers.
    """
    file = next((path / name for name in NAMES if (path / name).is_file()), path)
    if file.is_dir():
        raise SourceError(f"{file} is a folder without {' or '.join(NAMES)}; name a file")
    token, vectors = inversion_png.read(file) if inversion_png.is_png(file) else _weights(file)
    if vectors.ndim == 1:
        vectors = vectors[None]
    if vectors.ndim != 2 or not vectors.is_floating_point():
        raise SourceError(f"{file} holds no vectors of a word: its tensor is {tuple(vectors.shape)} {vectors.dtype}")
    told = token.strip() if isinstance(token, str) else ""
    return Inversion(path=file, token=told or None, vectors=vectors.float().clone(), sha256=_sha256(file))


def _weights(file: Path) -> tuple[Plain, Tensor]:
    source = Source(file)
    named = adapters.inversion(source.listing)
    if named is None:
        raise SourceError(f"{file} is no textual inversion: `scorefield inspect` tells what it is")
    if len(named.keys) > 1:
        raise SourceError(f"{file} has vectors for the two text towers of Stable Diffusion XL, which are not read here")
    return named.token, source.fetch(named.keys[0])


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
