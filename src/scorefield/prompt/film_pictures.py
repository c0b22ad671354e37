"""The condition of films that begin with a picture: words, and an image encoder's states of the picture."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from scorefield.core.cond import Cond
from scorefield.core.presence import present
from scorefield.nets.clip import ImageEncoder
from scorefield.nets.umt5 import Umt5Encoder
from scorefield.prompt.conditioner import PromptBatch
from scorefield.prompt.sentence_pieces import Umt5Conditioner, Umt5Tokenizer
from scorefield.prompt.vector_cache import VectorCache


class FilmPicturesConditioner(Umt5Conditioner):
    """Cond(tokens, image_tokens (B, P * (1 + patches), D)) of words and of the P pictures that a film is given.

    The states are those before the encoder's last block; both conditions of a batch have them (Wan et al. 2025).
    """

    def __init__(
        self,
        tokenizer: Umt5Tokenizer,
        encoder: Umt5Encoder,
        image_encoder: ImageEncoder,
        vectors: VectorCache | None = None,
    ) -> None:
        super().__init__(tokenizer, encoder, vectors)
        self.image_encoder = image_encoder

    def reads(self, batch: PromptBatch) -> Sequence[nn.Module]:
        """The encoder of words, if the cache lacks some, and that of pictures."""
        return [*super().reads(batch), self.image_encoder]

    @torch.no_grad()
    def pair(self, batch: PromptBatch) -> tuple[Cond, Cond]:
        """The conditions of a batch with its pictures; TypeError if it has none."""
        if batch.pictures is None:
            raise TypeError("a batch without the pictures that its film is given")
        pos, neg = super().pair(batch)
        with present(self.image_encoder):
            seen = self.image_encoder.normalised(batch.pictures)
            states = self.image_encoder.states(seen, len(self.image_encoder.blocks) - 1)
        tokens = states.flatten(0, 1).expand(len(batch.prompts), -1, -1)
        return replace(pos, image_tokens=tokens), replace(neg, image_tokens=tokens)
