"""Inpainting: a region of the picture that is known beforehand."""

from torch import Tensor

from scorefield.core.denoiser import Denoise, changed


def known(denoise: Denoise, x0: Tensor, mask: Tensor) -> Denoise:
    """`denoise` with the picture `x0` where `mask` is 1; between 0 and 1 they are mixed. Both broadcast to (B, ...).

    It replaces the prediction, so every sampler's steps bring the known region to the noise of their level, and the
    last returns it exactly (LMS: up to rounding). No state is overwritten between steps. The rest of the picture
    depends on the known region only through the noisy state; for a stronger link, apply this to a `loss_guided` on the
    mismatch, with `exact`.
    """
    return changed(denoise, lambda x, at, seen: mask * x0 + (1 - mask) * seen)
