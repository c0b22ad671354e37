"""Words for the motion of things: for films, and for pictures, which are one frame of them."""

from dataclasses import dataclass
from typing import Literal

from scorefield.data.things import THINGS, Kind

Direction = Literal["left", "right"]
Pace = Literal["slow", "fast"]

DIRECTIONS: dict[Direction, tuple[str, ...]] = {
    "left": ("to the left", "from right to left"),
    "right": ("to the right", "from left to right"),
}
PACES: dict[Pace, tuple[str, ...]] = {"slow": ("slowly",), "fast": ("quickly", "fast")}
OPENINGS: tuple[str, ...] = ("a film of", "a video of", "an animation of", "a clip of")
FAULTS: dict[str, tuple[str, ...]] = {  # fault of a film -> its words
    "blurred": ("blurred", "blurry", "low quality"),
    "still": ("still", "a still picture", "not moving", "frozen"),
    "backwards": ("moving backwards", "walking backwards", "driving backwards", "flying backwards"),
    "flickering": ("flickering",),
    "shaking": ("shaking",),
    "distorted": ("distorted", "deformed"),
}
WEATHER: dict[str, tuple[str, ...]] = {  # place -> phrases for its weather
    "snow": ("snow falls", "snow is falling", "it is snowing"),
    "rain": ("rain falls", "rain is falling", "it is raining"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """One way to move: its verbs (third person and participle), and the things that move this way."""

    verbs: tuple[tuple[str, str], ...]
    kinds: tuple[Kind, ...] = ()
    things: tuple[str, ...] = ()  # in addition to those of the kinds
    sideways: bool = False  # whether it goes to the left or to the right
    aloft: bool = False  # whether it is off the ground
    other: tuple[str, ...] = ()  # phrases between the mover and a second thing; empty without one


MOTIONS: dict[str, Motion] = {
    "drive": Motion(verbs=(("drives", "driving"),), kinds=("vehicle",), sideways=True),
    "walk": Motion(verbs=(("walks", "walking"), ("goes", "going")), kinds=("animal", "person"), sideways=True),
    "traverse": Motion(verbs=(("crosses", "crossing"),), kinds=("animal", "person", "vehicle"), sideways=True),
    "run": Motion(verbs=(("runs", "running"),), kinds=("animal", "person"), sideways=True),
    "swim": Motion(verbs=(("swims", "swimming"),), kinds=("swimmer",), things=("duck", "swan"), sideways=True),
    "sail": Motion(verbs=(("sails", "sailing"),), kinds=("boat",), sideways=True),
    "fly": Motion(verbs=(("flies", "flying"),), kinds=("bird", "aircraft"), sideways=True, aloft=True),
    "leave": Motion(
        verbs=(("flies off", "flying off"), ("flies away", "flying away"), ("takes off", "taking off")),
        kinds=("aircraft", "bird"), aloft=True,
    ),
    "land": Motion(verbs=(("lands", "landing"), ("flies down", "flying down")), kinds=("aircraft", "bird"), aloft=True),
    "rise": Motion(
        verbs=(("rises", "rising"), ("floats up", "floating up"), ("goes up", "going up")),
        kinds=("sky",), things=("balloon", "rocket", "kite", "ufo", "helicopter", "ghost", "heart", "star"), aloft=True,
    ),
    "fall": Motion(
        verbs=(("falls", "falling"), ("falls down", "falling down"), ("drops", "dropping")),
        kinds=("object", "food", "clothes"), things=("leaf", "rose", "flower"), aloft=True,
    ),
    "bounce": Motion(
        verbs=(("bounces", "bouncing"), ("bounces up and down", "bouncing up and down")),
        things=("ball", "basketball", "balloon", "apple", "lemon", "pumpkin"), aloft=True,
    ),
    "roll": Motion(verbs=(("rolls", "rolling"),), things=("ball", "basketball", "apple", "lemon"), sideways=True),
    "jump": Motion(verbs=(("jumps", "jumping"), ("hops", "hopping")), kinds=("animal", "person"), aloft=True),
    "spin": Motion(
        verbs=(("spins", "spinning"), ("turns around", "turning around"), ("rotates", "rotating")),
        kinds=("object", "food", "clothes", "sky"), things=("ufo", "planet", "dancer", "robot"),
    ),
    "dance": Motion(verbs=(("dances", "dancing"),), kinds=("person", "animal")),
    "grow": Motion(verbs=(("grows", "growing"), ("gets bigger", "getting bigger")), kinds=("plant", "food", "animal")),
    "shrink": Motion(
        verbs=(("shrinks", "shrinking"), ("gets smaller", "getting smaller")), kinds=("object", "food", "animal")
    ),
    "move": Motion(
        verbs=(("moves", "moving"), ("slides", "sliding")), kinds=("furniture", "object", "building"), sideways=True
    ),
    "appear": Motion(verbs=(("appears", "appearing"),), kinds=("object", "sky", "person")),
    "vanish": Motion(verbs=(("disappears", "disappearing"),), kinds=("object", "sky", "person")),
    "stand": Motion(verbs=(("stands still", "standing still"),), kinds=("animal", "person", "vehicle")),
    "meet": Motion(
        verbs=(("walks", "walking"), ("runs", "running"), ("goes", "going")), kinds=("animal", "person"),
        sideways=True, other=("to", "towards", "up to"),
    ),
    "chase": Motion(
        verbs=(("chases", "chasing"), ("follows", "following")), kinds=("animal", "person"), sideways=True, other=("",)
    ),
    "cross": Motion(
        verbs=(("cross", "crossing"), ("pass each other", "passing each other"), ("meet", "meeting")),
        kinds=("animal", "person", "vehicle"), sideways=True, other=("and",),
    ),
}  # fmt: skip
FACING_RIGHT = frozenset({"airplane", "rocket", "bicycle", "superhero"})  # as drawn; all others face left or the viewer


def movers(name: str) -> tuple[str, ...]:
    """The things that can move in that way."""
    motion = MOTIONS[name]
    return tuple(thing.name for thing in THINGS if thing.kind in motion.kinds or thing.name in motion.things)


def flipped(thing: str, direction: Direction | None) -> bool:
    """Whether the sprite of a thing must be mirrored to face the way it goes."""
    return direction is not None and (direction == "right") != (thing in FACING_RIGHT)
