"""The phrases of captions, other than the names of things: places, relations, styles, sizes, openings."""

PLACES: dict[str, tuple[str, ...]] = {  # place -> its phrases
    "desert": ("in the desert", "in a desert"),
    "beach": ("on the beach", "at the beach", "on the shore"),
    "meadow": ("in a meadow", "in the meadow", "on the grass", "in a field", "in the park", "in the garden"),
    "snow": ("in the snow", "in winter"),
    "sea": ("in the sea", "at sea", "in the ocean", "on the water"),
    "night": ("at night", "in the night", "under the stars"),
    "space": ("in space", "in outer space"),
    "city": ("in the city", "in a city", "on the street", "on the road", "in town"),
    "forest": ("in the forest", "in a forest", "in the woods"),
    "room": ("in a room", "in the room", "at home", "in the kitchen", "in the bedroom"),
    "white": ("on a white background", "on a plain white background"),
    "grey": ("on a grey background", "on a plain grey background", "on a gray background"),
    "blue": ("on a blue background", "on a plain blue background"),
    "green": ("on a green background", "on a plain green background"),
    "pink": ("on a pink background", "on a plain pink background"),
    "yellow": ("on a yellow background", "on a plain yellow background"),
    "red": ("on a red background", "on a plain red background"),
    "black": ("on a black background", "on a plain black background"),
    "mountains": ("in the mountains", "on a mountain"),
    "lake": ("at the lake", "by a lake", "by the river"),
    "farm": ("on a farm", "at the farm", "in the countryside"),
    "jungle": ("in the jungle", "in the rainforest"),
    "underwater": ("under water", "underwater", "under the sea"),
    "sky": ("in the sky", "in the clouds", "in the air"),
    "sunset": ("at sunset", "at dusk", "in the evening"),
    "rain": ("in the rain", "on a rainy day"),
    "moon": ("on the moon", "on mars"),
    "meeting": ("in a meeting", "at a meeting", "in the office", "at work"),
}

RELATIONS: dict[str, tuple[str, ...]] = {  # relation of the first thing to the second -> its phrases
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "underneath"),
    "on": ("on", "on top of", "sitting on", "standing on"),
    "next": ("next to", "beside", "near", "by", "with"),
    "front": ("in front of",),
    "behind": ("behind",),
    "holding": ("holding", "carrying"),
    "riding": ("riding", "on"),
}
NO_VERB = frozenset({"holding", "riding"})  # relations that are never preceded by "is"

STYLES: dict[str, tuple[str, ...]] = {  # style -> its phrases, each followed by the noun
    "pencil": ("a pencil drawing of", "a pencil sketch of", "a sketch of"),
    "watercolour": (
        "a watercolour of", "a watercolour painting of", "a watercolor painting of", "a painting of",
        "a watercolor of",
    ),
    "pixel": ("pixel art of", "a pixel art picture of", "8 bit pixel art of"),
    "mono": ("a black and white photo of", "a black and white picture of"),
    "blurred": ("a blurred picture of", "a blurry photo of", "a blurry picture of"),
    "distorted": ("a distorted picture of", "a deformed picture of", "a bad drawing of", "an ugly picture of"),
}  # fmt: skip
STYLE_TAILS: dict[str, tuple[str, ...]] = {  # style -> its phrases for the start or the end of a caption
    "pencil": ("pencil drawing", "pencil sketch", "in pencil", "as a pencil drawing", "in the style of a sketch"),
    "watercolour": ("watercolour", "watercolour style", "watercolor", "in watercolour", "watercolor painting"),
    "pixel": ("pixel art", "pixel art style", "in pixel art", "in the style of pixel art", "8 bit"),
    "mono": ("black and white", "in black and white", "monochrome", "greyscale"),
    "blurred": ("blurred", "blurry", "out of focus"),
    "distorted": ("distorted", "deformed", "low quality", "bad quality", "worst quality", "broken", "melted"),
}
PLAIN_STYLE: tuple[str, ...] = ("",) * 16 + (  # openings without a style
    "a picture of", "a picture of", "a photo of", "a photo of", "an image of", "a photograph of", "a drawing of",
    "an illustration of", "a cartoon of", "an emoji of", "draw", "show me", "there is", "please draw", "paint",
    "create", "i want",
)  # fmt: skip
QUALITIES: tuple[str, ...] = (  # phrases that people add, and that change nothing in pictures like these
    "highly detailed", "detailed", "high quality", "best quality", "sharp", "masterpiece", "4k", "realistic",
    "digital art", "illustration", "cartoon", "cartoon style", "emoji", "colourful style", "clean", "photo",
)  # fmt: skip

SIZES: dict[str, tuple[str, ...]] = {  # size -> its words
    "small": ("small", "little", "tiny"),
    "big": ("big", "large", "huge", "giant"),
}
MOODS: tuple[str, ...] = (  # adjectives that people type, and that these pictures do not show
    "cute", "cozy", "cosy", "lovely", "beautiful", "happy", "funny", "old", "young", "pretty", "nice", "magical",
    "wooden", "cool", "friendly", "sad", "spooky", "scary", "magic",
)  # fmt: skip
POSES: tuple[str, ...] = (  # words for animals and people that change nothing in the picture
    "sitting", "standing", "sleeping", "smiling", "playing", "resting", "waiting", "alone", "looking at me",
)  # fmt: skip
VIEWS: tuple[str, ...] = ("", "a scene", "a landscape", "a view")  # before a place, if the caption names nothing else
NUMBERS: tuple[str, ...] = ("one", "two", "three", "four", "five")
SEVERAL: tuple[str, ...] = ("", "some", "several", "many", "a group of", "lots of", "a few")  # in place of a number
GRAMMAR: tuple[str, ...] = (
    "a", "an", "and", "is", "are", "the", "my", "wearing", "with", "without", "in", "of", "pair", ",",
)  # fmt: skip
