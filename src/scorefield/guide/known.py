"""Inpainting: a region of the picture that is known beforehand."""

from torch import Tensor

from scorefield.core.denoiser import Denoise


def known(denoise: Denoise, x0: Tensor, mask: Tensor) -> Denoise:
    """`denoise` with the picture `x0` where `mask` is 1; between 0 and 1 they are mixed. Both broadcast to (B, ...).

    The prediction is replaced, so every step of every sampler rebuilds the known region at its own noise and the last
    returns it exactly (LMS: to rounding): no state has to be overwritten between steps. The rest hears of the known
    region through the noisy state alone; `loss_guided` on the mismatch, exact and inside of this, makes it hear more.
    """
    return lambda x, at: mask * x0 + (1 - mask) * denoise(x, at)
