"""Process-wide settings of torch change no picture: default dtype and device, autocast, inference, determinism."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
import torch

import scorefield as sf


@contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "default dtype": default_dtype,
    "default device": default_device,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference": torch.inference_mode,
    "deterministic": deterministic,
    "gradients": torch.enable_grad,
}


@pytest.fixture(scope="module")
def pipe() -> sf.Pipeline:
    return sf.load()


def pixels(pipe: sf.Pipeline, **options: object) -> np.ndarray:
    return np.asarray(pipe("a red car on the grass", seed=3, steps=2, **options).image)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_the_process_changes_no_picture(pipe: sf.Pipeline, setting: str) -> None:
    wanted, again = pixels(pipe, guidance=3), pixels(pipe, sampler="ddpm", noise="brownian", guidance=1)
    with SETTINGS[setting]():
        assert np.array_equal(pixels(pipe, guidance=3), wanted)
        assert np.array_equal(pixels(pipe, sampler="ddpm", noise="brownian", guidance=1), again)


def test_seeds_two_to_the_32_apart_draw_other_pictures(pipe: sf.Pipeline) -> None:
    small, large = (np.asarray(pipe("a red car on the grass", seed=seed, steps=2).image) for seed in (5, 5 + 2**32))
    assert abs(small.astype(int) - large).mean() > 5
