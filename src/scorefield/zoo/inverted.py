"""A model with textual inversions: a new one of the same networks, whose conditioner knows more words."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scorefield.prompt.inversion import InversionError, Learned
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.sdxl import XlConditioner
from scorefield.prompt.text import TextConditioner
from scorefield.weights.inversion import Inversion, read
from scorefield.zoo.model import LearnedWord, Model
from scorefield.zoo.stable_files import NotLoadableError


def with_embeddings(model: Model, embeddings: Sequence[tuple[str, str | None]]) -> Model:
    """`model` with the textual inversions at those paths, each for its token, or for the one that its file names.

    `model` itself is not changed. NotLoadableError for what it cannot take, SourceError for files that are damaged.
    """
    conditioner = model.conditioner
    if not isinstance(conditioner, TextConditioner | PublishedConditioner | XlConditioner):
        raise NotLoadableError(f"the model {model.spec.name} takes no textual inversion")
    towers = 2 if isinstance(conditioner, XlConditioner) else 1
    read_ = [(path, token, _read(path, towers)) for path, token in embeddings]
    named = [(_named(token, found), found) for _, token, found in read_]
    learned = [[Learned(token=token, vectors=found.vectors[k]) for token, found in named] for k in range(towers)]
    try:
        other = conditioner.with_learned(*learned)
    except InversionError as error:
        raise NotLoadableError(str(error)) from None
    words = tuple(
        LearnedWord(token=one.token, vectors=len(one.vectors), path=path, sha256=found.sha256)
        for one, (path, _, found) in zip(learned[0], read_, strict=True)
    )
    return replace(model, conditioner=other, embeddings=words)


def _read(path: str, towers: int) -> Inversion:
    """The textual inversion at `path`; NotLoadableError if it is not for as many text towers as the model has."""
    found, told = read(Path(path)), {1: "one text tower", 2: "two text towers, as Stable Diffusion XL has them"}
    if len(found.vectors) != towers:
        raise NotLoadableError(f"{found.path} is for {told[len(found.vectors)]}; this model has {told[towers]}")
    return found


def _named(token: str | None, found: Inversion) -> str:
    named = token or found.token
    if named is None:
        raise NotLoadableError(
            f"{found.path} does not name its token: say which word stands for it, as {found.path.stem}={found.path}"
        )
    return named
