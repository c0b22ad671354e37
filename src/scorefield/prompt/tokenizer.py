"""The embedded model's tokenizer: one token per word, from a closed vocabulary."""

import copy
import json
import textwrap
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from threading import Lock
from typing import Self

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor

from scorefield.errors import RequestError
from scorefield.prompt.inversion import LearnedTokens

START, END, PAD, UNKNOWN = SPECIAL = ("<start>", "<end>", "<pad>", "<unknown>")
CONTEXT_LENGTH = 32
_MOST_NEAR = 10  # unknown words for which near ones are looked up
_LIKE = 0.65  # the least difflib ratio of near words: "kat" is near "cat", "kitchen" is not near "the"


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


class WordTokenizer:
    """Lower-cased words and punctuation marks to ids, between a start and an end token, padded to `context_length`."""

    def __init__(self, tokenizer: Tokenizer, context_length: int = CONTEXT_LENGTH) -> None:
        self.tokenizer, self.context_length = tokenizer, context_length
        self.vocabulary: dict[str, int] = tokenizer.get_vocab()
        if missing := [token for token in SPECIAL if token not in self.vocabulary]:
            raise ValueError(f"this tokenizer has no {', '.join(missing)}: it is not a word tokenizer")
        self._learned = LearnedTokens({})
        self._allowed: frozenset[str] | None = None  # of its words, by those who were trained on fewer
        self._inside = torch.zeros(0, dtype=torch.int64, device="cpu")  # ids of learned words, except the last of each
        self._lock = Lock()  # the library raises "Already borrowed" when two threads meet in one tokenizer

    @classmethod
    def from_file(cls, path: Path, context_length: int = CONTEXT_LENGTH) -> "WordTokenizer":
        """The tokenizer that `save` wrote to `path`; any other content is a ValueError that names the file."""
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            built = cls(_tokenizer(stored["model"]["vocab"]), context_length)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a word tokenizer's file ({error})") from error
        if json.loads(built.tokenizer.to_str()) != stored:
            raise ValueError(f"{path}: this tokenizer splits or spells words differently from the word tokenizer")
        return built

    def save(self, path: Path) -> None:
        """Write the JSON file that `from_file` reads."""
        Path(path).write_text(self.tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")

    def __len__(self) -> int:
        return len(self.vocabulary)

    def knows(self, token: str) -> bool:
        """Whether a text is one token of the vocabulary."""
        return self.tokenizer.token_to_id(token.lower()) is not None

    def spelt(self) -> list[str]:
        """The words that it knows, sorted."""
        return sorted(word for word in self.vocabulary if self._knows(word) and " " not in word)

    def limited(self, words: Collection[str]) -> Self:
        """A tokenizer that knows these of its words alone, for a network that was trained on no others; ids stay."""
        other = copy.copy(self)
        other._allowed = frozenset(words)
        return other

    def with_learned(self, ids: Mapping[str, Sequence[int]]) -> Self:
        """A tokenizer that knows these learned words and no others; `ids` are those of each word's vectors."""
        other = copy.copy(self)
        other._learned = LearnedTokens(ids)
        spelt = {_spelt(token, k): row for token, rows in ids.items() for k, row in enumerate(rows)}
        other.vocabulary = self.tokenizer.get_vocab() | spelt
        if self._allowed is not None:
            other._allowed = self._allowed & self.tokenizer.get_vocab().keys() | spelt.keys()
        other._inside = torch.tensor(
            [row for rows in ids.values() for row in rows[:-1]], dtype=torch.int64, device="cpu"
        )
        return other

    def words(self, prompt: str) -> list[str]:
        """The words and marks of a prompt as the vocabulary spells them, known or not."""
        spelling = {row: word for word, row in self.vocabulary.items()}
        words: list[str] = []
        with self._lock:
            for piece, learned in self._learned.split(self.tokenizer.normalizer.normalize_str(prompt)):
                plain = [] if learned else self.tokenizer.pre_tokenizer.pre_tokenize_str(piece)
                words += [spelling[row] for row in learned] + [word for word, _ in plain]
        return words

    def word(self, name: str) -> list[int]:
        """The id of a word, or the ids of a learned one; RequestError for an unknown word or several words."""
        names = self.words(name)
        ids = [self.vocabulary[word] for word in names if self._knows(word)]
        if len(ids) != len(names) or int(self.ends(torch.tensor(ids, dtype=torch.int64, device="cpu")).sum()) != 1:
            raise RequestError(f"{name!r} is not one word of the vocabulary")
        return ids

    def ends(self, ids: Tensor) -> Tensor:
        """Whether a word ends with a token: bool in the shape of `ids`. Only learned words have several tokens."""
        return ~torch.isin(ids, self._inside.to(ids.device))

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool, True for real tokens; RequestError for a prompt that is too long.

        Unknown words are left out: the token <unknown> was never trained, so its vector is random.
        """
        ids = torch.full((len(prompts), self.context_length), self.vocabulary[PAD], device="cpu")
        mask = torch.zeros(ids.shape, dtype=torch.bool, device="cpu")
        for row, prompt in enumerate(prompts):
            words = [START, *filter(self._knows, self.words(prompt)), END]
            if len(words) > self.context_length:
                raise RequestError(
                    f"the prompt has {len(words) - 2} words and marks, this model reads at most "
                    f"{self.context_length - 2}; shorten {textwrap.shorten(prompt, 60, placeholder=' ...')!r}"
                )
            ids[row, : len(words)] = torch.tensor([self.vocabulary[word] for word in words], device="cpu")
            mask[row, : len(words)] = True
        return ids, mask

    def unknown(self, prompt: str) -> list[tuple[str, list[str]]]:
        """The words of a prompt that the vocabulary lacks, the first 10 with up to 3 known words of similar spelling.

        Punctuation counts as a word only in a prompt of nothing else.
        """
        known = self.spelt()
        words = self.words(prompt)
        counted = [word for word in words if not _is_punctuation(word)] or words
        lacking = dict.fromkeys(word for word in counted if not self._knows(word))
        return [
            (word, get_close_matches(word, known, n=3, cutoff=_LIKE) if k < _MOST_NEAR else [])
            for k, word in enumerate(lacking)
        ]

    def _knows(self, word: str) -> bool:
        return word in self.vocabulary and word not in SPECIAL and (self._allowed is None or word in self._allowed)


def _spelt(token: str, k: int) -> str:
    """The vocabulary's name for the k-th vector of a learned word; its space keeps it apart from all words."""
    return f"{token.lower()} {k + 1}" if k else token.lower()


def _is_punctuation(word: str) -> bool:
    return all(unicodedata.category(letter).startswith("P") for letter in word)


def build(words: Iterable[str], context_length: int = CONTEXT_LENGTH) -> WordTokenizer:
    """The tokenizer whose vocabulary is the special tokens, then `words`, sorted, each once."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *sorted({word.lower() for word in words})))}
    built = WordTokenizer(_tokenizer(vocabulary), context_length)
    for word in vocabulary:
        if word not in SPECIAL and built.words(word) != [word]:
            raise RequestError(f"{word!r} is not one word: it splits into {built.words(word)}")
    return built
