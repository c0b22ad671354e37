"""The rules by which signs in a prompt weigh its words, by name; they differ in signs, in arithmetic and in chunks."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from scorefield.prompt import a1111, comfy, compel
from scorefield.prompt.chunks import Chunks, Cut, whole_words
from scorefield.prompt.pieces import Part, Piece
from scorefield.prompt.rules import Weighting
from scorefield.prompt.states import States

_WEIGHT = re.compile(r"\([^()]*:\s*\d*\.?\d+\s*\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a prompt is divided, where chunks of it end, what weights do to its states (n, L, D), what is not read."""

    parse: Callable[[str], list[Part]]
    cut: Cut
    weigh: Callable[[States, Chunks], Tensor]
    unread: re.Pattern[str]  # signs that mean more elsewhere than they do here


RULES: Mapping[Weighting, Rule] = {
    "none": Rule(
        parse=lambda prompt: [[Piece(prompt)]],
        cut=whole_words,
        weigh=lambda states, chunks: states(chunks.ids),
        unread=_WEIGHT,
    ),
    "a1111": Rule(parse=a1111.parse, cut=a1111.cut, weigh=a1111.weigh, unread=a1111.UNREAD),
    "comfy": Rule(parse=comfy.parse, cut=whole_words, weigh=comfy.weigh, unread=comfy.UNREAD),
    "compel": Rule(parse=compel.parse, cut=compel.cut, weigh=compel.weigh, unread=compel.UNREAD),
}
