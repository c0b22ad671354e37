"""Prompts to the condition of Wan 2.1: the sentence pieces of UMT5 and its encoder."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import ModuleType

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from scorefield.core.cond import Cond
from scorefield.core.presence import present
from scorefield.errors import DamagedError, MissingError, RequestError
from scorefield.input_files import read_bytes, read_json
from scorefield.nets.umt5 import Umt5Encoder
from scorefield.prompt.bpe import mended, too_long
from scorefield.prompt.conditioner import Conditioner, Prompt, PromptBatch, Tokenized
from scorefield.prompt.rules import PLAIN, Count, Rules, check_plain
from scorefield.prompt.vector_cache import VectorCache

END, END_ID = "</s>", 1
CONTEXT_LENGTH = 512
JSON, SPIECE = "tokenizer.json", "spiece.model"


class Umt5Tokenizer:
    """Prompts to the ids of sentence pieces, with an end token.

    A prompt is cleaned as Wan 2.1 does: encodings repaired, html unescaped, one space between words; capitals stay.
    The original truncates longer prompts silently; here they are an error.
    """

    def __init__(
        self,
        encode: Callable[[str], list[int]],
        decode: Callable[[Sequence[int]], str],
        *,
        size: int,
        unknown_id: int | None,
    ) -> None:
        self._encode, self._decode = encode, decode  # without special tokens
        self._fix_text = _ftfy().fix_text
        self._size, self._unknown_id = size, unknown_id
        self._lock = Lock()  # `tokenizers` raises "Already borrowed" when two threads meet in one tokenizer

    @classmethod
    def from_folder(cls, folder: Path) -> "Umt5Tokenizer":
        """The tokenizer of a folder's `tokenizer.json`, else of its `spiece.model`.

        MissingError if there is neither, or if the extra `wan` is not installed; DamagedError for other files.
        """
        path = Path(folder) / JSON
        if path.exists():
            return cls._from_json(path)
        path = Path(folder) / SPIECE
        if not path.exists():
            raise MissingError(
                f"{folder} has no UMT5 tokenizer ({JSON} or {SPIECE}): get the folder google/umt5-xxl of Wan's files"
            )
        return cls.from_sentencepiece(read_bytes(path), path)

    @classmethod
    def _from_json(cls, path: Path) -> "Umt5Tokenizer":
        model = read_json(path).get("model")
        if not isinstance(model, dict) or model.get("type") != "Unigram":
            raise DamagedError(f"{path} is not UMT5's tokenizer: it has no sentence pieces")
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        _check_end(path, tokenizer.token_to_id(END))
        return cls(
            lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
            tokenizer.decode,
            size=tokenizer.get_vocab_size(),
            unknown_id=tokenizer.token_to_id("<unk>"),
        )

    @classmethod
    def from_sentencepiece(cls, model: bytes, path: Path) -> "Umt5Tokenizer":
        """The tokenizer of a sentencepiece `model`, as in `spiece.model` and in ComfyUI's files; errors name `path`.

        It differs from `tokenizer.json` in prompts that spell special tokens, such as "</s>": here these are text.
        MissingError without the extra `wan`.
        """
        library = _sentencepiece()
        try:
            processor = library.SentencePieceProcessor(model_proto=model)
        except RuntimeError:
            raise DamagedError(f"{path}: its sentencepiece model is damaged; get it again") from None
        _check_end(path, processor.eos_id())
        size, unknown_id = processor.get_piece_size(), processor.unk_id()
        return cls(processor.encode, processor.decode, size=size, unknown_id=unknown_id)

    def __len__(self) -> int:
        return self._size

    def split(self, prompt: str) -> list[int]:
        """The ids of a prompt of any length, without the end token."""
        with self._lock:
            return self._encode(mended(prompt, self._fix_text))

    def encode(self, prompt: str) -> Tensor:
        """The ids (L,) int64 of a prompt, on the CPU; RequestError if it is too long, which says by how much."""
        ids, room = self.split(prompt), CONTEXT_LENGTH - 1
        if len(ids) > room:
            raise RequestError(too_long(self._decode(ids[:room]), self._decode(ids[room:]), len(ids), room))
        return torch.tensor([*ids, END_ID], dtype=torch.int64, device="cpu")

    def unknown(self, prompt: str) -> list[str]:
        """The characters of a prompt that no sentence piece spells."""
        if self._unknown_id not in self.split(prompt):
            return []
        return [letter for letter in dict.fromkeys(prompt) if self._unknown_id in self.split(letter)]


class Umt5Conditioner(Conditioner):
    """Cond(tokens (B, 512, D)): the states of a prompt's tokens, then rows of zeros, which Wan's network reads too.

    ValueError for a tokenizer and an encoder that do not belong together.
    """

    def __init__(self, tokenizer: Umt5Tokenizer, encoder: Umt5Encoder, vectors: VectorCache | None = None) -> None:
        if len(tokenizer) > (known := encoder.config.vocab_size):  # whose rows are rounded up
            raise ValueError(
                f"the tokenizer has {len(tokenizer)} tokens, the text encoder {known}: they do not belong together"
            )
        self.tokenizer, self.encoder, self.vectors = tokenizer, encoder, vectors

    def __call__(self, prompts: Sequence[Prompt], rules: Rules = PLAIN) -> Cond:
        """The condition of the prompts, on the encoder's device; each is read once, and by itself.

        The original pads to 512 tokens, hides the padding and drops its states: the same numbers for more work.
        """
        return self.conditions([prompts], rules)[0]

    def conditions(self, batches: Sequence[Sequence[Prompt]], rules: Rules = PLAIN) -> list[Cond]:
        """The condition of each batch of prompts; the encoder is needed for those alone that the cache lacks."""
        read = [self.tokenized(prompts, rules) for prompts in batches]
        states = self._states([one for prompts in read for one in prompts])
        padded = {text: F.pad(one, (0, 0, 0, CONTEXT_LENGTH - len(one))) for text, one in states.items()}
        return [Cond(tokens=torch.stack([padded[one.text] for one in prompts])) for prompts in read]

    def reads(self, batch: PromptBatch) -> Sequence[nn.Module]:
        """The encoder, if the cache lacks one of the prompts."""
        prompts = self.tokenized([*batch.prompts, batch.negative_prompt, *batch.ahead], batch.rules)
        known = self.vectors is not None and all(self.vectors.has(_ids(one)) for one in prompts)
        return [] if known else [self.encoder]

    def pair(self, batch: PromptBatch) -> tuple[Cond, Cond]:
        """The conditions of a batch; with a cache, what later batches will need is read in the same turn."""
        if self.vectors is not None:
            self._states(self.tokenized(batch.ahead, batch.rules))
        return super().pair(batch)

    @torch.no_grad()
    def _states(self, prompts: Sequence[Tokenized]) -> dict[str, Tensor]:
        """The states (L, D) of each prompt, by its text, from the cache or else from the encoder."""
        ids = {one.text: _ids(one) for one in prompts}
        known = {text: self.vectors.get(one) for text, one in ids.items()} if self.vectors else {}
        states = {text: one for text, one in known.items() if one is not None}
        if states.keys() != ids.keys():
            with present(self.encoder):
                for text in ids.keys() - states.keys():
                    states[text] = self.encoder(ids[text][None].to(self.encoder.norm.weight.device))[0]
                    if self.vectors:
                        self.vectors.put(ids[text], states[text])
        return states

    def tokenize(self, prompts: Sequence[str], rules: Rules = PLAIN) -> list[Tokenized]:
        """The prompts in sentence pieces; RequestError for one that is too long, and for rules that are not plain."""
        check_plain(rules)
        room = CONTEXT_LENGTH - 1
        split = ((text, self.tokenizer.encode(text)) for text in prompts)
        return [
            Tokenized(text=text, count=Count(tokens=len(ids) - 1, room=room, chunks=1), tokens=ids)
            for text, ids in split
        ]

    def unknown(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """The characters of the prompts that no sentence piece spells; nothing is near to one."""
        return {letter: [] for prompt in prompts for letter in self.tokenizer.unknown(prompt)}


def _ids(prompt: Tokenized) -> Tensor:
    if not isinstance(prompt.tokens, Tensor):
        raise TypeError(f"a prompt that another conditioner has divided: {type(prompt.tokens).__name__}")
    return prompt.tokens


def _check_end(path: Path, end_id: int | None) -> None:
    if end_id != END_ID:
        raise DamagedError(f"{path} is not UMT5's tokenizer: {END} is token {end_id}, not {END_ID}")


def _ftfy() -> ModuleType:
    try:
        return import_module("ftfy")
    except ImportError:
        raise MissingError("Wan's prompts are cleaned by ftfy: pip install 'scorefield[wan]'") from None


def _sentencepiece() -> ModuleType:
    try:
        return import_module("sentencepiece")
    except ImportError:
        raise MissingError(
            f"{SPIECE} needs the extra `wan`: pip install 'scorefield[wan]', or get Wan's {JSON}"
        ) from None
