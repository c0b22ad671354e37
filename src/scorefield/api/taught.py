"""A model with the textual inversions of a request: they must be the files that it means."""

from collections.abc import Sequence

from scorefield import zoo
from scorefield.request import Embedding, RequestError


def taught(model: zoo.Model, embeddings: Sequence[Embedding]) -> zoo.Model:
    """`model` with the words of `embeddings` and no others; RequestError if it cannot take them, or for other files.

    weights.folder.SourceError for files that are missing, damaged or something else.
    """
    if not embeddings and not model.embeddings:
        return model
    try:
        made = zoo.with_embeddings(model, [(one.path, one.token) for one in embeddings])
    except zoo.NotLoadableError as error:
        raise RequestError(str(error)) from None
    for asked, found in zip(embeddings, made.embeddings, strict=True):
        if asked.sha256 not in (None, found.sha256):
            raise RequestError(
                f"{asked.path} has changed: its hash is {found.sha256[:10]}, that of the textual inversion which is "
                f"asked for is {asked.sha256[:10]}"
            )
    return made


def known(model: zoo.Model) -> tuple[Embedding, ...]:
    """The textual inversions that `model` knows, as a request records them."""
    return tuple(Embedding(path=one.path, token=one.token, sha256=one.sha256) for one in model.embeddings)


def knows(model: zoo.Model, embeddings: Sequence[Embedding]) -> bool:
    """Whether the textual inversions of `model` are just these."""
    return len(embeddings) == len(model.embeddings) and all(
        (one.path, one.token or found.token, one.sha256 or found.sha256) == (found.path, found.token, found.sha256)
        for one, found in zip(embeddings, model.embeddings, strict=True)
    )


def lines(model: zoo.Model) -> list[str]:
    """What a model was taught, for reading: a line for each word."""
    plain = {1: "1 vector"}
    return [
        f"{one.token}: {plain.get(one.vectors, f'{one.vectors} vectors')} of {one.path}" for one in model.embeddings
    ]
