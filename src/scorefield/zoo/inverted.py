"""A model with textual inversions: a new one of the same networks, whose conditioner knows more words."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scorefield.prompt.inversion import InversionError, Learned
from scorefield.prompt.published import PublishedConditioner
from scorefield.prompt.text import TextConditioner
from scorefield.weights.inversion import Inversion, read
from scorefield.zoo.model import LearnedWord, Model
from scorefield.zoo.stable_files import NotLoadableError


def with_embeddings(model: Model, embeddings: Sequence[tuple[str, str | None]]) -> Model:
    """`model` with the textual inversions at those paths, each for its token, or for the one that its file names.

    `model` itself is not changed. NotLoadableError for what it cannot take, SourceError for files that are damaged.
    """
    conditioner = model.conditioner
    if not isinstance(conditioner, TextConditioner | PublishedConditioner):
        raise NotLoadableError(f"the model {model.spec.name} takes no textual inversion: they are for one text tower")
    read_ = [(path, token, read(Path(path))) for path, token in embeddings]
    learned = [Learned(token=_named(token, found), vectors=found.vectors) for _, token, found in read_]
    try:
        other = conditioner.with_learned(learned)
    except InversionError as error:
        raise NotLoadableError(str(error)) from None
    words = tuple(
        LearnedWord(token=one.token, vectors=len(one.vectors), path=path, sha256=found.sha256)
        for one, (path, _, found) in zip(learned, read_, strict=True)
    )
    return replace(model, conditioner=other, embeddings=words)


def _named(token: str | None, found: Inversion) -> str:
    named = token or found.token
    if named is None:
        raise NotLoadableError(
            f"{found.path} does not name its token: say which word stands for it, as {found.path.stem}={found.path}"
        )
    return named
