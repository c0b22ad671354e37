"""From prompts to the condition of a published model: CLIP's byte pairs and a published text encoder."""

import copy
import functools
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from scorefield.core.cond import Cond
from scorefield.core.presence import present
from scorefield.errors import RequestError
from scorefield.nets.clip import TextEncoder
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.chunks import Chunks, States, chunks
from scorefield.prompt.conditioner import Conditioner, Prompt, PromptBatch, Tokenized
from scorefield.prompt.inversion import Learned, Table, extended
from scorefield.prompt.rules import PLAIN, Count, Rules
from scorefield.prompt.weighting import RULES


class PublishedConditioner(Conditioner):
    """A tokenizer and a text encoder, without a mask: the encoder was trained to read padding like words.

    ValueError for a tokenizer and an encoder that do not fit each other.
    """

    def __init__(self, tokenizer: ClipTokenizer, encoder: TextEncoder) -> None:
        knows, reads = len(tokenizer), encoder.config.text
        if (knows, tokenizer.context_length) != (reads.vocab_size, reads.context_length):
            raise ValueError(
                f"the tokenizer has {knows} tokens and prompts of {tokenizer.context_length}, the text encoder "
                f"{reads.vocab_size} and {reads.context_length}: they do not fit each other"
            )
        self.tokenizer, self.encoder = tokenizer, encoder
        self.table = Table(encoder.tokens)

    def with_learned(self, learned: Sequence[Learned]) -> Self:
        """A conditioner with these learned words and the same encoder; InversionError if it cannot take them."""
        other = copy.copy(self)
        other.tokenizer, other.table = extended(self.tokenizer, self.encoder.tokens, learned)
        return other

    def with_encoder(self, encoder: TextEncoder) -> Self:
        """A conditioner with the same words, learned ones included, and another copy of the encoder."""
        other = copy.copy(self)
        other.encoder, other.table = encoder, Table(encoder.tokens, self.table.learned)
        return other

    def reads(self, batch: PromptBatch) -> Sequence[nn.Module]:
        """The encoder."""
        return [self.encoder]

    def conditions(self, batches: Sequence[Sequence[Prompt]], rules: Rules = PLAIN) -> list[Cond]:
        """The condition of each batch of prompts."""
        with present(self.encoder):
            return super().conditions(batches, rules)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Prompt], rules: Rules = PLAIN) -> Cond:
        """Cond(tokens (B, 77 * chunks, D)) of the prompts, on the encoder's device; each is read by itself.

        RequestError also for prompts with different numbers of chunks, which cannot be one batch.
        """
        read = self.tokenized(prompts, rules)
        divided = {one.text: _chunks(one) for one in read}
        with present(self.encoder):
            states = {text: self._states(chunks, rules) for text, chunks in divided.items()}
        if len({len(one) for one in states.values()}) > 1:
            raise RequestError("prompts with different numbers of chunks cannot be one condition; read them separately")
        return Cond(tokens=torch.stack([states[one.text] for one in read]))

    def read(self, vectors: Tensor, ids: Tensor, mask: Tensor) -> Cond:
        """The condition of any `vectors` (B, 77, D) in place of those of the tokens `ids` (B, 77).

        `mask` is ignored, since this encoder has none. Gradients reach the vectors.
        """
        return Cond(tokens=self.encoder.condition_of(vectors, ids)[0])

    def summaries(self, prompts: Sequence[Prompt], rules: Rules = PLAIN) -> Tensor:
        """The summaries (B, P) of the prompts' first chunks, for an encoder with a projection; weights are ignored."""
        ids = torch.cat([_chunks(one).ids[:1] for one in self.tokenized(prompts, rules)])
        with present(self.encoder):
            ids = ids.to(self.encoder.positions.device)
            return self.encoder.condition_of(self.table(ids), ids)[1]

    def tokenize(self, prompts: Sequence[str], rules: Rules = PLAIN) -> list[Tokenized]:
        """The prompts in chunks; RequestError for one that is longer than `rules` allow."""
        self._check(rules)
        room = self.tokenizer.context_length - 2
        divided = ((text, self._divided(text, rules)) for text in prompts)
        return [
            Tokenized(text=text, count=Count(tokens=one.tokens, room=room, chunks=len(one.ids)), tokens=one)
            for text, one in divided
        ]

    def unknown(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """No word: byte pairs spell every one."""
        return {}

    def unread(self, prompts: Sequence[str], rules: Rules) -> list[str]:
        """The signs in the prompts that other programs interpret, and these rules read as ordinary letters."""
        return [sign for prompt in prompts for sign in RULES[rules.weighting].unread(prompt)]

    def _divided(self, prompt: str, rules: Rules) -> Chunks:
        rule = RULES[rules.weighting]
        parts = rule.parse(prompt)
        divided = chunks(self.tokenizer, parts, rule.cut)
        if len(divided.ids) > 1 and rules.long_prompt == "refuse":
            text = " ".join(piece.text for part in parts for piece in part)
            self.tokenizer.encode([text])  # its RequestError says by how much the text is too long
            raise RequestError("BREAK divides the prompt into chunks: leave BREAK out, or give --long-prompt chunks")
        return divided

    def _check(self, rules: Rules) -> None:
        most = self.encoder.config.text.layers - self.encoder.config.skip
        if not 1 <= rules.clip_skip <= most:
            raise RequestError(f"clip_skip {rules.clip_skip} is too large: this text encoder allows at most {most}")

    def _states(self, divided: Chunks, rules: Rules) -> Tensor:
        """The weighted states (77 * chunks, D) of a prompt."""
        device = self.encoder.positions.device
        read = functools.partial(self._read, clip_skip=rules.clip_skip)
        states = States(read, self.tokenizer.empty[None].to(device))
        return RULES[rules.weighting].weigh(states, divided.to(device)).flatten(0, 1)

    def _read(self, ids: Tensor, mask: Tensor | None, clip_skip: int) -> Tensor:
        return self.encoder.condition_of(self.table(ids), ids, mask, clip_skip=clip_skip)[0]


def _chunks(prompt: Tokenized) -> Chunks:
    if not isinstance(prompt.tokens, Chunks):
        raise TypeError(f"a prompt divided by another conditioner: {type(prompt.tokens).__name__}")
    return prompt.tokens
