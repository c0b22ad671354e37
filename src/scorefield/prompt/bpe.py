"""CLIP's tokenizer: byte pairs, merged in the published order, between a start and an end token.

The merges of openai/CLIP come with the package, since single-file checkpoints have no tokenizer.
"""

import bz2
import copy
import functools
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Self

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor

from scorefield.errors import RequestError, ScorefieldError
from scorefield.input_files import read_bytes, read_json
from scorefield.prompt.inversion import LearnedTokens

START, END = "<|startoftext|>", "<|endoftext|>"
END_ID = 49407  # also the padding of Stable Diffusion 1; Stable Diffusion 2 pads with 0
CONTEXT_LENGTH = 77
MERGES = Path(__file__).parent.parent / "assets" / "clip-merges.txt.bz2"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_SHOWN = 200  # letters of a reason
_ROLES = {"bos_token": START, "eos_token": END, "pad_token": END}  # the last pads

Merges = list[tuple[str, str]]
Clean = Callable[[str], str]


class Token(NamedTuple):
    """A token of a prompt: its id, and its range in the cleaned prompt."""

    id: int
    start: int
    end: int


def openai(fix_text: Clean) -> Clean:
    """The cleaning of OpenAI and OpenCLIP: encodings repaired by ftfy's `fix_text`, html unescaped, lower case.

    It differs from the default only for curly quotes, ligatures, broken encodings and html.
    """
    return lambda prompt: mended(prompt, fix_text).lower()


def mended(prompt: str, fix_text: Clean) -> str:
    """A prompt with encodings repaired by ftfy's `fix_text`, html unescaped twice, and one space between words."""
    return " ".join(html.unescape(html.unescape(fix_text(prompt))).split())


class ClipTokenizer:
    """Prompts to ids between a start and an end token, padded with `pad_id` to `context_length`.

    By default a prompt is composed (NFC) and lower-cased, as in transformers 5; `clean` replaces that.
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

        A padding token named there is special: in Stable Diffusion 2's folder each "!" of a prompt is id 0. ValueError
        if a file is missing or is not CLIP's.
        """
        try:
            whole = _json(Path(folder) / "tokenizer.json")
            vocabulary, merges = _words(Path(folder), whole)
            special, pad = _special(Path(folder), whole)
            built = cls(vocabulary, merges, special=special, pad_id=vocabulary[pad])
        except (ScorefieldError, KeyError, TypeError, ValueError) as error:
            name = "" if isinstance(error, ScorefieldError) else f"{type(error).__name__}: "
            reason = f"{name}{error}".partition("\n")[0][:_SHOWN]
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
            if learned:  # all but a word's last vector cover no letters, so that no cut divides the word
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


@functools.cache  # a tenth of a second each, and a model or a conversion needs several
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
    """Two symbols per line, the earliest merge first."""
    lines = (line.split(" ") for line in text.split("\n") if line and not line.startswith("#version"))
    return [(first, second) for first, second in lines]


def _json(path: Path) -> Mapping[str, Any]:
    """Read a JSON file; empty if it does not exist."""
    return read_json(path) if path.exists() else {}


def _words(folder: Path, whole: Mapping[str, Any]) -> tuple[Mapping[str, int], Merges]:
    """A folder's vocabulary and merges, from its tokenizer.json `whole` if it has one; ValueError if they do not fit.

    The library would raise a bare Exception.
    """
    if whole:
        model = whole["model"]
        if model["type"] != "BPE" or model["end_of_word_suffix"] != "</w>":
            raise ValueError("tokenizer.json does not hold byte pairs with </w> after each word")
        pairs: Iterable[Any] = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        words, merges = model["vocab"], [(first, second) for first, second in pairs]
    else:
        words = read_json(folder / "vocab.json")
        merges = _merges(read_bytes(folder / "merges.txt").decode())
    if odd := next((word for word, index in words.items() if type(index) is not int or not 0 <= index < 2**32), None):
        raise ValueError(f"the word {odd!r} has no number in the vocabulary")
    if odd := next((word for pair in merges for word in (*pair, "".join(pair)) if word not in words), None):
        raise ValueError(f"{odd!r} of the merges is not in the vocabulary")
    return words, merges


def _special(folder: Path, whole: Mapping[str, Any]) -> tuple[list[AddedToken], str]:
    """A folder's special and added tokens, and the one that pads; older folders name them in two more files."""
    names = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    config, older, added = (_json(folder / name) for name in names)
    decoded = config.get("added_tokens_decoder", {})
    if not isinstance(decoded, Mapping):
        raise ValueError("added_tokens_decoder is no object")
    listed = [*decoded.values(), *whole.get("added_tokens", [])]
    if "added_tokens_decoder" not in config:
        config = {**config, **older}
        listed += [{"content": word, "normalized": True} for word in sorted(added, key=added.__getitem__)]
    roles = [_token(config.get(role) or word) for role, word in _ROLES.items()]
    tokens = {token.content: token for token in (*roles, *map(_token, listed))}
    return list(tokens.values()), roles[-1].content


def _token(held: str | Mapping[str, Any]) -> AddedToken:
    if isinstance(held, str):
        return AddedToken(held, normalized=False, special=True)
    if not isinstance(held, Mapping):
        raise ValueError(f"{held!r} is no token")
    flags = {name: held.get(name, False) for name in ("lstrip", "normalized", "rstrip", "single_word")}
    return AddedToken(held["content"], special=True, **flags)
