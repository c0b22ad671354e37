"""CLIP's tokenizer: byte pairs, merged in the published order, between a start and an end token.

The merges of openai/CLIP come with the package, since a single file of weights has no tokenizer in it.
"""

import bz2
import copy
import functools
import html
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Self

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor

from scorefield.errors import RequestError
from scorefield.prompt.inversion import LearnedTokens

START, END = "<|startoftext|>", "<|endoftext|>"
END_ID = 49407  # also what Stable Diffusion 1 fills a prompt up with; Stable Diffusion 2 takes 0
CONTEXT_LENGTH = 77
MERGES = Path(__file__).parent.parent / "assets" / "clip-merges.txt.bz2"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_ROLES = {"bos_token": START, "eos_token": END, "pad_token": END}  # the last pads

Merges = list[tuple[str, str]]
Clean = Callable[[str], str]


class Token(NamedTuple):
    """A token of a prompt: its id, and the letters of the cleaned prompt that it covers."""

    id: int
    start: int
    end: int


def openai(fix_text: Clean) -> Clean:
    """The cleaning that OpenAI and OpenCLIP do: encodings repaired by ftfy's `fix_text`, html unescaped, lower case.

    It differs from the default only for curly quotes, ligatures, broken encodings and html.
    """
    return lambda prompt: mended(prompt, fix_text).lower()


def mended(prompt: str, fix_text: Clean) -> str:
    """A prompt with encodings repaired by ftfy's `fix_text`, html unescaped twice, and one space between words."""
    return " ".join(html.unescape(html.unescape(fix_text(prompt))).split())


class ClipTokenizer:
    """Prompts to ids between a start and an end token, padded with `pad_id` to `context_length`.

    By default a prompt is composed (NFC) and lower-cased, as transformers 5 does; `clean` does it in another way.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Merges,
        *,
        special: Sequence[AddedToken] = (),
        pad_id: int = END_ID,
        clean: Clean | None = None,
        context_length: int = CONTEXT_LENGTH,
    ) -> None:
        self.tokenizer = _tokenizer(vocabulary, merges, plain=clean is None)
        named = {token.content for token in special}
        self.tokenizer.add_special_tokens([*(token for token in (START, END) if token not in named), *special])
        self.start_id, self.end_id = vocabulary[START], vocabulary[END]
        self.pad_id, self.context_length = pad_id, context_length
        self._learned = LearnedTokens({})
        self._clean: Clean = clean or str
        inside = {index for word, index in vocabulary.items() if word not in named and not word.endswith("</w>")}
        self._inside = torch.tensor(sorted(inside - {self.start_id, self.end_id}), dtype=torch.int64, device="cpu")
        self._lock = Lock()  # the library raises "Already borrowed" when two threads meet in one tokenizer

    @classmethod
    def packaged(cls, *, pad_id: int = END_ID, clean: Clean | None = None) -> "ClipTokenizer":
        """CLIP's own vocabulary; `pad_id` is 0 for Stable Diffusion 2, where "!" in a prompt stays an ordinary word."""
        tokenizer = copy.copy(_packaged(plain=clean is None))
        tokenizer.pad_id, tokenizer._clean = pad_id, clean or str
        return tokenizer

    @classmethod
    def from_folder(cls, folder: Path) -> "ClipTokenizer":
        """The tokenizer of a diffusers folder (tokenizer.json, or vocab.json and merges.txt), as transformers reads it.

        A padding token that is named there is special: in Stable Diffusion 2's folder each "!" of a prompt is id 0.
        ValueError where a file is missing or is not CLIP's.
        """
        try:
            whole = _json(Path(folder) / "tokenizer.json")
            vocabulary, merges = _words(Path(folder), whole)
            special, pad = _special(Path(folder), whole)
            built = cls(vocabulary, merges, special=special, pad_id=vocabulary[pad])
        except (OSError, KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"{folder}: not the folder of a CLIP tokenizer ({reason})") from error
        return built

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def knows(self, token: str) -> bool:
        """Whether a text is one token of the vocabulary."""
        return len(self._pairs(self._clean(token))) == 1

    def with_learned(self, ids: Mapping[str, Sequence[int]]) -> Self:
        """A tokenizer that knows these learned words and no others; `ids` are those of each word's vectors."""
        other = copy.copy(self)
        other._learned = LearnedTokens({self._clean(token): rows for token, rows in ids.items()})
        inside = torch.tensor([row for rows in ids.values() for row in rows[:-1]], dtype=torch.int64, device="cpu")
        other._inside = torch.cat([self._inside[self._inside < len(self)], inside])
        return other

    def count(self, prompt: str) -> int:
        """The tokens of a prompt, start and end not counted; the model reads at most `context_length` - 2."""
        return len(self.split(prompt))

    def split(self, prompt: str) -> list[Token]:
        """The tokens of a prompt of any length, without a start and an end."""
        tokens: list[Token] = []
        start = 0
        for piece, learned in self._learned.split(self._clean(prompt)):
            end = start + len(piece)
            if learned:  # all but the last vector of a word are empty, so that a cut falls before or after the word
                tokens += [*(Token(row, start, start) for row in learned[:-1]), Token(learned[-1], start, end)]
            else:
                tokens += [Token(row, start + first, start + last) for row, first, last in self._pairs(piece)]
            start = end
        return tokens

    def _pairs(self, text: str) -> list[Token]:
        """The tokens of a cleaned text without learned words."""
        with self._lock:
            encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return [Token(index, *letters) for index, letters in zip(encoding.ids, encoding.offsets, strict=True)]

    def word(self, name: str) -> list[int]:
        """The ids of the tokens that spell one word; ValueError for no word, or for several."""
        tokens = self.split(name)
        ids, starts = [token.id for token in tokens], [token.start for token in tokens[1:]]
        ends = [
            token.end
            for token, ends in zip(tokens, self.ends(torch.tensor(ids, dtype=torch.int64, device="cpu")), strict=True)
            if ends
        ]
        if not ids or any(start >= ends[0] for start in starts):
            raise RequestError(f"{name!r} is not one word")
        return ids

    def ends(self, ids: Tensor) -> Tensor:
        """Whether a word ends with a token: bool in the shape of `ids`; start, end and padding count as words."""
        return ~torch.isin(ids, self._inside.to(ids.device))

    @property
    def empty(self) -> Tensor:
        """The ids (L,) of a chunk without words: start, end and padding."""
        ids = torch.full((self.context_length,), self.pad_id, device="cpu")
        ids[0], ids[1] = self.start_id, self.end_id
        return ids

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool, which is True from the start to the end token.

        Stable Diffusion itself uses no mask. ValueError for a prompt that is too long; it says by how much, and where
        the prompt would be cut.
        """
        ids = torch.full((len(prompts), self.context_length), self.pad_id, device="cpu")
        mask = torch.zeros(ids.shape, dtype=torch.bool, device="cpu")
        for row, prompt in enumerate(prompts):
            tokens = self.split(prompt)
            if len(tokens) > (room := self.context_length - 2):
                cleaned, cut = self._clean(prompt), tokens[room - 1].end
                raise RequestError(too_long(cleaned[:cut], cleaned[cut:], len(tokens), room))
            ids[row, : len(tokens) + 2] = torch.tensor(
                [self.start_id, *(token.id for token in tokens), self.end_id], device="cpu"
            )
            mask[row, : len(tokens) + 2] = True
        return ids, mask


def too_long(before: str, after: str, count: int, room: int) -> str:
    """The line of an error about a prompt of `count` tokens of which `room` fit, those of the text `before`."""
    last, first = "..." * (len(before) > 30) + before[-30:], after[:30] + "..." * (len(after) > 30)
    return (
        f"the prompt has {count} tokens, {count - room} more than the {room} that this model reads; it would be cut "
        f"between {last!r} and {first!r}: shorten it"
    )


@functools.cache  # a tenth of a second each, and a model or a conversion asks for several
def _packaged(*, plain: bool) -> ClipTokenizer:
    merges = _merges(bz2.decompress(MERGES.read_bytes()).decode())
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), START, END]
    return ClipTokenizer({word: index for index, word in enumerate(words)}, merges, clean=None if plain else str)


def _tokenizer(vocabulary: Mapping[str, int], merges: Merges, *, plain: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(dict(vocabulary), merges, end_of_word_suffix="</w>", unk_token=END))
    if plain:
        spaces = normalizers.Replace(Regex(r"\s+"), " ")
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


def _merges(text: str) -> Merges:
    """Two symbols a line, the earliest merge first."""
    lines = (line.split(" ") for line in text.split("\n") if line and not line.startswith("#version"))
    return [(first, second) for first, second in lines]


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON file; empty if it does not exist."""
    held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return held


