"""The walk of a model whose networks are read for their turns: which will be read is said before."""

from collections.abc import Callable, Iterator, Sequence

from torch import nn

from scorefield.core.level import Level
from scorefield.core.presence import Alternating, awaited, present
from scorefield.model.codec import Codec
from scorefield.model.events import Loading
from scorefield.model.spec import ModelSpec
from scorefield.sample.walk import Step


def in_turns(
    spec: ModelSpec,
    walk: Callable[[], Iterator[Step]],
    levels: Sequence[Level],
    before: Sequence[object],
    net: nn.Module,
    codec: Codec,
) -> Iterator[Step | Loading]:
    """The steps of `walk` within a turn of `net`, and a Loading before the work for which a part is read.

    `before` are the networks and codecs that have turns before the first step, which are told together; `codec` has
    one after the last.
    """

    def loading(*owners: object) -> Iterator[Loading]:
        return (Loading(model=spec.name, part=part) for part in awaited(*owners))

    yield from loading(*before)
    steps = walk()
    yield from loading(_at(levels[0], net, spec))
    with present(net):
        yield next(steps)
        for level in levels[1:-1]:  # each of these steps asks the network at its level
            yield from loading(_at(level, net, spec))
            yield next(steps)
        yield from steps
    yield from loading(codec)


def _at(level: Level, net: nn.Module, spec: ModelSpec) -> nn.Module:
    """The network that works at a level: `net`, or one of its experts."""
    turns = getattr(net, "on_demand", None)
    if not isinstance(turns, Alternating) or spec.boundary is None:
        return net
    high, low = turns.nets
    return high if spec.clock(level.lam) >= spec.boundary else low
