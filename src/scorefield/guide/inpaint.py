"""Inpainting: a region of the picture that is known beforehand."""

from torch import Tensor

from scorefield.core.denoiser import Denoise, changed


def known(denoise: Denoise, x0: Tensor, mask: Tensor) -> Denoise:
    """`denoise` with the picture `x0` where `mask` is 1; between 0 and 1 they are mixed. Both broadcast to (B, ...).

    It replaces the prediction, so each step of every sampler puts the known region at the noise of its own level and
    the last returns it exactly (LMS: up to rounding). No state has to be overwritten between steps. The rest of the
    picture depends on the known region only through the noisy state; for a stronger tie, wrap a `loss_guided` on the
    mismatch, with `exact`, into this.
    """
    return changed(denoise, lambda x, at, seen: mask * x0 + (1 - mask) * seen)