def _words(folder: Path, whole: Mapping[str, Any]) -> tuple[dict[str, int], Merges]:
    """A folder's vocabulary and merges, of its tokenizer.json `whole` where it has one."""
    if not whole:
        words = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        return words, _merges((folder / "merges.txt").read_text(encoding="utf-8"))
    model = whole["model"]
    if model["type"] != "BPE" or model["end_of_word_suffix"] != "</w>":
        raise ValueError("tokenizer.json is not of byte pairs with </w> behind each word")
    pairs: Iterable[Any] = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return model["vocab"], [(first, second) for first, second in pairs]


def _special(folder: Path, whole: Mapping[str, Any]) -> tuple[list[AddedToken], str]:
    """A folder's special and added tokens, and the one that pads; older folders name them in two more files."""
    names = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    config, older, added = (_json(folder / name) for name in names)
    listed = [*config.get("added_tokens_decoder", {}).values(), *whole.get("added_tokens", [])]
    if "added_tokens_decoder" not in config:
        config |= older
        listed += [{"content": word, "normalized": True} for word in sorted(added, key=added.__getitem__)]
    roles = [_token(config.get(role) or word) for role, word in _ROLES.items()]
    tokens = {token.content: token for token in (*roles, *map(_token, listed))}
    return list(tokens.values()), roles[-1].content


def _token(held: str | Mapping[str, Any]) -> AddedToken:
    if isinstance(held, str):
        return AddedToken(held, normalized=False, special=True)
    flags = {name: held.get(name, False) for name in ("lstrip", "normalized", "rstrip", "single_word")}
    return AddedToken(held["content"], special=True, **flags)
