"""Other programs' samplers, for comparison only.

k-diffusion's package imports a training stack (torchvision, wandb, kornia, ...) that its sampling.py has no use for, so
that file is loaded alone, with stand-ins for what it imports and does not need here: `odeint`, Brownian trees (the
tests hand in their own noise) and one helper of its utils. diffusers' DPM++ SDE scheduler imports torchsde likewise.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from scorefield.core.level import Level


def _unused(*_: object) -> None:
    raise AssertionError("a comparison called a stand-in")


def _module(name: str, **contents: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module


@contextmanager
def _in_place(*modules: ModuleType) -> Iterator[None]:
    before = {module.__name__: sys.modules.get(module.__name__) for module in modules}
    sys.modules.update({module.__name__: module for module in modules})
    yield
    for name, module in before.items():
        if module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module


@functools.cache
def k_sampling() -> ModuleType:
    """k_diffusion/sampling.py of the installed distribution, alone."""
    path = importlib.metadata.distribution("k-diffusion").locate_file("k_diffusion/sampling.py")
    spec = importlib.util.spec_from_file_location("k_diffusion.sampling", str(path))
    assert spec is not None
    assert spec.loader is not None
    sampling = importlib.util.module_from_spec(spec)
    utils = _module("k_diffusion.utils", append_dims=lambda x, ndim: x[(...,) + (None,) * (ndim - x.ndim)])
    stand_ins = (
        _module("torchdiffeq", odeint=_unused),
        _module("torchsde", BrownianTree=_unused),
        _module("k_diffusion", utils=utils),
        utils,
    )
    with _in_place(*stand_ins):
        spec.loader.exec_module(sampling)
    return sampling


def scheduler(name: str, **config: object) -> Any:
    """A scheduler of diffusers by its class name; those of Stable Diffusion's betas unless `config` says else."""
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    if name == "DPMSolverSDEScheduler":
        with _in_place(_module("torchsde", BrownianInterval=_unused)):
            module = importlib.import_module("diffusers.schedulers.scheduling_dpmsolver_sde")
    else:
        module = importlib.import_module("diffusers")
    made = getattr(module, name)
    return made(**config) if name.startswith("FlowMatch") else made(**{**betas, **config})


class WaveNoise:
    """Noise that is a smooth function of its interval, so that two programs that ask for the same get the same.

    Where theirs asks for (a, b) and then for (a, c), c beyond b, the second is made of those of (a, b) and (b, c), as
    for the one Brownian motion that both programs' samplers mean.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        source = torch.Generator().manual_seed(7)
        self.start, self.end, self.phase = torch.randn(3, *shape, generator=source, dtype=torch.float64) * 3
        self.asked = 0
        self.before = (0.0, 0.0)

    def between(self, lam: float, lam_to: float) -> Tensor:
        self.asked += 1
        lam, lam_to = max(lam, -20.0), min(lam_to, 20.0)  # pure noise and clean have infinite ones
        return 2**0.5 * torch.cos(self.start * lam + self.end * lam_to + self.phase)

    def __call__(self, at: Level, to: Level) -> Tensor:
        return self.between(float(at.lam), float(to.lam))

    def of_sigmas(self, sigma: Tensor, sigma_to: Tensor) -> Tensor:
        """The same by the sigmas of the VE gauge, k-diffusion's noise_sampler."""
        lam, lam_to = (-float(torch.as_tensor(value).log()) for value in (sigma, sigma_to))
        start, middle = self.before
        self.before = (lam, lam_to)
        if abs(lam - start) > 1e-6 or not middle < lam_to:
            return self.between(lam, lam_to)
        share = (math.exp(2 * middle) - math.exp(2 * lam)) / (math.exp(2 * lam_to) - math.exp(2 * lam))
        return share**0.5 * self.between(lam, middle) + (1 - share) ** 0.5 * self.between(middle, lam_to)
