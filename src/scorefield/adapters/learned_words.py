"""A model with textual inversions: a new model with the same networks, whose conditioner knows more words."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from scorefield.errors import RequestError, UnsupportedError
from scorefield.model.system import LearnedWord, System
from scorefield.prompt.inversion import InversionError, Learned
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.sdxl import XlConditioner
from scorefield.prompt.text import TextConditioner
from scorefield.request import Embedding
from scorefield.stages.diffusion import only_stage
from scorefield.weights.textual_inversion import TextualInversionFile, Word

_FOR = {1: "one text encoder", 2: "two text encoders, as Stable Diffusion XL has them"}


class OpenedWord(NamedTuple):
    """A textual inversion of a request, read from its file."""

    asked: Embedding
    file: TextualInversionFile


def open_word(asked: Embedding) -> OpenedWord:
    """Read its file; RequestError if it has changed since it was recorded."""
    file = TextualInversionFile(Path(asked.path))
    check_hash(asked.path, file.sha256, asked.sha256, "textual inversion")
    return OpenedWord(asked, file)


def with_embeddings(system: System, words: Sequence[OpenedWord]) -> System:
    """`system` with these words and no others; `system` itself does not change.

    UnsupportedError for an inversion that the model cannot take, RequestError for a token that is missing or taken.
    """
    if not words and not system.embeddings:
        return system
    stage = only_stage(system.stages)
    conditioner = stage.conditioner
    if not isinstance(conditioner, TextConditioner | PublishedConditioner | XlConditioner):
        raise UnsupportedError(f"the model {system.name} takes no textual inversion")
    encoders = 2 if isinstance(conditioner, XlConditioner) else 1
    named = [_named(asked.token, file, encoders) for asked, file in words]
    learned = [[Learned(token=token, vectors=word.vectors[k]) for token, word in named] for k in range(encoders)]
    try:
        extended = conditioner.with_learned(*learned)
    except InversionError as error:
        raise UnsupportedError(str(error)) from None
    known = tuple(
        LearnedWord(token=token, vectors=len(word.vectors[0]), path=asked.path, sha256=file.sha256)
        for (token, word), (asked, file) in zip(named, words, strict=True)
    )
    recorded = tuple(Embedding(path=one.path, token=one.token, sha256=one.sha256) for one in known)
    return replace(
        system,
        stages=(replace(stage, conditioner=extended),),
        choice=system.choice.model_copy(update={"embeddings": recorded}),
        embeddings=known,
    )


def check_hash(path: str, sha256: str, recorded: str | None, what: str) -> None:
    """RequestError, about a `what`, if the file's hash is not the one `recorded`; None accepts any file."""
    if recorded not in (None, sha256):
        raise RequestError(
            f"{path} has changed: its hash is {sha256[:10]}, but the recorded {what} has {recorded[:10]}"
        )


def _named(requested: str | None, file: TextualInversionFile, encoders: int) -> tuple[str, Word]:
    """The token and the vectors of a word; UnsupportedError if they are for another number of text encoders."""
    word = file.word(requested)
    if len(word.vectors) != encoders:
        raise UnsupportedError(f"{file.path} is for {_FOR[len(word.vectors)]}; this model has {_FOR[encoders]}")
    token = requested or word.token
    if token is None:
        raise RequestError(f"{file.path} does not name its token: choose one, as in {file.path.stem}={file.path}")
    return token, word
