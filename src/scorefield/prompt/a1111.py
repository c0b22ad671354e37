"""AUTOMATIC1111's weighting: (more), [less], (words:1.3), nested, and BREAK for the next chunk."""

import re
from collections.abc import Sequence

from torch import Tensor

from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.chunks import Chunks, States, WeightedToken, whole_letters
from scorefield.prompt.pieces import Bracket, Part, Piece, Span, check_depth, merged, spans, unread_texts

MORE, LESS = 1.1, 1 / 1.1
BACK = 20  # tokens by which a chunk may be shortened to end with a comma

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
_SIGN = re.compile(
    rf"\\(?P<letter>[()\[\]\\]?)|(?P<open>[(\[])|(?::\s*(?P<weight>{_NUMBER})\s*)?(?P<close>\))|(?P<shut>])"
)
_SCHEDULE = re.compile(r"\\.|[()\[\]:|]|\bAND\b|<(?:lora|lyco|hypernet):[^<>]*>", re.DOTALL)
_WHEN = re.compile(rf"\s*{_NUMBER}\s*")
_BREAK = re.compile(r"\bBREAK\b")
_BREAKS = Piece("BREAK")  # compared by identity


def parse(prompt: str) -> list[Part]:
    """The parts of a prompt, which BREAK divides, each as pieces.

    A bracket that is never closed ends with the prompt; one that was never opened is an ordinary letter. A backslash
    makes the bracket or backslash after it a letter, and is dropped before any other character. Signs that are `unread`
    stay as written.
    """
    pieces: list[Piece] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for span in _spans(prompt):
        if span.unread:
            pieces.append(Piece(span.text))
        else:
            _read(span.text, pieces, opened)
    for bracket, factor in (("(", MORE), ("[", LESS)):
        for start in opened[bracket]:
            _weigh(pieces, start, factor)
    return [merged(part) for part in _parts(pieces)]


def unread(prompt: str) -> list[str]:
    """The signs that A1111 reads and we do not: [from:to:when], [one|another], AND, and tags like <lora:name:1>."""
    return unread_texts(_spans(prompt))


def _spans(prompt: str) -> list[Span]:
    return spans(prompt, _SCHEDULE, {")": "(", "]": "["}, _schedules)


def _schedules(prompt: str, bracket: Bracket, end: int) -> bool:
    """Whether square brackets hold alternatives, or end with the step or share at which words appear or vanish."""
    if bracket.sign == "(" or not bracket.separators:
        return False
    last = bracket.separators[-1]
    return any(prompt[k] == "|" for k in bracket.separators) or bool(_WHEN.fullmatch(prompt, last + 1, end))


def _read(text: str, pieces: list[Piece], opened: dict[str, list[int]]) -> None:
    """Add the pieces of `text`; `opened` has the number of pieces before each open bracket."""
    at = 0
    for sign in _SIGN.finditer(text):
        pieces += _plain(text[at : sign.start()])
        at = sign.end()
        if sign["open"]:
            opened[sign["open"]].append(len(pieces))
            check_depth(len(opened["("]) + len(opened["["]))
        elif sign["letter"] is not None:
            pieces.append(Piece(sign["letter"]))
        elif sign["close"] and opened["("]:
            _weigh(pieces, opened["("].pop(), float(sign["weight"] or MORE))
        elif sign["shut"] and opened["["]:
            _weigh(pieces, opened["["].pop(), LESS)
        else:
            pieces += _plain(sign[0])
    pieces += _plain(text[at:])


def _plain(text: str) -> list[Piece]:
    first, *others = _BREAK.split(text)
    if not others:
        return [Piece(text)]
    *middle, last = others
    rest = [piece for other in middle for piece in (_BREAKS, Piece(other.strip()))]
    return [Piece(first.rstrip()), *rest, _BREAKS, Piece(last.lstrip())]


def _weigh(pieces: list[Piece], start: int, factor: float) -> None:
    for k in range(start, len(pieces)):
        if pieces[k] is not _BREAKS:
            pieces[k] = Piece(pieces[k].text, pieces[k].weight * factor)


def _parts(pieces: Sequence[Piece]) -> list[list[Piece]]:
    parts: list[list[Piece]] = [[]]
    for piece in pieces:
        if piece is _BREAKS:
            parts.append([])
        elif piece.text:
            parts[-1].append(piece)
    return parts


def cut(words: Sequence[WeightedToken], room: int, tokenizer: ClipTokenizer) -> int:
    """As many tokens as fit; fewer, up to a comma, if there is one among the last 20 of them."""
    count = whole_letters(words, room)
    comma = tokenizer.split(",")[0].id
    if count < room or words[room].id == comma:
        return count
    return next((k + 1 for k in range(room - 1, room - BACK - 1, -1) if words[k].id == comma), room)


def weigh(states: States, chunks: Chunks) -> Tensor:
    """Every state times its weight; then each chunk is scaled back to the mean that its numbers had."""
    plain = states(chunks.ids)
    weighed = plain * chunks.weights[..., None]
    back: Tensor = weighed * (plain.mean((1, 2), keepdim=True) / weighed.mean((1, 2), keepdim=True))
    return back
