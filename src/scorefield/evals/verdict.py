"""The verdict on a picture: whether it shows what its prompt says, by GenEval's rules (Ghosh et al. 2023)."""

import math
from collections import Counter

from scorefield.data.captions import Noun
from scorefield.data.scenes import Scene
from scorefield.data.things import HATTED
from scorefield.evals.judge import Found, Seen

# The most px between the centres of two things, across and up or down.
ON = (28.0, 56.0)  # the first above
NEXT = (84.0, 32.0)
FRONT = (40.0, 60.0)  # the first below
HELD = 64.0  # in any direction


def holds(first: Found, second: Found, relation: str) -> bool:
    """Whether the relation holds between the things' centres: a direction to within 60 degrees, as in GenEval.

    On, riding, in front of, behind, next to and holding have bounds in px.
    """
    right, down = first.x - second.x, first.y - second.y
    if relation == "behind":
        return holds(second, first, "front")
    if relation in ("on", "riding"):
        return abs(right) <= ON[0] and 0 < -down <= ON[1]
    if relation == "next":
        return abs(right) <= NEXT[0] and abs(down) <= NEXT[1]
    if relation == "front":
        return abs(right) <= FRONT[0] and 0 < down <= FRONT[1]
    if relation == "holding":
        return math.hypot(right, down) <= HELD
    along = {"left": -right, "right": right, "above": -down, "below": down}[relation]
    return along > 0.5 * math.hypot(right, down)


def _how_many(nouns: tuple[Noun, ...], found: tuple[Found, ...]) -> list[str]:
    wanted, there = {noun.thing: noun for noun in nouns}, Counter(one.thing for one in found)
    wrong = []
    for name in [*wanted, *sorted(there.keys() - wanted.keys())]:
        noun = wanted.get(name)
        count = noun.count if noun else 0
        enough = there[name] >= 2 if noun and not noun.counted else there[name] == count
        if not enough:
            wrong.append(f"{there[name]} x {name} instead of {count if not noun or noun.counted else 'several'}")
    return wrong


def _qualities(noun: Noun, found: tuple[Found, ...]) -> list[str]:
    """The faults in colours that the prompt names, and in headgear, which must be exactly as named."""
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
    """The faults of a picture of the scene's caption, in words; empty if the picture is right.

    A right picture shows each named thing in its number and nothing else; colours, headgear, the relation and the
    place are as named. A place or colour that is not named is not judged, nor are sizes.
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
