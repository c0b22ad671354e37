"""What a caller may ask for: one validated, frozen list of options, from which the command line derives its own."""

from scorefield.request.canvas import LONGEST_SIDE, MOST_PICTURES, sides
from scorefield.request.embedding import Embedding, Embeddings
from scorefield.request.fields import Options, Request, Settled
from scorefield.request.lora import Lora, Loras
from scorefield.request.option import Option
from scorefield.request.parsing import options, parse
from scorefield.request.start import Given
from scorefield.request.walk import SEEDS
from scorefield.request.words import LONGEST_PROMPT, MOST_PROMPTS

__all__ = [
    "LONGEST_PROMPT",
    "LONGEST_SIDE",
    "MOST_PICTURES",
    "MOST_PROMPTS",
    "SEEDS",
    "Embedding",
    "Embeddings",
    "Given",
    "Lora",
    "Loras",
    "Option",
    "Options",
    "Request",
    "RequestError",
    "Settled",
    "options",
    "parse",
    "sides",
]
