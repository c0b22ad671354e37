"""The textual inversions of a request: which files teach the model words, and how these are written."""

import os
from collections.abc import Sequence
from os import PathLike, fspath
from typing import Annotated

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scorefield.request.option import Option

MOST_EMBEDDINGS = 64


class Embedding(BaseModel):
    """One file and the token for its word, None for the one that the file names.

    `sha256` is the hash of the file, which the record of a picture holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    token: Annotated[str | None, Field(min_length=1, max_length=100)] = None
    sha256: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$")] = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: object) -> object:
        """Accept PATH, TOKEN=PATH, or a pair of the two."""
        if isinstance(value, str):
            token, equals, path = value.partition("=")
            named = equals and os.sep not in token  # a path may hold an equals sign, and a token holds no slash
            return {"path": path, "token": token} if named else {"path": value}
        if isinstance(value, PathLike):
            return {"path": fspath(value)}
        if isinstance(value, Sequence) and len(value) == 2:
            token, path = value
            return {"path": fspath(path) if isinstance(path, PathLike) else path, "token": token}
        return value


def _several(value: object) -> object:
    return (value,) if isinstance(value, str | PathLike | Embedding) else value


Embeddings = Sequence[str | PathLike[str] | tuple[str, str | PathLike[str]] | Embedding]  # as a caller may write them
EmbeddingsField = Annotated[
    tuple[Embedding, ...],
    Field(
        max_length=MOST_EMBEDDINGS,
        description="A textual inversion, and the word for it (the file's own where left out); may be given several "
        "times.",
        validation_alias=AliasChoices("embeddings", "embedding"),
    ),
    BeforeValidator(_several),
    Option(flags=("--embedding",), expects="PATH, or TOKEN=PATH", metavar="[TOKEN=]PATH", many=True),
]
