"""Identify a textual inversion by the names and shapes of its tensors, in each published form."""

import re
from collections.abc import Sequence

from scorefield.weights.detect.identity import BY_WORDS, EmbeddingIdentity, Family, Layout, LearnedWord, shown
from scorefield.weights.tensor_index import Stored, TensorIndex

TOKEN = "token"  # the word in the header of a file for two towers; ours have it
_TOWERS = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))  # the second by older scripts of diffusers
_NAMELESS = ("", "emb_params", "clip_l", "text_encoders_0")  # tensors that do not name their word
TRAINING = re.compile(r"(^|\.)(optimizer\w*|exp_avg\w*|momentum_buffer|param_groups)(\.|$)")  # the state of a training
_MOST_VECTORS = 128  # more than a prompt has room for
_MOST_WORDS = 64
_BY_WIDTH = BY_WORDS | {256: Family.SCOREFIELD}  # of the embedded model `scenes`
_UNNAMED = "the file does not name its token: give one, as TOKEN=PATH"
_STAR = "string_to_param."


def identify_inversion(index: TensorIndex) -> EmbeddingIdentity | None:
    """The textual inversion that a whole file is, or None."""
    layout, keyed = learned_words(index)
    words = [
        word._replace(
            token=word.token and shown(word.token), vectors=sizes[0][0], widths=tuple(width for _, width in sizes)
        )
        for word in keyed
        if len(sizes := [size for key in word.keys if (size := _size(index.tensors[key]))]) == len(word.keys)
    ]
    if not words or len(words) < len(keyed) or len({word.widths for word in words}) > 1:
        return None
    widths = words[0].widths
    family = Family.SDXL if len(widths) > 1 else _BY_WIDTH.get(widths[0], Family.UNKNOWN)
    notes = (_UNNAMED,) if any(word.token is None for word in words) else ()
    return EmbeddingIdentity(family=family, layout=layout, words=tuple(words), notes=notes)


def learned_words(index: TensorIndex) -> tuple[Layout, Sequence[LearnedWord]]:
    """The layout of a file, and each word's token and tensors, by their names alone; no words in any other file."""
    tensors = index.tensors
    if stars := [key for key in tensors if key.startswith(_STAR)]:
        names = [index.values.get("name")] if len(stars) == 1 else [key.removeprefix(_STAR) for key in stars]
        return Layout.A1111, [LearnedWord(_token(name), (key,)) for name, key in zip(names, stars, strict=True)]
    if towers := next((towers for towers in _TOWERS if tensors.keys() == set(towers)), None):
        return Layout.BARE, [LearnedWord(_token(index.metadata.get(TOKEN)), towers)]
    if len(tensors) == 1 and next(iter(tensors)) in _NAMELESS:
        return Layout.BARE, [LearnedWord(None, (key,)) for key in tensors]
    if len(tensors) > _MOST_WORDS or any(key.endswith(("weight", "bias")) or TRAINING.search(key) for key in tensors):
        return Layout.UNKNOWN, []
    return Layout.DIFFUSERS, [LearnedWord(_token(key), (key,)) for key in tensors]


def _token(name: object) -> str | None:
    return (name.strip() or None) if isinstance(name, str) else None


def _size(stored: Stored) -> tuple[int, int] | None:
    """How many vectors a tensor holds, and how wide they are; None if it cannot be vectors of tokens."""
    count, width = (1, *stored.shape) if len(stored.shape) == 1 else stored.shape if len(stored.shape) == 2 else (0, 0)
    return (count, width) if stored.floating and 0 < count <= _MOST_VECTORS and 64 <= width <= 4096 else None
