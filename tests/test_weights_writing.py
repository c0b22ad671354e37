"""A safetensors file written tensor by tensor is the one that the library itself reads, to the bit."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from scorefield.weights.safetensors_file import DTYPES, Planned, saving


def test_every_number_format_comes_back_to_the_bit_in_whatever_order_it_comes(tmp_path: Path) -> None:
    held = {
        f"{name} é": torch.arange(1, 8).to(dtype) if dtype != torch.bool else torch.tensor([True, False, True])
        for name, dtype in DTYPES.items()
    }
    held |= {"scalar": torch.tensor(3.0), "turned": torch.randn(3, 5).T, "none": torch.empty(0, 4)}
    planned = {name: Planned(tensor.dtype, tuple(tensor.shape)) for name, tensor in held.items()}
    list(saving(tmp_path / "x.safetensors", planned, reversed(held.items()), {"format": "pt"}))
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == held.keys()
    for name, tensor in held.items():
        assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(read[name].float(), tensor.float())
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_tensor_that_is_not_as_planned_or_does_not_come_is_an_error(tmp_path: Path) -> None:
    planned = {"a": Planned(torch.float32, (2,)), "b": Planned(torch.float32, (2,))}
    with pytest.raises(ValueError, match=r"a is torch\.float16"):
        list(saving(tmp_path / "x", planned, [("a", torch.zeros(2).half())], {}))
    with pytest.raises(ValueError, match="1 tensors are missing, such as b"):
        list(saving(tmp_path / "x", planned, [("a", torch.zeros(2))], {}))
