"""Whether a picture shows what its prompt says, judged as GenEval does (Ghosh et al. 2023), and what is wrong."""

import math
from collections import Counter

from scorefield.data.captions import Noun
from scorefield.data.scenes import HATTED, Scene
from scorefield.evals.judge import Found, Seen

ON = (28.0, 56.0)  # px: how far aside, and how far above, a thing's centre may be of what it stands on


def holds(first: Found, second: Found, relation: str) -> bool:
    """Whether the first thing's centre lies `relation` of the second's: within 60 degrees of it, as in GenEval."""
    right, down = first.x - second.x, first.y - second.y
    if relation == "on":
        return abs(right) <= ON[0] and 0 < -down <= ON[1]
    along = {"left": -right, "right": right, "above": -down, "below": down}[relation]
    return along > 0.5 * math.hypot(right, down)


def _how_many(nouns: tuple[Noun, ...], found: tuple[Found, ...]) -> list[str]:
    wanted, there = {noun.thing: noun.count for noun in nouns}, Counter(one.thing for one in found)
    names = [*wanted, *sorted(there.keys() - wanted.keys())]
    return [
        f"{there[name]} x {name} instead of {wanted.get(name, 0)}"
        for name in names
        if there[name] != wanted.get(name, 0)
    ]


def _qualities(noun: Noun, found: tuple[Found, ...]) -> list[str]:
    """Colours that were said, and headgear: what was said, and none that was not."""
    wrong = []
    for one in found:
        if one.thing != noun.thing:
            continue
        if noun.colour is not None and one.colour != noun.colour:
            wrong.append(f"the {noun.thing} is {one.colour} instead of {noun.colour}")
        if noun.thing in HATTED and one.worn != noun.worn:
            wrong.append(f"the {noun.thing} wears {one.worn or 'nothing'} instead of {noun.worn or 'nothing'}")
    return wrong


def faults(scene: Scene, seen: Seen) -> list[str]:
    """What is wrong in a picture of the scene's caption, in words; nothing if the picture is right.

    Every thing named is there in its number and nothing besides; colours, headgear, the relation and the place are
    as said. What is not said (a place, a colour, a size) is not judged, nor are sizes.
    """
    wrong = _how_many(scene.nouns, seen.found)
    if scene.relation is not None and not wrong:
        first, second = (next(one for one in seen.found if one.thing == noun.thing) for noun in scene.nouns)
        if not holds(first, second, scene.relation):
            wrong.append(f"the {first.thing} is not {scene.relation} the {second.thing}")
    for noun in scene.nouns:
        wrong += _qualities(noun, seen.found)
    if scene.place_said and seen.place != scene.place:
        wrong.append(f"the place is {seen.place} instead of {scene.place}")
    return wrong
