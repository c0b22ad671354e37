"""Textual inversion files, in every published form."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from scorefield.errors import DamagedError, MissingError, RequestError, UnsupportedError
from scorefield.input_files import file_errors, parse_json
from scorefield.weights.checkpoint import Reader
from scorefield.weights.detect.adapter_shapes import TRAINING, learned_words
from scorefield.weights.model_files import PNG, read_head

NAMES = ("learned_embeds.safetensors", "learned_embeds.bin")  # of the file in a folder that diffusers wrote
_CHUNK = "sd-ti-embedding"  # the text of A1111 in a PNG file
_LONGEST = 32_000_000  # letters of that text
_MOST_NUMBERS = 4_000_000  # of a word: 1000 vectors, more than any prompt has room for, for the widest encoder


class Word(NamedTuple):
    """A learned word."""

    token: str | None  # as the file names it, if it does
    vectors: tuple[Tensor, ...]  # (n, D) float32 for each text encoder: one, or the two of Stable Diffusion XL


class TextualInversionFile:
    """The textual inversion in a file, or in a folder that has one as `learned_embeds`: one word, or several.

    Files of diffusers ({token: vectors}), of A1111 (.pt with `string_to_param`, .safetensors with `emb_params`, .png),
    bare tensors, and `clip_l` with `clip_g`. It is opened and read once. MissingError, DamagedError or UnsupportedError
    for what is missing, damaged or something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = next((path / name for name in NAMES if (path / name).is_file()), path)
        if self.path.is_dir():
            raise MissingError(f"{self.path} is a folder without {' or '.join(NAMES)}; name a file")
        picture = read_head(self.path).startswith(PNG)
        self.words: Sequence[Word] = _picture(self.path) if picture else _weights(self.path)

    @cached_property
    def sha256(self) -> str:
        """The hash of the file, computed once."""
        with file_errors(self.path), self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def word(self, token: str | None = None) -> Word:
        """The word of that token, or the only one, whatever it is called; RequestError if it is not clear which."""
        if len(self.words) == 1:
            return self.words[0]
        names = [str(word.token) for word in self.words]
        if token is None:
            raise RequestError(
                f"{self.path} holds {len(names)} words ({', '.join(names)}): say which, as {names[0]}={self.path}"
            )
        match = next((word for word in self.words if word.token == token), None)
        if match is None:
            raise RequestError(f"{self.path} holds no word {token!r}; it holds {', '.join(names)}")
        return match


def _word(file: Path, token: str | None, tensors: Sequence[Tensor]) -> Word:
    vectors = tuple(_vectors(file, tensor) for tensor in tensors)
    if len(counts := {len(one) for one in vectors}) > 1:
        numbers = " and ".join(map(str, sorted(counts)))
        raise DamagedError(
            f"{file} has {numbers} vectors for its two text encoders, which must have equally many; get it again"
        )
    return Word(token=token, vectors=vectors)


def _vectors(file: Path, tensor: Tensor) -> Tensor:
    vectors = tensor[None] if tensor.ndim == 1 else tensor
    if vectors.ndim != 2:
        raise UnsupportedError(f"{file} holds no word vectors: its tensor is {tuple(vectors.shape)}")
    if not (vectors := vectors.float()).isfinite().all():
        raise DamagedError(f"{file} holds a number that is not finite; its training went wrong")
    return vectors.clone()


def _weights(file: Path) -> Sequence[Word]:
    reader = Reader(file)
    _, words = learned_words(reader.index)
    if not words:
        why = "`scorefield inspect` says what it is"
        if any(TRAINING.search(key) for key in reader.tensors):
            why = "it is the state of an optimizer; give the file of the word, which is stored next to it"
        raise UnsupportedError(f"{file} is not a textual inversion: {why}")
    for stored in (reader.tensors[key] for word in words for key in word.keys):
        if len(stored.shape) not in (1, 2) or not stored.floating or stored.numbers > _MOST_NUMBERS:
            raise UnsupportedError(f"{file} holds no word vectors: its tensor is {stored.shape} {stored.dtype}")
    return [_word(file, word.token, [reader.fetch(key) for key in word.keys]) for word in words]


def _picture(file: Path) -> Sequence[Word]:
    """The word in the text of a PNG file. Others hide words in the colours of a picture: these are not read."""
    try:
        with file_errors(file), PngImageFile(file) as picture:
            text = picture.info.get(_CHUNK)  # `text` would decode the pixels, too
    except (SyntaxError, ValueError) as error:
        raise DamagedError(f"{file} is a damaged PNG picture ({error}); get it again") from None
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise UnsupportedError(f"{file} is a picture without a textual inversion in its text ({_CHUNK})")
    try:
        record: Any = parse_json(base64.b64decode(text, validate=True))
        (held,) = record["string_to_param"].values()
        token, vectors = record.get("name"), torch.tensor(held["TORCHTENSOR"], dtype=torch.float32)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise DamagedError(f"{file} carries a textual inversion that cannot be read ({error}); get it again") from None
    return [_word(file, (token.strip() or None) if isinstance(token, str) else None, [vectors])]
