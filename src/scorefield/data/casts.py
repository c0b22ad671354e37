"""The casts of films: which things play in each motion, and in which places."""

from dataclasses import dataclass

LAND = ("desert", "beach", "meadow", "snow", "rain", "city", "forest", "moon")
PLAIN = ("white", "blue", "green")
WATER = ("sea", "underwater")
AIR = ("sky", "night", "space")
FILM_PLACES = (*LAND, *PLAIN, *WATER, *AIR)

VEHICLES = ("car", "bus", "truck", "train", "tractor", "fire truck", "motorcycle", "bicycle")
WALKERS = (
    "dog", "cat", "horse", "cow", "elephant", "sheep", "rabbit", "camel", "tiger", "zebra", "dinosaur", "turtle",
    "mouse", "astronaut", "robot", "person", "dancer",
)  # fmt: skip
SWIMMERS = ("fish", "whale", "dolphin", "shark", "duck", "swan")
BOATS = ("boat", "ship")
FLYERS = ("bird", "eagle", "parrot", "butterfly", "bee", "airplane", "rocket", "helicopter", "ufo")
RISERS = ("balloon", "kite", "heart", "star", "sun", "moon", "ufo", "helicopter", "rocket")
ROUND = ("ball", "basketball", "apple", "lemon")
FALLERS = (*ROUND, "leaf", "key", "book", "umbrella", "gift", "hat")
HELD = ("flag", "laptop", "umbrella", "balloon", "book", "heart", "star", "gift", "key")
STANDING = (
    "house", "tree", "castle", "tent", "cabin", "church", "pine tree", "car", "bus", "bicycle", "dog", "cat", "horse",
    "elephant", "astronaut", "robot", "person",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Who plays in a motion, and where; `others` are second things."""

    things: tuple[str, ...]
    places: tuple[str, ...] = (*LAND, *PLAIN)
    others: tuple[str, ...] = ()


ROLES: dict[str, Role] = {  # motion, or relation of two things, or weather
    "drive": Role(things=VEHICLES),
    "walk": Role(things=WALKERS),
    "run": Role(things=WALKERS),
    "traverse": Role(things=(*WALKERS, *VEHICLES)),
    "swim": Role(things=SWIMMERS, places=WATER),
    "sail": Role(things=BOATS, places=("sea",)),
    "fly": Role(things=FLYERS, places=(*LAND, *PLAIN, *AIR)),
    "leave": Role(things=FLYERS, places=(*LAND, *PLAIN, "night")),
    "land": Role(things=FLYERS, places=(*LAND, *PLAIN, "night")),
    "rise": Role(things=RISERS, places=(*LAND, *PLAIN, *AIR)),
    "fall": Role(things=FALLERS),
    "bounce": Role(things=(*ROUND, "pumpkin", "balloon")),
    "roll": Role(things=ROUND),
    "meet": Role(things=WALKERS, others=(*WALKERS, "tree", "house", "tent")),
    "cross": Role(things=(*WALKERS, *VEHICLES), others=(*WALKERS, *VEHICLES)),
    "riding": Role(
        things=("astronaut", "robot", "person", "cat", "dog"),
        others=("horse", "bicycle", "motorcycle", "camel", "elephant", "cow", "zebra", "turtle", "dinosaur"),
    ),
    "holding": Role(things=("astronaut", "robot", "person"), others=HELD),
    "weather": Role(things=STANDING, places=("snow", "rain")),
}
FILM_THINGS = tuple(dict.fromkeys(name for role in ROLES.values() for name in (*role.things, *role.others)))
