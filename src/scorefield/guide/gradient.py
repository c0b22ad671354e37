"""Guidance by a gradient: x0 + (sigma^2 / alpha) * grad log p(wish | x), for alpha > 0.

It follows from Tweedie's x0 = (x + sigma^2 score) / alpha. The guides enable gradients themselves, so they work under
`torch.no_grad`; under `torch.inference_mode` no gradient is possible, which is a RuntimeError.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from scorefield.core.denoiser import Denoise, VarianceDenoise, changed
from scorefield.core.level import Level
from scorefield.guide.cfg import Scale, strength

Loss = Callable[[Tensor], Tensor]  # x0 (B, ...) -> (B,), per sample, so that a picture does not depend on its batch
LogProb = Callable[[Tensor, Level], Tensor]  # (noisy x (B, ...), level) -> (B,), up to a constant


def classifier_guided(denoise: Denoise, log_prob: LogProb, scale: Scale = 1.0) -> Denoise:
    """`denoise` guided by a noise-aware classifier (Dhariwal & Nichol 2021); scale 1 is Bayes' rule.

    `log_prob` may be any noise-aware score of x, such as noised CLIP (Nichol et al. 2022, section 2.3). At alpha = 0
    the state holds nothing of the picture, and the plain prediction is returned.
    """

    def guided(x: Tensor, at: Level, x0: Tensor) -> Tensor:
        gain = _gain(at) * strength(scale, at)
        return x0 if gain == 0 else x0 + gain * _gradient(lambda leaf: log_prob(leaf, at), x)

    return changed(denoise, guided)


def loss_guided(denoise: Denoise, loss: Loss, scale: Scale, exact: bool = False) -> Denoise:
    """`denoise` pulled down `loss` of its predicted x0, as if log p(wish | x) = -scale * loss.

    By default it uses the gradient at x0, times r^2 = sigma^2 / (alpha^2 + sigma^2) in place of the posterior's
    covariance, which is exact for unit normal data (Song et al. 2023, Pi-GDM). `exact` uses the gradient at x, through
    the network; `nets.shared_copy.recomputing` bounds its memory. To guide only every k-th step, see `at_levels`.
    """
    return _exact(denoise, loss, scale) if exact else _cheap(denoise, loss, scale)


def _cheap(denoise: Denoise, loss: Loss, scale: Scale) -> Denoise:
    def guided(x: Tensor, at: Level, x0: Tensor) -> Tensor:
        weight = strength(scale, at)
        alpha, sigma = float(at.alpha), float(at.sigma)
        if weight == 0:
            return x0
        return x0 - weight * sigma**2 / (alpha**2 + sigma**2) * _gradient(loss, x0)

    return changed(denoise, guided)


def _exact(denoise: Denoise, loss: Loss, scale: Scale) -> Denoise:
    def ask(x: Tensor, at: Level) -> tuple[Tensor, ...]:
        return denoise.both(x, at) if isinstance(denoise, VarianceDenoise) else (denoise(x, at),)

    def guided(x: Tensor, at: Level) -> tuple[Tensor, ...]:
        gain = _gain(at) * strength(scale, at)
        if gain == 0:
            return ask(x, at)
        kept: list[Tensor] = []

        def of_state(leaf: Tensor) -> Tensor:
            x0, *share = ask(leaf, at)
            kept.extend((x0.detach(), *(value.detach() for value in share)))
            return loss(x0)

        gradient = _gradient(of_state, x)
        return kept[0] - gain * gradient, *kept[1:]

    if not isinstance(denoise, VarianceDenoise):
        return lambda x, at: guided(x, at)[0]

    def both(x: Tensor, at: Level) -> tuple[Tensor, Tensor]:
        x0, share = guided(x, at)
        return x0, share

    return VarianceDenoise(both)


def _gain(at: Level) -> float:
    """sigma^2 / alpha; 0 at alpha = 0, where no gradient is computed."""
    return float(at.sigma) ** 2 / float(at.alpha) if at.alpha > 0 else 0.0


def _gradient(of: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of each sample's value with respect to `x`, in the shape of `x`."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError("gradient guidance cannot run in torch.inference_mode: use torch.no_grad")
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value = of(leaf)
        if not value.requires_grad:
            raise ValueError("the guiding value has no gradient to the picture: remove detach and no_grad from it")
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return gradient
