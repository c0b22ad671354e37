"""Classifier-free guidance: away from one denoiser, along another, at all levels or at some."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from scorefield.core import predict
from scorefield.core.cond import Cond, cat
from scorefield.core.denoiser import Denoise, Denoiser, VarianceDenoise, VarianceDenoiser, bind, changed
from scorefield.core.level import Level, Number, per_sample
from scorefield.core.predict import Prediction
from scorefield.errors import RequestError

Scale = float | Callable[[Level], float]  # the weight of a guide: one number, or one for each level


def strength(scale: Scale, at: Level) -> float:
    """The value of `scale` at the level `at`."""
    return scale(at) if callable(scale) else scale


def cfg(pos: Denoise, neg: Denoise, scale: Scale, rescale: float = 0.0, output: Prediction = predict.x0) -> Denoise:
    """neg + scale * (pos - neg) (Ho & Salimans 2022): scale 1 is `pos` alone, 0 is `neg` alone.

    `neg` is the denoiser without condition, or with a negative prompt, or a weaker model (autoguidance, Karras et al.
    2024). `rescale` in [0, 1] moves the guided prediction's deviation back to that of `pos` (Lin et al. 2023, eq. 15
    and 16), computed on `output`: published pipelines use the network's own prediction, say `predict.v`. A learned
    variance is that of `pos`.
    """
    _check(rescale)

    def guided(x: Tensor, at: Level, x0: Tensor) -> Tensor:
        weight = strength(scale, at)
        return x0 if weight == 1 else _mix(x, at, x0, neg(x, at), weight, rescale, output)

    return changed(pos, guided)


def cfg_batched(
    denoiser: Denoiser, pos: Cond, neg: Cond, scale: Scale, rescale: float = 0.0, output: Prediction = predict.x0
) -> Denoise:
    """`cfg` of one denoiser in one forward pass of twice the batch; `pos` and `neg` must hold the same fields.

    If they differ in length, like a long prompt and a short one, it takes two passes, since padding the shorter one
    would change its pictures.
    """
    _check(rescale)
    if pos.differs_in_shape(neg):
        return cfg(bind(denoiser, pos), bind(denoiser, neg), scale, rescale, output)
    both = cat([pos, neg])

    def guided(x: Tensor, at: Level) -> Tensor:
        weight = strength(scale, at)
        if weight == 1:
            return denoiser(x, at, pos)
        toward, away = denoiser(torch.cat([x, x]), _twice(at), both).chunk(2)
        return _mix(x, at, toward, away, weight, rescale, output)

    def with_variance(x: Tensor, at: Level) -> tuple[Tensor, Tensor]:
        assert isinstance(denoiser, VarianceDenoiser)
        weight = strength(scale, at)
        if weight == 1:
            return denoiser.both(x, at, pos)
        x0, share = denoiser.both(torch.cat([x, x]), _twice(at), both)
        toward, away = x0.chunk(2)
        return _mix(x, at, toward, away, weight, rescale, output), share.chunk(2)[0]

    return VarianceDenoise(with_variance) if isinstance(denoiser, VarianceDenoiser) else guided


def _check(rescale: float) -> None:
    if not 0 <= rescale <= 1:
        raise RequestError(f"the rescale of guidance must be in [0, 1], got {rescale}")


def _twice(at: Level) -> Level:
    return Level(_doubled(at.alpha), _doubled(at.sigma))


def _doubled(value: Number) -> Number:
    return torch.cat([value, value]) if isinstance(value, Tensor) and value.ndim == 1 else value


def _mix(x: Tensor, at: Level, pos: Tensor, neg: Tensor, weight: float, rescale: float, output: Prediction) -> Tensor:
    guided = neg + weight * (pos - neg)
    if rescale == 0:
        return guided
    scales = output(at)
    raw = _rescaled(predict.target(output, x, guided, at), predict.target(output, x, pos, at), rescale)
    return per_sample(scales.c_skip, x) * x + per_sample(scales.c_out, x) * raw


def _rescaled(guided: Tensor, pos: Tensor, share: float) -> Tensor:
    """`guided` (B, ...) with each sample's deviation moved by `share` of the way to that of `pos`."""
    over = tuple(range(1, guided.ndim))
    have, want = (value.std(over, correction=0, keepdim=True) for value in (guided, pos))
    ratio = torch.where(have > 0, want / have, torch.ones_like(have))
    return guided * (share * ratio + (1 - share))


def within(guided: Denoise, plain: Denoise, lo: float, hi: float) -> Denoise:
    """`guided` where lo <= lam <= hi, else `plain` (Kynkaanniemi et al. 2024); lo below hi, either may be infinite."""
    if not lo <= hi:
        raise RequestError(f"a guidance interval needs lo <= hi in lam, got {lo} and {hi}")
    return _either(guided, plain, lambda at: bool(lo <= at.lam <= hi))


def at_levels(guided: Denoise, plain: Denoise, levels: Collection[Level]) -> Denoise:
    """`guided` at exactly these levels, else `plain`; `levels[::5]` of a run's levels is every fifth step.

    Levels that a sampler adds between those of the run (DPM2's midpoints) are plain.
    """
    chosen = frozenset(levels)
    return _either(guided, plain, lambda at: at in chosen)


def _either(guided: Denoise, plain: Denoise, at_level: Callable[[Level], bool]) -> Denoise:
    if not (isinstance(guided, VarianceDenoise) and isinstance(plain, VarianceDenoise)):
        return lambda x, at: guided(x, at) if at_level(at) else plain(x, at)
    first, second = guided.both, plain.both

    def both(x: Tensor, at: Level) -> tuple[Tensor, Tensor]:
        return first(x, at) if at_level(at) else second(x, at)

    return VarianceDenoise(both)
