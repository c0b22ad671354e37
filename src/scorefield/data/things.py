"""The things of scenes, each with its glyph, its words, and the changes that it allows."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "plant", "animal", "bird", "swimmer", "person", "vehicle", "boat", "aircraft", "building", "furniture",
    "object", "clothes", "food", "sky",
]  # fmt: skip
Dye = Literal["hue", "whole"]


@dataclass(frozen=True, slots=True)
class Thing:
    """One kind of thing: its glyph in the font, its words, and the changes that it allows."""

    name: str
    glyph: str
    plural: str
    kind: Kind
    synonyms: tuple[str, ...] = ()
    dye: Dye | None = "hue"  # what a colour changes: the commonest hue, the whole sprite, or nothing
    hat_at: tuple[float, float, float] | None = None  # a hat's centre x, brim y, width, as shares of the sprite
    holds: bool = False  # whether it can hold another thing
    hard: bool = False  # hard to draw, so scenes show it twice as often

    @property
    def plurals(self) -> tuple[str, ...]:
        """The plural and those of the synonyms."""
        return (self.plural, *(_plural(synonym) for synonym in self.synonyms if " of " not in synonym))


IRREGULAR = {"spaceman": "spacemen", "maple leaf": "maple leaves"}


def _plural(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("ch", "sh", "s", "x")) else f"{word}s"


def _thing(
    name: str,
    glyph: str,
    kind: Kind,
    *synonyms: str,
    plural: str | None = None,
    dye: Dye | None = "hue",
    hat_at: tuple[float, float, float] | None = None,
    holds: bool = False,
    hard: bool = False,
) -> Thing:
    return Thing(name, glyph, plural or f"{name}s", kind, synonyms, dye, hat_at, holds, hard)


THINGS: tuple[Thing, ...] = (
    _thing("tree", "🌳", "plant"),
    _thing("palm tree", "🌴", "plant"),
    _thing("cactus", "🌵", "plant", plural="cactuses"),
    _thing("flower", "🌷", "plant", "tulip"),
    _thing("sunflower", "🌻", "plant"),
    _thing("mushroom", "🍄", "plant"),
    _thing("cat", "🐈", "animal", hat_at=(0.27, 0.13, 0.42), hard=True),
    _thing("dog", "🐕", "animal", hat_at=(0.40, 0.12, 0.46), hard=True),
    _thing("puppy", "🐶", "animal", plural="puppies", hat_at=(0.5, 0.12, 0.66)),
    _thing("horse", "🐎", "animal", "pony", hard=True),
    _thing("mouse", "🐁", "animal", plural="mice", dye="whole", hard=True),
    _thing("leopard", "🐆", "animal"),
    _thing("snake", "🐍", "animal", hard=True),
    _thing("otter", "🦦", "animal"),
    _thing("parrot", "🦜", "bird", hat_at=(0.38, 0.10, 0.46)),
    _thing("skunk", "🦨", "animal", dye="whole", hard=True),
    _thing("penguin", "🐧", "bird", dye="whole", hat_at=(0.42, 0.10, 0.5), holds=True),
    _thing("lion", "🦁", "animal", hat_at=(0.5, 0.15, 0.7)),
    _thing("bear", "🐻", "animal", hat_at=(0.5, 0.13, 0.66)),
    _thing("panda", "🐼", "animal", dye="whole", hat_at=(0.5, 0.13, 0.66)),
    _thing("fox", "🦊", "animal", plural="foxes", hat_at=(0.5, 0.28, 0.5)),
    _thing("rabbit", "🐇", "animal", "bunny", dye="whole"),
    _thing("cow", "🐄", "animal", dye="whole"),
    _thing("pig", "🐷", "animal", hat_at=(0.5, 0.14, 0.6)),
    _thing("sheep", "🐑", "animal", "lamb", plural="sheep", dye="whole"),
    _thing("elephant", "🐘", "animal", dye="whole", hard=True),
    _thing("owl", "🦉", "bird", hat_at=(0.5, 0.16, 0.6), hard=True),
    _thing("duck", "🦆", "bird", dye="whole", hat_at=(0.36, 0.10, 0.42)),
    _thing("frog", "🐸", "animal", hat_at=(0.5, 0.2, 0.5)),
    _thing("turtle", "🐢", "animal"),
    _thing("fish", "🐟", "swimmer", plural="fish"),
    _thing("butterfly", "🦋", "bird", plural="butterflies"),
    _thing("man", "👨", "person", plural="men", hat_at=(0.5, 0.2, 0.92), holds=True),
    _thing("woman", "👩", "person", plural="women", hat_at=(0.5, 0.2, 0.92), holds=True),
    _thing("astronaut", "🧑‍🚀", "person", "spaceman", dye="whole", holds=True),
    _thing("robot", "🤖", "person", dye="whole", hat_at=(0.5, 0.14, 0.66), holds=True),
    _thing("snowman", "⛄", "person", plural="snowmen", dye="whole", hat_at=(0.5, 0.14, 0.62), holds=True),
    _thing("car", "🚗", "vehicle"),
    _thing("bicycle", "🚲", "vehicle", "bike", dye="whole", hard=True),
    _thing("train", "🚂", "vehicle", "locomotive", dye="whole"),
    _thing("boat", "⛵", "boat", "sailboat"),
    _thing("airplane", "✈", "aircraft", "plane", dye="whole"),
    _thing("rocket", "🚀", "aircraft", "spaceship"),
    _thing("balloon", "🎈", "object"),
    _thing("house", "🏠", "building", "home"),
    _thing("tent", "⛺", "building"),
    _thing("campfire", "🔥", "object", "fire", "bonfire"),
    _thing("avocado", "🥑", "food"),
    _thing("armchair", "🛋", "furniture", "sofa", "couch"),
    _thing("chair", "🪑", "furniture"),
    _thing("book", "📕", "object"),
    _thing("key", "🔑", "object"),
    _thing("umbrella", "☂", "object"),
    _thing("crown", "👑", "clothes"),
    _thing("hat", "🎩", "clothes", dye="whole"),
    _thing("shoe", "👟", "clothes", "sneaker"),
    _thing("dress", "👗", "clothes", plural="dresses"),
    _thing("shirt", "👕", "clothes"),
    _thing("bag", "👜", "clothes", "handbag"),
    _thing("cup", "☕", "object", "mug", "cup of coffee", dye="whole"),
    _thing("apple", "🍎", "food"),
    _thing("banana", "🍌", "food"),
    _thing("cake", "🎂", "food", "birthday cake"),
    _thing("guitar", "🎸", "object"),
    _thing("heart", "❤", "object"),
    _thing("star", "⭐", "object"),
    _thing("gift", "🎁", "object", "present", dye="whole"),
    _thing("pine tree", "🌲", "plant", "fir tree"),
    _thing("rose", "🌹", "plant"),
    _thing("leaf", "🍁", "plant", "maple leaf", plural="leaves"),
    _thing("mountain", "🏔", "building", dye=None),
    _thing("volcano", "🌋", "building", plural="volcanoes", dye=None),
    _thing("rainbow", "🌈", "sky", dye=None),
    _thing("cloud", "☁", "sky", dye="whole"),
    _thing("sun", "☀", "sky"),
    _thing("moon", "🌙", "sky"),
    _thing("planet", "🪐", "sky", dye="whole"),
    _thing("kitten", "🐱", "animal", "kitty", hat_at=(0.5, 0.2, 0.56)),
    _thing("tiger", "🐅", "animal"),
    _thing("wolf", "🐺", "animal", plural="wolves", dye="whole", hat_at=(0.5, 0.24, 0.5)),
    _thing("monkey", "🐒", "animal", hat_at=(0.36, 0.1, 0.46), holds=True),
    _thing("unicorn", "🦄", "animal", dye="whole"),
    _thing("zebra", "🦓", "animal", dye="whole"),
    _thing("deer", "🦌", "animal", plural="deer"),
    _thing("camel", "🐫", "animal"),
    _thing("giraffe", "🦒", "animal"),
    _thing("squirrel", "🐿", "animal"),
    _thing("hedgehog", "🦔", "animal"),
    _thing("koala", "🐨", "animal", dye="whole", hat_at=(0.5, 0.14, 0.56)),
    _thing("kangaroo", "🦘", "animal"),
    _thing("chicken", "🐔", "bird", "hen", dye="whole"),
    _thing("bird", "🐦", "bird"),
    _thing("eagle", "🦅", "bird", dye="whole"),
    _thing("swan", "🦢", "bird", dye="whole"),
    _thing("flamingo", "🦩", "bird"),
    _thing("crocodile", "🐊", "animal", "alligator"),
    _thing("dragon", "🐉", "animal"),
    _thing("dinosaur", "🦖", "animal"),
    _thing("whale", "🐳", "swimmer"),
    _thing("dolphin", "🐬", "swimmer"),
    _thing("shark", "🦈", "swimmer", dye="whole"),
    _thing("octopus", "🐙", "swimmer", plural="octopuses"),
    _thing("crab", "🦀", "animal"),
    _thing("snail", "🐌", "animal", hard=True),
    _thing("bee", "🐝", "bird"),
    _thing("ladybug", "🐞", "animal", "ladybird"),
    _thing("spider", "🕷", "animal", dye="whole"),
    _thing("raccoon", "🦝", "animal", dye="whole", hat_at=(0.5, 0.2, 0.5)),
    _thing("person", "🧍", "person", plural="people", hat_at=(0.5, 0.08, 0.56), holds=True, hard=True),
    _thing("boy", "👦", "person", hat_at=(0.5, 0.22, 0.86), holds=True),
    _thing("girl", "👧", "person", hat_at=(0.5, 0.22, 0.86), holds=True),
    _thing("baby", "👶", "person", plural="babies", hat_at=(0.5, 0.22, 0.8)),
    _thing("dancer", "💃", "person", hard=True),
    _thing("princess", "👸", "person", plural="princesses", holds=True),
    _thing("wizard", "🧙‍♂️", "person"),
    _thing("santa", "🎅", "person", plural="santas", holds=True),
    _thing("mermaid", "🧜‍♀️", "person"),
    _thing("ninja", "🥷", "person", dye="whole", holds=True),
    _thing("chef", "🧑‍🍳", "person", "cook", dye="whole"),
    _thing("alien", "👽", "person", dye="whole", hat_at=(0.5, 0.18, 0.72), holds=True),
    _thing("ghost", "👻", "person", dye="whole", hat_at=(0.47, 0.1, 0.52), holds=True),
    _thing("pumpkin", "🎃", "object", hat_at=(0.5, 0.22, 0.6)),
    _thing("teddy bear", "🧸", "object", "teddy", hat_at=(0.5, 0.1, 0.46), holds=True),
    _thing("superhero", "🦸", "person", plural="superheroes"),
    _thing("skull", "💀", "object", dye="whole", hat_at=(0.5, 0.16, 0.66)),
    _thing("bus", "🚌", "vehicle", plural="buses", dye="whole"),
    _thing("truck", "🚚", "vehicle", "lorry", dye="whole"),
    _thing("tractor", "🚜", "vehicle"),
    _thing("motorcycle", "🏍", "vehicle", "motorbike"),
    _thing("ship", "🚢", "boat", dye="whole"),
    _thing("helicopter", "🚁", "aircraft"),
    _thing("ufo", "🛸", "aircraft", "flying saucer", dye="whole"),
    _thing("fire truck", "🚒", "vehicle", "fire engine"),
    _thing("castle", "🏰", "building", dye="whole"),
    _thing("cabin", "🛖", "building", "hut", "cottage", dye="whole"),
    _thing("church", "⛪", "building", plural="churches", dye="whole"),
    _thing("skyscraper", "🏢", "building", "building", dye="whole"),
    _thing("fountain", "⛲", "building", dye="whole"),
    _thing("ferris wheel", "🎡", "building", dye=None),
    _thing("bed", "🛏", "furniture"),
    _thing("lamp", "💡", "object", "light bulb", "bulb"),
    _thing("candle", "🕯", "object", dye="whole"),
    _thing("clock", "⏰", "object", "alarm clock"),
    _thing("television", "📺", "furniture", "tv"),
    _thing("phone", "📱", "object", "smartphone", dye=None),
    _thing("laptop", "💻", "object", "computer", dye="whole"),
    _thing("camera", "📷", "object", dye="whole"),
    _thing("piano", "🎹", "furniture", dye="whole"),
    _thing("violin", "🎻", "object"),
    _thing("trumpet", "🎺", "object"),
    _thing("drum", "🥁", "object"),
    _thing("ball", "⚽", "object", "football", "soccer ball", dye="whole"),
    _thing("basketball", "🏀", "object"),
    _thing("kite", "🪁", "object", dye="whole"),
    _thing("flag", "🚩", "object"),
    _thing("trophy", "🏆", "object", plural="trophies"),
    _thing("diamond", "💎", "object", "gem"),
    _thing("sword", "🗡", "object", dye="whole"),
    _thing("box", "📦", "object", plural="boxes"),
    _thing("backpack", "🎒", "clothes"),
    _thing("pizza", "🍕", "food", "slice of pizza", dye=None),
    _thing("hamburger", "🍔", "food", "burger", dye=None),
    _thing("ice cream", "🍦", "food", plural="ice creams", dye="whole"),
    _thing("donut", "🍩", "food", "doughnut"),
    _thing("carrot", "🥕", "food"),
    _thing("strawberry", "🍓", "food", plural="strawberries"),
    _thing("pineapple", "🍍", "food"),
    _thing("watermelon", "🍉", "food", dye=None),
    _thing("cupcake", "🧁", "food"),
    _thing("lemon", "🍋", "food"),
    _thing("cheese", "🧀", "food", plural="cheeses"),
)

WORN: dict[str, str] = {"hat": "🎩", "cap": "🧢", "helmet": "⛑", "crown": "👑"}  # headgear -> glyph

BY_NAME: dict[str, Thing] = {thing.name: thing for thing in THINGS}
NAMES: tuple[str, ...] = tuple(BY_NAME)
COLOURED: tuple[str, ...] = tuple(thing.name for thing in THINGS if thing.dye)
HATTED: frozenset[str] = frozenset(thing.name for thing in THINGS if thing.hat_at)
HOLDERS: tuple[str, ...] = tuple(thing.name for thing in THINGS if thing.holds)
HELD: tuple[str, ...] = tuple(thing.name for thing in THINGS if thing.kind in ("object", "food", "clothes"))
MOUNTS: tuple[str, ...] = (
    "horse", "bicycle", "motorcycle", "camel", "elephant", "unicorn", "dragon", "giraffe", "turtle", "dinosaur",
    "whale", "cow", "tiger", "zebra", "rocket", "tractor",
)  # fmt: skip
RIDERS: tuple[str, ...] = tuple(
    thing.name for thing in THINGS if thing.holds or thing.name in ("cat", "dog", "superhero", "frog", "puppy", "baby")
)
