"""The names of grids, and what users of A1111, ComfyUI, diffusers, k-diffusion and stable-diffusion.cpp call them."""

from collections.abc import Mapping
from types import MappingProxyType

from scorefield.core import grid, grid_beta
from scorefield.core.name_lookup import canonical

GRIDS: Mapping[str, grid.Builder] = MappingProxyType(
    {
        "karras": grid.karras,
        "exponential": grid.exponential,
        "polyexponential": grid.polyexponential,
        "kl_optimal": grid.kl_optimal,
        "normal": grid.normal,
        "sgm_uniform": grid.sgm_uniform,
        "simple": grid.simple,
        "ddim_uniform": grid.ddim_uniform,
        "beta": grid_beta.beta,
        "beta_sigma": grid_beta.beta_sigma,
        "linear_quadratic": grid.linear_quadratic,
        "smoothstep": grid.smoothstep,
        "trailing": grid.trailing,
        "leading": grid.leading,
        "linspace": grid.linspace,
    }
)

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "uniform": "normal",  # A1111
        "discrete": "normal",  # stable-diffusion.cpp
        "sgmuniform": "sgm_uniform",  # A1111's old spelling
        "ddim": "ddim_uniform",  # A1111
        "flow": "trailing",  # uniform in t
        "use_flow_sigmas": "trailing",  # diffusers
        "use_karras_sigmas": "karras",
        "use_exponential_sigmas": "exponential",
        "use_beta_sigmas": "beta_sigma",
        "get_sigmas_karras": "karras",  # k-diffusion
        "get_sigmas_exponential": "exponential",
        "get_sigmas_polyexponential": "polyexponential",
    }
)


def find(name: str) -> grid.Builder:
    """The builder that `name` or its alias stands for; unknown is a ValueError with the nearest names."""
    return GRIDS[canonical("schedule", name, GRIDS, ALIASES)]
