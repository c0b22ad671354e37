"""Optimisers and learning rate schedule: AdamW without decay of vectors, Muon for hidden matrices, Wsd."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as adamw_update

from scorefield.core.half_precision import has_bfloat16
from scorefield.errors import RequestError

Betas = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wsd:
    """Learning-rate schedule: linear warm-up, stable, linear decay to zero (Hu et al. 2024, MiniCPM).

    A run can be extended from any state before the decay, since the stable part does not depend on the total.
    """

    warmup: int = 100  # steps
    decay: float = 0.2  # share of the run

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise RequestError(f"warmup must be at least 0 steps, not {self.warmup}")
        if not 0 <= self.decay <= 1:
            raise RequestError(f"decay must be a share of the run, from 0 to 1, not {self.decay:g}")

    def stable_until(self, steps: int) -> int:
        """The number of steps before the decay begins, of `steps`."""
        return steps - round(self.decay * steps)

    def __call__(self, step: int, steps: int) -> float:
        """The factor on the base rate for step `step` = 1..steps: 1 / warmup at the first, 0 at steps + 1."""
        rise = step / self.warmup if step < self.warmup else 1.0
        span = steps - self.stable_until(steps) + 1
        fall = (steps + 1 - step) / span if span > 1 else 1.0
        return max(0.0, min(rise, fall, 1.0))


def adamw(
    module: nn.Module, lr: float, weight_decay: float = 0.01, betas: Betas = (0.9, 0.99), eps: float = 1e-8
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), fused; weight decay applies to parameters of two or more dimensions."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)


def hidden_matrices(module: nn.Module, excluded: Sequence[str] = ()) -> list[nn.Parameter]:
    """The trained weights of linear and convolution layers, except layers whose name contains one of `excluded`.

    `excluded` should name the first and the last layer of a network.
    """
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    inner = [layer.weight for name, layer in layers if not any(part in name for part in excluded)]
    return [weight for weight in inner if isinstance(weight, nn.Parameter) and weight.requires_grad]


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Roughly U V^T of matrices (N, R, C) = U S V^T, with singular values between 0.7 and 1.2.

    A quintic Newton-Schulz iteration, tuned for its slope at zero, not for convergence to 1 (Jordan et al. 2024); it is
    in bfloat16 where the device has that, else in float32.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide: Tensor = matrices.to(torch.bfloat16 if has_bfloat16(matrices.device) else torch.float32)
    tall = wide.size(-2) > wide.size(-1)
    wide = wide.mT if tall else wide
    wide = wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.mT if tall else wide


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum (Jordan et al. 2024) for `matrices`, AdamW for every other trained parameter.

    A convolution kernel (out, in, h, w) is treated as the matrix (out, in * h * w). Updates are scaled by
    0.2 sqrt(max(rows, columns)) to the size of AdamW's, so that one learning rate and one decoupled weight decay fit
    both (Liu et al. 2025, Moonlight); `other_lr` sets a different rate for AdamW's parameters.
    """

    def __init__(
        self, module: nn.Module, matrices: Sequence[nn.Parameter], lr: float, weight_decay: float = 0.01,
        momentum: float = 0.95, other_lr: float | None = None, betas: Betas = (0.9, 0.99), eps: float = 1e-8,
    ) -> None:  # fmt: skip
        if odd := [tuple(p.shape) for p in matrices if p.ndim < 2]:
            raise ValueError(f"Muon takes matrices and kernels; got a parameter of shape {odd[0]}")
        chosen = {id(p) for p in matrices}
        others = [p for p in module.parameters() if p.requires_grad and id(p) not in chosen]
        adam = {"betas": betas, "eps": eps, "lr": lr if other_lr is None else other_lr, "fused": True}
        groups = [
            {"params": list(matrices), "momentum": momentum, "weight_decay": weight_decay, "lr": lr},
            {"params": [p for p in others if p.ndim >= 2], "weight_decay": weight_decay, **adam},
            {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0, **adam},
        ]
        super().__init__([group for group in groups if group["params"]], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; a closure is refused."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            given = [p for p in group["params"] if p.grad is not None]
            if not given:
                continue
            if "momentum" in group:
                self._muon(given, group["lr"], group["momentum"], group["weight_decay"])
            else:
                self._adamw(given, group["lr"], group["betas"], group["eps"], group["weight_decay"])

    def _muon(self, given: list[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for p in given:
            if not self.state[p]:
                self.state[p]["mean"] = torch.zeros_like(p)
            alike[p.shape].append(p)
        for shape, some in alike.items():
            grads = [p.grad for p in some if p.grad is not None]
            means = [self.state[p]["mean"] for p in some]
            torch._foreach_lerp_(means, grads, 1 - momentum)
            ahead = torch._foreach_lerp(grads, means, momentum)  # Nesterov
            update = orthogonalise(torch.stack([grad.flatten(1) for grad in ahead])).to(some[0].dtype)
            torch._foreach_mul_(some, 1 - lr * weight_decay)
            scale = 0.2 * max(update.shape[1:]) ** 0.5
            torch._foreach_add_(some, list(update.reshape(-1, *shape)), alpha=-lr * scale)

    def _adamw(self, given: list[Tensor], lr: float, betas: Betas, eps: float, weight_decay: float) -> None:
        for p in given:
            if not self.state[p]:
                self.state[p]["step"] = torch.zeros((), device=p.device)
                self.state[p]["exp_avg"], self.state[p]["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        adamw_update(
            given, [p.grad for p in given if p.grad is not None], [self.state[p]["exp_avg"] for p in given],
            [self.state[p]["exp_avg_sq"] for p in given], [], [self.state[p]["step"] for p in given],
            fused=True, amsgrad=False, beta1=betas[0], beta2=betas[1], lr=lr, weight_decay=weight_decay, eps=eps,
            maximize=False,
        )  # fmt: skip
