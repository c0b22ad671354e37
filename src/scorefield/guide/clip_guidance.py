"""Guidance by a pair of encoders, such as CLIP, that measures how well a clean picture fits a text."""

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import cosine_similarity

from scorefield.core.denoiser import Denoise
from scorefield.guide.cfg import Scale
from scorefield.guide.gradient import Loss, loss_guided


def dissimilarity(decode: Callable[[Tensor], Tensor], embed: Callable[[Tensor], Tensor], text: Tensor) -> Loss:
    """1 - cosine of each decoded picture's embedding and `text` (B, E) or (1, E); in [0, 2].

    `decode`: x0 -> pixels, the identity for pixel models; `embed`: pixels -> (B, E), optionally of cut-outs.
    """
    return lambda x0: 1 - cosine_similarity(embed(decode(x0)), text, dim=-1)


def clip_guided(
    denoise: Denoise,
    decode: Callable[[Tensor], Tensor],
    embed: Callable[[Tensor], Tensor],
    text: Tensor,
    scale: Scale,
    exact: bool = False,
) -> Denoise:
    """`denoise` pulled towards the text by the similarity of its decoded prediction; see `loss_guided`.

    For a CLIP that was trained on noisy states, use `classifier_guided`.
    """
    return loss_guided(denoise, dissimilarity(decode, embed, text), scale, exact)
