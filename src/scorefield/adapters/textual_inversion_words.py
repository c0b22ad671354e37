"""A model with textual inversions: a new model of the same networks, whose conditioner knows more words."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scorefield.errors import UnsupportedError
from scorefield.model.system import LearnedWord, Model
from scorefield.prompt.inversion import InversionError, Learned
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.sdxl import XlConditioner
from scorefield.prompt.text import TextConditioner
from scorefield.weights.textual_inversion import TextualInversionFile, Word


def with_embeddings(model: Model, embeddings: Sequence[tuple[str, str | None]]) -> Model:
    """`model` with the textual inversions of (path, token) pairs; a token that is None is the one that the file names.

    `model` itself does not change. UnsupportedError for an inversion that the model cannot take, DamagedError for files
    that are damaged.
    """
    conditioner = model.conditioner
    if not isinstance(conditioner, TextConditioner | PublishedConditioner | XlConditioner):
        raise UnsupportedError(f"the model {model.spec.name} takes no textual inversion")
    towers = 2 if isinstance(conditioner, XlConditioner) else 1
    files = [TextualInversionFile(Path(path)) for path, _ in embeddings]
    words = [_word(file, token, towers) for (_, token), file in zip(embeddings, files, strict=True)]
    learned = [[Learned(token=token, vectors=word.vectors[k]) for token, word in words] for k in range(towers)]
    try:
        extended = conditioner.with_learned(*learned)
    except InversionError as error:
        raise UnsupportedError(str(error)) from None
    known = tuple(
        LearnedWord(token=token, vectors=len(word.vectors[0]), path=path, sha256=file.sha256)
        for (path, _), file, (token, word) in zip(embeddings, files, words, strict=True)
    )
    return replace(model, conditioner=extended, embeddings=known)


def _word(file: TextualInversionFile, requested: str | None, towers: int) -> tuple[str, Word]:
    """The token and vectors of a word of `file`; UnsupportedError if it is for another number of text towers."""
    word, counts = file.word(requested), {1: "one text tower", 2: "two text towers, as Stable Diffusion XL has them"}
    if len(word.vectors) != towers:
        raise UnsupportedError(f"{file.path} is for {counts[len(word.vectors)]}; this model has {counts[towers]}")
    token = requested or word.token
    if token is None:
        raise UnsupportedError(
            f"{file.path} does not name its token: say which word stands for it, as {file.path.stem}={file.path}"
        )
    return token, word
