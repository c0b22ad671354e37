"""A model with the textual inversions of a request, which must be the very files that the request means."""

from collections.abc import Sequence

from scorefield import zoo
from scorefield.api.recorded import check_hash
from scorefield.errors import RequestError
from scorefield.request import Embedding


def with_embeddings(model: zoo.Model, embeddings: Sequence[Embedding]) -> zoo.Model:
    """`model` with the words of `embeddings` and no others.

    RequestError if the model cannot take one, or if a file is not the one whose hash the request has. DamagedError
     for a file that is missing, damaged or no textual inversion.
    """
    if not embeddings and not model.embeddings:
        return model
    try:
        extended = zoo.with_embeddings(model, [(one.path, one.token) for one in embeddings])
    except zoo.UnsupportedError as error:
        raise RequestError(str(error)) from None
    for requested, word in zip(embeddings, extended.embeddings, strict=True):
        check_hash(requested.path, word.sha256, requested.sha256, "textual inversion")
    return extended


def embeddings_of(model: zoo.Model) -> tuple[Embedding, ...]:
    """The textual inversions of `model`, as a request records them."""
    return tuple(Embedding(path=one.path, token=one.token, sha256=one.sha256) for one in model.embeddings)


def has_embeddings(model: zoo.Model, embeddings: Sequence[Embedding]) -> bool:
    """Whether the textual inversions of `model` are these, in this order, and no others."""
    return len(embeddings) == len(model.embeddings) and all(
        (one.path, one.token or word.token, one.sha256 or word.sha256) == (word.path, word.token, word.sha256)
        for one, word in zip(embeddings, model.embeddings, strict=True)
    )


def embedding_lines(model: zoo.Model) -> list[str]:
    """A line to print for each learned word of `model`: its token, the number of its vectors, its file."""
    return [
        f"{word.token}: {word.vectors} vector{'s' * (word.vectors > 1)} of {word.path}" for word in model.embeddings
    ]
