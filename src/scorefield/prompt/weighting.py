"""The weighting rules by name. Each has its own signs, arithmetic and division into chunks."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from scorefield.prompt import a1111, comfy, compel
from scorefield.prompt.chunks import Chunks, Cut, States, whole_words
from scorefield.prompt.pieces import Part, Piece
from scorefield.prompt.rules import Weighting

_WEIGHT = re.compile(r"\([^()]*:\s*(?:\d+(?:\.\d+)?|\.\d+)\s*\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How one program reads the signs of a prompt."""

    parse: Callable[[str], list[Part]]  # a prompt -> its parts, in pieces of one weight
    cut: Cut  # where a chunk ends
    weigh: Callable[[States, Chunks], Tensor]  # -> the weighted states (n, L, D)
    unread: Callable[[str], list[str]]  # the signs that this or another program interprets, and we do not


RULES: Mapping[Weighting, Rule] = {
    "none": Rule(
        parse=lambda prompt: [[Piece(prompt)]],
        cut=whole_words,
        weigh=lambda states, chunks: states(chunks.ids),
        unread=_WEIGHT.findall,
    ),
    "a1111": Rule(parse=a1111.parse, cut=a1111.cut, weigh=a1111.weigh, unread=a1111.unread),
    "comfy": Rule(parse=comfy.parse, cut=whole_words, weigh=comfy.weigh, unread=comfy.unread),
    "compel": Rule(parse=compel.parse, cut=compel.cut, weigh=compel.weigh, unread=compel.unread),
}
