"""Write the embedded model's tokenizer from the words of the grammar. Run: `python recipes/tokenizer.py`."""

from pathlib import Path

from scorefield.data.vocabulary import words
from scorefield.prompt.tokenizer import build

ASSET = Path(__file__).parent.parent / "src" / "scorefield" / "assets" / "scenes-tokenizer.json"

if __name__ == "__main__":
    tokenizer = build(words())
    tokenizer.save(ASSET)
    print(f"{len(tokenizer)} tokens: {ASSET}")  # noqa: T201
