"""A number that is none stops the walk, and the error says where."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from scorefield.core.level import Level
from scorefield.sample.one_step import euler, heun
from scorefield.sample.walk import NonFiniteError, Step, finite

LEVELS = [Level(0.0, 1.0), Level(0.25, 0.75), Level(0.5, 0.5), Level(1.0, 0.0)]


def broken_at(level: Level, value: float) -> Iterator[Step]:
    def denoise(x: Tensor, at: Level) -> Tensor:
        x0 = torch.zeros_like(x)
        if at == level:
            x0[1, 0, 0] = value
        return x0

    return euler(denoise, torch.randn(3, 2, 2), LEVELS, lambda at, to: torch.zeros(3, 2, 2))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_error_names_step_level_tensor_and_sample(value: float) -> None:
    seen = []
    with pytest.raises(NonFiniteError) as error:
        seen.extend(step.i for step in finite(broken_at(LEVELS[1], value)))
    words = str(error.value)
    assert words.startswith("step 1 of 3, alpha = 0.25, sigma = 0.75, lam = -1.099: x0, the prediction")
    assert "torch.float32" in words
    assert "sample 1 of the batch (25 % of its numbers)" in words
    assert "\n" not in words
    with pytest.raises(NonFiniteError):
        seen.extend(step.i for step in finite(broken_at(LEVELS[0], value)))
    assert seen == [0]  # the steps before it were handed on, it was not


def test_a_state_that_breaks_between_levels_is_named_as_the_state() -> None:
    def denoise(x: Tensor, at: Level) -> Tensor:
        return x.new_full(x.shape, torch.nan) if at == LEVELS[2] else torch.zeros_like(x)

    walk = heun(denoise, torch.randn(2, 4), LEVELS, lambda at, to: torch.zeros(2, 4))
    with pytest.raises(NonFiniteError, match=r"step 2 of 3.*: x, the state .* in sample 0, 1 of the batch \(100 %"):
        list(finite(walk))


def test_a_sound_walk_passes_through_unchanged() -> None:
    steps = list(broken_at(LEVELS[1], 1.0))
    for step, same in zip(steps, finite(iter(steps)), strict=True):
        assert step is same
