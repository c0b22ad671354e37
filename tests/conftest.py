"""What every test starts from: few threads, a fixed seed, and nothing left over from its neighbour."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def few_threads() -> None:
    """Two threads at most: the suite is made for two cores, and small tensors are no faster on more."""
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The suite has a cache folder of its own, which its child processes inherit."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def same_start() -> Iterator[None]:
    """A fixed seed before a test; after it, PyTorch's global settings must be as they were."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    before = _settings()
    yield
    assert _settings() == before, "the test, or what it called, changed a global setting of PyTorch"


def _settings() -> tuple[object, ...]:
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),
    )
