"""The step formulas: pure functions of tensors and levels. A sampler is one of these and a walk.

Throughout, x (B, ...) is the state at level `at`, `to` is the next level, a prime marks quantities at `to`, and
h = lam' - lam > 0 on the way to data. All are finite at alpha = 0 and at sigma' = 0.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from scorefield.core.level import Level
from scorefield.core.noise import Noise
from scorefield.errors import RequestError

Kind = Literal["midpoint", "heun"]
Basis = Literal["bh1", "bh2"]


def gap(at: Level, to: Level) -> float:
    """h = lam' - lam; infinite if one end is pure noise or clean."""
    return float(to.lam - at.lam)


def ddim_step(x: Tensor, x0: Tensor, at: Level, to: Level) -> Tensor:
    """alpha' x0 + sigma' eps, eps the noise that x holds if x0 is the picture.

    Euler's step of dx = x0 d(alpha) + eps d(sigma) in every gauge, DDIM (Song et al. 2021a, eq. 12 at eta = 0), the
    flow step, and the exponential step (sigma'/sigma) x + alpha' (1 - e^-h) x0 of DPM-Solver++ (Lu et al. 2022b).
    """
    share = float(to.sigma / at.sigma)
    return share * x + float(to.alpha - at.alpha * share) * x0


def renoise_step(x: Tensor, x0: Tensor, at: Level, to: Level, split: tuple[float, float], noise: Noise) -> Tensor:
    """`ddim_step` with the noise of `to` split in two: `split` = (kept of eps, drawn new)."""
    kept, fresh = split
    landed = ddim_step(x, x0, at, Level(to.alpha, kept))
    return landed + fresh * noise(at, to) if fresh else landed


def ancestral(at: Level, to: Level, eta: float) -> tuple[float, float]:
    """The split of DDPM (eta = 1), DDIM (Song et al. 2021a, eq. 16) and the "ancestral" samplers: one formula.

    fresh^2 = eta^2 sigma'^2 (1 - (alpha sigma' / (alpha' sigma))^2), at most sigma'^2.
    """
    share = min(1.0, eta**2 * _lost(at, to, 2.0))
    return float(to.sigma) * math.sqrt(1 - share), float(to.sigma) * math.sqrt(share)


def reverse_sde(at: Level, to: Level, eta: float) -> tuple[float, float]:
    """The split of the SDE solvers: kept = sigma' e^(-eta h); for eta = 1 the same as `ancestral`."""
    share = _lost(at, to, 2 * eta) if eta else 0.0
    return float(to.sigma) * math.sqrt(1 - share), float(to.sigma) * math.sqrt(share)


def _lost(at: Level, to: Level, rate: float) -> float:
    h = gap(at, to)
    if h < 0:
        raise RequestError(f"a step with fresh noise must go towards the picture, but {to} is noisier than {at}")
    return -math.expm1(-rate * h)


def joined(first: Tensor, second: Tensor, at: Level, middle: Level, to: Level) -> Tensor:
    """The unit normal of the interval (at, to) from those of (at, middle) and (middle, to).

    They are increments of a Brownian motion in u = e^(2 lam), where the noise of the reverse SDE is additive.
    """
    share = math.expm1(2 * gap(at, middle)) / math.expm1(2 * gap(at, to))
    return math.sqrt(share) * first + math.sqrt(1 - share) * second


def trapezoid(x: Tensor, ends: tuple[Tensor, Tensor], eps: tuple[Tensor, Tensor], at: Level, to: Level) -> Tensor:
    """Heun's step of dx = x0 d(alpha) + eps d(sigma): `ends` = x0 here and there, `eps` likewise."""
    rise, fall = float(to.alpha - at.alpha) / 2, float(to.sigma - at.sigma) / 2
    return x + rise * (ends[0] + ends[1]) + fall * (eps[0] + eps[1])


