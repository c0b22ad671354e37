"""AUTOMATIC1111's weighting: (more), [less], (as much:1.3), nested, and BREAK for the next chunk."""

import re
from collections.abc import Sequence

from torch import Tensor

from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.chunks import Chunks, WeightedToken, whole_letters
from scorefield.prompt.pieces import Part, Piece, check_depth, merged
from scorefield.prompt.states import States

MORE, LESS = 1.1, 1 / 1.1
BACK = 20  # how many tokens a chunk may be shortened to end with a comma

# Signs that A1111 reads and we do not: scheduling of words and of whole prompts, and a tag for a LoRA.
UNREAD = re.compile(r"\[[^\[\]]*(?::\s*[\d.]+\s*|\|[^\[\]]*)\]|\bAND\b|<(?:lora|lyco|hypernet):[^>]*>")

_SIGN = re.compile(
    r"\\(?P<letter>[()\[\]\\]?)|(?P<open>[(\[])|(?::\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*)?(?P<close>\))|(?P<shut>])"
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_BREAKS = Piece("BREAK")  # this very object, not its equals


def parse(prompt: str) -> list[Part]:
    """The parts of a prompt, which BREAK divides, each as pieces.

    A bracket that is never closed ends with the prompt; one that was never opened is a letter. A backslash makes the
    bracket or backslash behind it a letter, and is dropped before any other character.
    """
    pieces: list[Piece] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    at = 0
    for sign in _SIGN.finditer(prompt):
        pieces += _plain(prompt[at : sign.start()])
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
    pieces += _plain(prompt[at:])
    for bracket, factor in (("(", MORE), ("[", LESS)):
        for start in opened[bracket]:
            _weigh(pieces, start, factor)
    return [merged(part) for part in _parts(pieces)]


def _plain(text: str) -> list[Piece]:
    first, *others = _BREAK.split(text)
    return [Piece(first)] + [piece for other in others for piece in (_BREAKS, Piece(other))]


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
    """Every state times its weight; then each chunk is scaled so that the mean of all its numbers is as before."""
    plain = states(chunks.ids)
    weighed = plain * chunks.weights[..., None]
    back: Tensor = weighed * (plain.mean((1, 2), keepdim=True) / weighed.mean((1, 2), keepdim=True))
    return back
