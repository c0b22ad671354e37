"""What a user should know though nothing failed: notes, which a job collects and hands on as events."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import NamedTuple


class ScorefieldWarning(UserWarning):
    """A note of scorefield; what was asked is done all the same."""


class UnseenWarning(ScorefieldWarning):
    """A request holds something that the model never saw in training, or does not read."""


class UnknownWordsWarning(UnseenWarning):
    """A prompt holds words that the model never saw."""


class UnreadSignsWarning(UnseenWarning):
    """A prompt holds signs that mean something to other programs, and are plain text here."""


class UnknownSizeWarning(UnseenWarning):
    """A picture is much larger or smaller than those that the model saw."""


class UnusedWordWarning(ScorefieldWarning):
    """No prompt has a word that was learned by textual inversion."""


class UnusedKeysWarning(ScorefieldWarning):
    """A file holds tensors that nothing here uses."""


class HalfPrecisionWarning(ScorefieldWarning):
    """Numbers were not finite in half precision, and were computed again in float32."""


class PictureWarning(ScorefieldWarning):
    """A picture holds something that cannot be used, and was read without it."""


class Note(NamedTuple):
    """One notice: its kind, as the warning that it becomes in Python, and its text, one line."""

    kind: type[ScorefieldWarning]
    text: str


_COLLECTED: ContextVar[list[Note]] = ContextVar("_COLLECTED")


def note(kind: type[ScorefieldWarning], text: str) -> None:
    """Add a note to the collection of this context; where nobody collects, it is a warning."""
    collected = _COLLECTED.get(None)
    if collected is None:
        warnings.warn(text, kind, stacklevel=3)
    else:
        collected.append(Note(kind, text))


def collection() -> tuple[Context, list[Note]]:
    """A context, and the notes of what `context.run` calls: for generators, over which no block may be held."""
    context, notes = copy_context(), list[Note]()
    context.run(_COLLECTED.set, notes)
    return context, notes


@contextmanager
def collecting() -> Iterator[list[Note]]:
    """Collect the notes of a block, and only those of this thread. Not to be held across a yield."""
    notes: list[Note] = []
    token = _COLLECTED.set(notes)
    try:
        yield notes
    finally:
        _COLLECTED.reset(token)
