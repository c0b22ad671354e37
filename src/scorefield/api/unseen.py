"""Warnings of what a model never saw in training or does not read: words, signs and sizes. It draws all the same."""

import warnings
from collections.abc import Sequence

from scorefield import zoo
from scorefield.api import words
from scorefield.request import Settled

_MOST_WORDS, _LONGEST_WORD = 10, 30  # words that a warning names, and letters of each
_FAR = 1.5  # pictures whose side is so many times the model's own, or its own so many times theirs, tend to go wrong


class UnseenWarning(UserWarning):
    """A request holds something that the model never saw, or signs that it does not read."""


class UnknownWordsWarning(UnseenWarning):
    """A prompt holds words that the model never saw."""


class UnreadSignsWarning(UnseenWarning):
    """A prompt holds signs that have a meaning in other programs, and here are ordinary letters."""


class UnknownSizeWarning(UnseenWarning):
    """A picture is much larger or smaller than those that the model saw."""


def warn(request: Settled, model: zoo.Model, stacklevel: int) -> None:
    """Warn of words and sizes that `model` never saw; `stacklevel` 1 is the caller of this function."""
    prompts = [*request.prompts, request.negative_prompt]
    if unknown := model.conditioner.unknown(prompts):
        listed = "; ".join(_with_nearest(word, near) for word, near in list(unknown.items())[:_MOST_WORDS])
        more = f" and {len(unknown) - _MOST_WORDS} more" if len(unknown) > _MOST_WORDS else ""
        message = (
            f"the model {model.spec.name} never saw {listed}{more}: it draws what the other words say "
            "(`scorefield models` lists what it knows)"
        )
        warnings.warn(message, UnknownWordsWarning, stacklevel + 1)
    if signs := model.conditioner.unread(prompts, words.rules(request)):
        listed = ", ".join(map(_short, dict.fromkeys(signs[:_MOST_WORDS])))
        message = (
            f"the weighting {request.weighting} gives no meaning to {listed}: it is read as it stands; "
            "leave it out, or take another --weighting (none, a1111, comfy, compel)"
        )
        warnings.warn(message, UnreadSignsWarning, stacklevel + 1)
    width, height = model.spec.defaults.width, model.spec.defaults.height
    ratios = (request.width / width, request.height / height)
    if not all(1 / _FAR <= ratio <= _FAR for ratio in ratios):
        message = (
            f"the model {model.spec.name} learnt from pictures of {width}x{height}; "
            f"one of {request.width}x{request.height} may show a thing several times, or a part of it"
        )
        warnings.warn(message, UnknownSizeWarning, stacklevel + 1)


def _with_nearest(word: str, near: Sequence[str]) -> str:
    return f"{_short(word)} (nearest: {', '.join(near)})" if near else _short(word)


def _short(word: str) -> str:
    return word if len(word) <= _LONGEST_WORD else f"{word[:_LONGEST_WORD]}..."
