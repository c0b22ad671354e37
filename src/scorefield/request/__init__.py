"""The options of a request: one validated, frozen list, from which the command line is derived."""

from scorefield.request.input_pictures import ImageLike, InputImage
from scorefield.request.model_choice import Embedding, Embeddings, Lora, Loras, ModelChoice
from scorefield.request.option import Group, Option
from scorefield.request.request import GROUPS, Drawing, Options, Request, fields, group_of, parse, parse_choice
from scorefield.request.size import LONGEST_SIDE, MOST_PICTURES, SEEDS, sides
from scorefield.request.words import LONGEST_PROMPT, MOST_PROMPTS

__all__ = [
    "GROUPS",
    "LONGEST_PROMPT",
    "LONGEST_SIDE",
    "MOST_PICTURES",
    "MOST_PROMPTS",
    "SEEDS",
    "Drawing",
    "Embedding",
    "Embeddings",
    "Group",
    "ImageLike",
    "InputImage",
    "Lora",
    "Loras",
    "ModelChoice",
    "Option",
    "Options",
    "Request",
    "fields",
    "group_of",
    "parse",
    "parse_choice",
    "sides",
]
