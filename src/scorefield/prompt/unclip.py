"""A picture as a prompt: Stable Diffusion 2.1 unCLIP reads words and CLIP's vector of a picture."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from scorefield.core import noise, noise_schedule
from scorefield.core.cond import Cond
from scorefield.core.presence import present
from scorefield.errors import RequestError
from scorefield.nets.clip import ImageEncoder, TextEncoder
from scorefield.nets.unet import time_features
from scorefield.prompt.bpe import ClipTokenizer
from scorefield.prompt.conditioner import PromptBatch
from scorefield.prompt.published import PublishedConditioner

_ABAR = noise_schedule.cumulative(noise_schedule.cosine())  # alpha^2 of the levels of noise on the vector


class Statistics(nn.Module):
    """The mean and the deviation (1, D) of CLIP's image vectors, by which they are normalised."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, width))
        self.register_buffer("deviation", torch.ones(1, width))


class UnclipConditioner(PublishedConditioner):
    """Cond(tokens, pooled (B, 2 D)) of words and of a picture's vector, with noise on the vector and the noise's level.

    The more noise, the less closely the picture is followed (Ramesh et al. 2022). The unconditional vector is 0.
    """

    def __init__(
        self, tokenizer: ClipTokenizer, encoder: TextEncoder, image_encoder: ImageEncoder, statistics: Statistics
    ) -> None:
        super().__init__(tokenizer, encoder)
        self.image_encoder, self.statistics = image_encoder, statistics

    def reads(self, batch: PromptBatch) -> Sequence[nn.Module]:
        """The encoders of words and of pictures, and the statistics."""
        return [*super().reads(batch), self.image_encoder, self.statistics]

    @torch.no_grad()
    def pair(self, batch: PromptBatch) -> tuple[Cond, Cond]:
        """The conditions of a batch; RequestError if it has no picture."""
        if batch.pictures is None:
            raise RequestError("this model needs a picture as prompt: give an image prompt")
        pos, neg = super().pair(batch)
        pooled = self.pooled(self.vector(batch.pictures), batch.seeds, batch.noise_level)
        return replace(pos, pooled=pooled), replace(neg, pooled=torch.zeros_like(pooled))

    def vector(self, picture: Tensor) -> Tensor:
        """CLIP's vectors (B, D) float32 of pictures (B, 3, S, S) in [0, 1]."""
        with present(self.image_encoder):
            return self.image_encoder.embed(self.image_encoder.normalised(picture)).float()

    def pooled(self, vector: Tensor, seeds: Sequence[int], noise_level: int) -> Tensor:
        """(B, 2 D): `vector` (1, D) with the noise of each seed at level 0 to 999, and time features of that level."""
        with present(self.statistics):
            mean, deviation = self.statistics.mean.float(), self.statistics.deviation.float()
        own = [noise.derived(seed, "image prompt") for seed in seeds]  # not the numbers that the walk starts from
        eps = noise.initial(own, vector.shape[1:], vector.device)
        abar = float(_ABAR[noise_level])
        noisy = abar**0.5 * (vector - mean) / deviation + (1 - abar) ** 0.5 * eps
        level = torch.full((len(own),), float(noise_level), dtype=torch.float32, device=vector.device)
        return torch.cat([noisy * deviation + mean, time_features(level, vector.shape[1])], 1)
