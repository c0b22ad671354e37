"""What a scene can hold: the things, places, colours, relations and styles, with the words for them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thing:
    """One kind of thing: its glyph in the font, its words, and what may be done to it."""

    name: str
    glyph: str
    plural: str
    synonyms: tuple[str, ...] = ()
    coloured: bool = False  # its colour may be moved
    hat_at: tuple[float, float, float] | None = None  # a hat's centre x, brim y, width, as shares of the sprite


def _thing(
    name: str,
    glyph: str,
    *synonyms: str,
    plural: str | None = None,
    coloured: bool = False,
    hat_at: tuple[float, float, float] | None = None,
) -> Thing:
    return Thing(name, glyph, plural or f"{name}s", synonyms, coloured, hat_at)


THINGS: tuple[Thing, ...] = (
    _thing("tree", "🌳"),
    _thing("palm tree", "🌴"),
    _thing("cactus", "🌵", plural="cactuses"),
    _thing("flower", "🌷", "tulip", coloured=True),
    _thing("sunflower", "🌻"),
    _thing("mushroom", "🍄"),
    _thing("cat", "🐈", "kitty", hat_at=(0.27, 0.13, 0.42)),
    _thing("dog", "🐕", hat_at=(0.40, 0.12, 0.46)),
    _thing("puppy", "🐶", plural="puppies", hat_at=(0.5, 0.12, 0.66)),
    _thing("horse", "🐎", "pony"),
    _thing("mouse", "🐁", plural="mice"),
    _thing("leopard", "🐆"),
    _thing("snake", "🐍"),
    _thing("otter", "🦦"),
    _thing("parrot", "🦜", hat_at=(0.38, 0.10, 0.46)),
    _thing("skunk", "🦨"),
    _thing("penguin", "🐧", hat_at=(0.42, 0.10, 0.5)),
    _thing("lion", "🦁", hat_at=(0.5, 0.15, 0.7)),
    _thing("bear", "🐻", hat_at=(0.5, 0.13, 0.66)),
    _thing("panda", "🐼", hat_at=(0.5, 0.13, 0.66)),
    _thing("fox", "🦊", plural="foxes", hat_at=(0.5, 0.28, 0.5)),
    _thing("rabbit", "🐇", "bunny"),
    _thing("cow", "🐄"),
    _thing("pig", "🐷", hat_at=(0.5, 0.14, 0.6)),
    _thing("sheep", "🐑", "lamb", plural="sheep"),
    _thing("elephant", "🐘"),
    _thing("owl", "🦉", hat_at=(0.5, 0.16, 0.6)),
    _thing("duck", "🦆", hat_at=(0.36, 0.10, 0.42)),
    _thing("frog", "🐸", hat_at=(0.5, 0.2, 0.5)),
    _thing("turtle", "🐢"),
    _thing("fish", "🐟", plural="fish", coloured=True),
    _thing("butterfly", "🦋", plural="butterflies"),
    _thing("man", "👨", plural="men", hat_at=(0.5, 0.2, 0.92)),
    _thing("woman", "👩", plural="women", hat_at=(0.5, 0.2, 0.92)),
    _thing("astronaut", "🧑‍🚀", "spaceman"),
    _thing("robot", "🤖", hat_at=(0.5, 0.14, 0.66)),
    _thing("snowman", "⛄", plural="snowmen"),
    _thing("car", "🚗", coloured=True),
    _thing("bicycle", "🚲", "bike"),
    _thing("train", "🚂"),
    _thing("boat", "⛵", "sailboat", coloured=True),
    _thing("airplane", "✈", "plane"),
    _thing("rocket", "🚀"),
    _thing("balloon", "🎈", coloured=True),
    _thing("house", "🏠"),
    _thing("tent", "⛺", coloured=True),
    _thing("campfire", "🔥", "fire"),
    _thing("avocado", "🥑"),
    _thing("armchair", "🛋", "sofa", "couch", coloured=True),
    _thing("chair", "🪑", coloured=True),
    _thing("book", "📕", coloured=True),
    _thing("key", "🔑"),
    _thing("umbrella", "☂", coloured=True),
    _thing("crown", "👑"),
    _thing("hat", "🎩"),
    _thing("shoe", "👟", "sneaker", coloured=True),
    _thing("dress", "👗", plural="dresses", coloured=True),
    _thing("shirt", "👕", coloured=True),
    _thing("bag", "👜", "handbag", coloured=True),
    _thing("cup", "☕"),
    _thing("apple", "🍎"),
    _thing("banana", "🍌"),
    _thing("cake", "🎂"),
    _thing("guitar", "🎸", coloured=True),
    _thing("heart", "❤", coloured=True),
    _thing("star", "⭐", coloured=True),
    _thing("gift", "🎁", "present", coloured=True),
)

WORN: dict[str, str] = {"hat": "🎩", "cap": "🧢", "helmet": "⛑"}  # what a head can wear: word -> glyph

BY_NAME: dict[str, Thing] = {thing.name: thing for thing in THINGS}

# Dark, middle and light of each colour: the sprite's shading runs along this ramp.
COLOURS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]] = {
    "red": ((110, 8, 12), (224, 32, 36), (255, 130, 120)),
    "orange": ((150, 60, 0), (250, 130, 10), (255, 196, 120)),
    "yellow": ((150, 120, 0), (252, 220, 20), (255, 246, 150)),
    "green": ((6, 74, 20), (40, 160, 56), (150, 226, 150)),
    "blue": ((8, 28, 110), (30, 92, 224), (140, 190, 255)),
    "purple": ((50, 10, 94), (124, 50, 186), (206, 160, 246)),
    "pink": ((176, 50, 110), (255, 130, 188), (255, 210, 232)),
    "black": ((4, 4, 6), (34, 34, 38), (104, 104, 112)),
    "white": ((150, 150, 156), (236, 236, 240), (255, 255, 255)),
}

PLACES: dict[str, tuple[str, ...]] = {  # place -> its phrases
    "desert": ("in the desert", "in a desert"),
    "beach": ("on the beach", "at the beach"),
    "meadow": ("in a meadow", "in the meadow", "on the grass"),
    "snow": ("in the snow",),
    "sea": ("in the sea", "at sea", "in the ocean"),
    "night": ("at night", "in the night"),
    "space": ("in space", "in outer space"),
    "city": ("in the city", "in a city"),
    "forest": ("in the forest", "in a forest"),
    "room": ("in a room", "in the room"),
    "white": ("on a white background", "on a plain white background"),
    "grey": ("on a grey background", "on a plain grey background"),
    "blue": ("on a blue background", "on a plain blue background"),
    "green": ("on a green background", "on a plain green background"),
    "pink": ("on a pink background", "on a plain pink background"),
}

RELATIONS: dict[str, tuple[str, ...]] = {  # relation of the first thing to the second -> its phrases
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above",),
    "below": ("below", "under"),
    "on": ("on", "on top of"),
}

STYLES: dict[str, tuple[str, ...]] = {  # style -> its phrases, each followed by the noun
    "pencil": ("a pencil drawing of", "a pencil sketch of"),
    "watercolour": ("a watercolour of", "a watercolour painting of", "a watercolor painting of"),
    "pixel": ("pixel art of", "a pixel art picture of"),
}
PLAIN_STYLE: tuple[str, ...] = ("", "", "", "a picture of", "a photo of")  # phrases of no style at all

SIZES: tuple[str, ...] = ("small", "big")
NUMBERS: tuple[str, ...] = ("one", "two", "three")
