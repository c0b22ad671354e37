"""Our networks out of the files that others wrote, and how far their answers are apart."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from scorefield.weights import key_map

N = TypeVar("N", bound=nn.Module)


def loaded(build: Callable[[], N], path: Path, listed: Sequence[key_map.Entry]) -> N:
    """Our network with the weights of a file, no key more or less."""
    with torch.device("meta"):
        net = build()
    with safe_open(path, framework="pt") as file:
        key_map.check(listed, file.keys())
        net.load_state_dict(read_ours(net.state_dict(), listed, file.get_tensor), assign=True)
    return net.eval().requires_grad_(False)


def names(path: Path) -> list[str]:
    """The names of a file's tensors."""
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def read_ours(
    like: Mapping[str, Tensor], listed: Sequence[key_map.Entry], fetch: Callable[[str], Tensor]
) -> dict[str, Tensor]:
    """Our tensors, as those of `like`, filled with theirs through the views of the map."""
    ours = {name: torch.empty_like(tensor, device="cpu") for name, tensor in like.items()}
    for key, place in key_map.views(listed, ours).items():
        theirs = fetch(key)
        assert theirs.shape == place.shape, key
        place.copy_(theirs)
    return ours


def relative_error(ours: Tensor, theirs: Tensor, least: float) -> float:
    """The error over the norm of theirs, which must deviate by `least`: an output that is nothing compares nothing."""
    assert ours.isfinite().all()
    assert theirs.isfinite().all()
    assert ours.shape == theirs.shape
    assert theirs.std() > least
    return float((ours - theirs).norm() / theirs.norm())