def between(at: Level, to: Level, share: float) -> Level:
    """The level at lam + share * h, with alpha and sigma interpolated geometrically."""
    return Level(at.alpha ** (1 - share) * to.alpha**share, at.sigma ** (1 - share) * to.sigma**share)


def second(x0s: Sequence[Tensor], lams: Sequence[float], to: float, eta: float, kind: Kind) -> Tensor:
    """The prediction for the whole step of DPM-Solver++(2M), newest first (Lu et al. 2022b, algorithm 2).

    `kind` says how the slope enters: "midpoint" takes it at the middle of the step, "heun" integrates it.
    """
    h = to - lams[0]
    slope = (x0s[0] - x0s[1]) * (h / (lams[0] - lams[1]))
    if kind == "midpoint":
        return x0s[0] + slope / 2
    one, two, _ = _phis((1 + eta) * h)
    return x0s[0] + slope * (two / one)


def third(x0s: Sequence[Tensor], lams: Sequence[float], to: float, eta: float) -> Tensor:
    """The same for DPM-Solver++(3M), as in k-diffusion: the curvature enters with half its weight.

    So its order in h is two, like that of (2M), with a smaller constant.
    """
    h = to - lams[0]
    newer, older = (lams[0] - lams[1]) / h, (lams[1] - lams[2]) / h
    near, far = (x0s[0] - x0s[1]) / newer, (x0s[1] - x0s[2]) / older
    bend = (near - far) / (newer + older)
    one, two, three = _phis((1 + eta) * h)
    return x0s[0] + (near + newer * bend) * (two / one) + bend * (three / one)


def _phis(z: float) -> tuple[float, float, float]:
    one = -math.expm1(-z)
    two = 1 - one / z
    return one, two, 0.5 - two / z


def bh(x0s: Sequence[Tensor], lams: Sequence[float], to: float, kind: Basis) -> Tensor:
    """The prediction for the whole step of UniPC (Zhao et al. 2023, eq. 3 and 9), B(h) of `kind`.

    x0s[0] is the prediction at `at`; the others are earlier ones, or one at `to`. With p - 1 earlier ones it is UniP,
    the predictor of order p; with the one at `to` in addition it is UniC, the corrector.
    """
    if len(x0s) == 1:
        return x0s[0]
    h = to - lams[0]
    places = [(lam - lams[0]) / h for lam in lams[1:]]
    scale = 1.0 if kind == "bh2" else h / -math.expm1(-h)
    bent = x0s[0]
    for weight, place, x0 in zip(_bh_weights(places, h, kind), places, x0s[1:], strict=True):
        bent = bent + (scale * weight / place) * (x0 - x0s[0])
    return bent


def _bh_weights(places: Sequence[float], h: float, kind: Basis) -> list[float]:
    if len(places) == 1:  # the paper's choice: it does not depend on h
        return [0.5]
    base = math.expm1(-h) if kind == "bh2" else -h
    rows, right, phi, factorial = [], [], -math.expm1(-h) / h - 1, 1
    for power in range(len(places)):
        rows.append([place**power for place in places])
        right.append(phi * factorial / base)
        factorial *= power + 2
        phi = -phi / h - 1 / factorial
    solved: list[float] = torch.linalg.solve(
        torch.tensor(rows, dtype=torch.float64, device="cpu"),
        torch.tensor(right, dtype=torch.float64, device="cpu"),
    ).tolist()
    return solved


def adams(nodes: Sequence[float], to: float) -> list[float]:
    """Integrals from nodes[0] to `to` of the Lagrange polynomials of at most four `nodes`: Adams-Bashforth weights."""
    middle, half = (nodes[0] + to) / 2, (to - nodes[0]) / 2
    gauss = [middle - half / math.sqrt(3), middle + half / math.sqrt(3)]  # exact for the cubics that these are

    def lagrange(j: int, tau: float) -> float:
        return math.prod((tau - node) / (nodes[j] - node) for k, node in enumerate(nodes) if k != j)

    return [half * sum(lagrange(j, tau) for tau in gauss) for j in range(len(nodes))]
