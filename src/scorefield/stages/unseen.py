"""Notes on what a model never saw in training or does not read: words, signs and sizes. It draws anyway."""

from collections.abc import Mapping, Sequence

from scorefield.model.codec import Canvas
from scorefield.model.spec import ModelSpec
from scorefield.notes import UnknownSizeWarning, UnknownWordsWarning, UnreadSignsWarning, note
from scorefield.prompt.rules import Rules

_MOST_WORDS, _LONGEST_WORD = 10, 30  # words that a note names, and letters of each
_FAR = 1.5  # pictures whose side is longer or shorter than the model's by more than this factor tend to go wrong


def note_unseen(
    spec: ModelSpec, unknown: Mapping[str, Sequence[str]], signs: Sequence[str], rules: Rules, canvas: Canvas
) -> None:
    """Note unknown words with the nearest known ones, signs without a meaning, and sizes unlike the model's."""
    if unknown:
        listed = "; ".join(_with_nearest(word, near) for word, near in list(unknown.items())[:_MOST_WORDS])
        more = f" and {len(unknown) - _MOST_WORDS} more" if len(unknown) > _MOST_WORDS else ""
        note(
            UnknownWordsWarning,
            f"the model {spec.name} never saw {listed}{more}: it draws what the other words say "
            "(`scorefield models` lists what it knows)",
        )
    if signs:
        listed = ", ".join(map(_short, dict.fromkeys(signs[:_MOST_WORDS])))
        note(
            UnreadSignsWarning,
            f"the weighting {rules.weighting} gives no meaning to {listed}: it is read as plain text; "
            "leave it out, or take another --weighting (none, a1111, comfy, compel)",
        )
    _note_size(spec, canvas)


def _note_size(spec: ModelSpec, canvas: Canvas) -> None:
    """Note sides far from those that the model was trained on, and a film of more frames."""
    width, height, frames = spec.defaults.width, spec.defaults.height, spec.defaults.frames
    pairs = zip(sorted((canvas.width, canvas.height)), sorted((width, height)), strict=True)  # upright or lying
    if not all(1 / _FAR <= side / own <= _FAR for side, own in pairs):
        note(
            UnknownSizeWarning,
            f"the model {spec.name} was trained on {'films' if frames > 1 else 'pictures'} of {width}x{height}; "
            f"one of {canvas.width}x{canvas.height} may show a thing several times, or a part of it",
        )
    if canvas.frames > frames:
        note(
            UnknownSizeWarning,
            f"the model {spec.name} was trained on films of {frames} frames; "
            f"one of {canvas.frames} may go wrong after them",
        )


def _with_nearest(word: str, near: Sequence[str]) -> str:
    return f"{_short(word)} (nearest: {', '.join(near)})" if near else _short(word)


def _short(word: str) -> str:
    return word if len(word) <= _LONGEST_WORD else f"{word[:_LONGEST_WORD]}..."
