"""Notes: messages that a user should read though nothing failed. A job collects them and yields them as events."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import NamedTuple


class ScorefieldWarning(UserWarning):
    """A note from scorefield; the request is carried out anyway."""


class UnseenWarning(ScorefieldWarning):
    """A request contains something that the model never saw in training, or does not read."""


class UnknownWordsWarning(UnseenWarning):
    """A prompt contains words that the model never saw."""


class UnreadSignsWarning(UnseenWarning):
    """A prompt contains signs that mean something in other programs but are plain text here."""


class UnknownSizeWarning(UnseenWarning):
    """A picture or film is much larger or smaller than those that the model saw, or a film is longer."""


class UnusedWordWarning(ScorefieldWarning):
    """No prompt has a word that was learned by textual inversion."""


class UnusedKeysWarning(ScorefieldWarning):
    """A file holds tensors that nothing here uses."""


class HalfPrecisionWarning(ScorefieldWarning):
    """Half precision had to be computed again in float32, or is only emulated."""


class PictureWarning(ScorefieldWarning):
    """A picture contains something that cannot be used, and was read without it."""


class CacheWarning(ScorefieldWarning):
    """The cache on the disk cannot be used; what it would hold is computed again."""


class NoEffectWarning(ScorefieldWarning):
    """An option changes nothing for the model that was asked for."""


class Note(NamedTuple):
    """One note: its kind, which is the class of the warning in Python, and its text of one line."""

    kind: type[ScorefieldWarning]
    text: str


_COLLECTED: ContextVar[list[Note]] = ContextVar("_COLLECTED")


def note(kind: type[ScorefieldWarning], text: str) -> None:
    """Add a note to the collection of this context; without one, it becomes a warning."""
    collected = _COLLECTED.get(None)
    if collected is None:
        warnings.warn(text, kind, stacklevel=3)
    else:
        collected.append(Note(kind, text))


def collection() -> tuple[Context, list[Note]]:
    """A context, and the notes of calls through `context.run`: for generators, which a block must not span."""
    context, notes = copy_context(), list[Note]()
    context.run(_COLLECTED.set, notes)
    return context, notes


@contextmanager
def collecting() -> Iterator[list[Note]]:
    """Collect the notes of a block in this thread. The block must not contain a yield."""
    notes: list[Note] = []
    token = _COLLECTED.set(notes)
    try:
        yield notes
    finally:
        _COLLECTED.reset(token)
