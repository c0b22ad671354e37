"""Packed layers as operators of torch, for compiled code: the compiler takes no tensors in the mkldnn layout.

An operator gets the number of a layer, finds the layer when it runs, and so reads the weight that the layer has by
then. The number is a tensor: an input of the compiled code, as a weight would be, not a constant in it. So another
network of the same shape, or the same one in the next process, can run the same code.
"""

import itertools
from collections.abc import Sequence
from typing import Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor


class Layer(Protocol):
    """A packed layer that an operator runs."""

    def __call__(self, x: Tensor) -> Tensor:
        """The output."""

    def rows(self) -> Tensor:
        """The weight in rows."""


_layers: WeakValueDictionary[int, Layer] = WeakValueDictionary()
_numbers = itertools.count()


def number(layer: Layer) -> Tensor:
    """A number (a tensor without dimensions) by which the operators find `layer` as long as it exists."""
    made = next(_numbers)
    _layers[made] = layer
    return torch.tensor(made)


def _output(x: Tensor, number: Tensor, size: Sequence[int]) -> Tensor:
    return _layers[int(number)](x).contiguous(memory_format=_order(size))


def _output_room(x: Tensor, number: Tensor, size: Sequence[int]) -> Tensor:
    return x.new_empty(size).contiguous(memory_format=_order(size))


def _order(size: Sequence[int]) -> torch.memory_format:
    """The memory order of the kernels' output: channels last for a grid."""
    return torch.channels_last if len(size) == 4 else torch.contiguous_format


def _rows(number: Tensor, size: Sequence[int]) -> Tensor:
    return _layers[int(number)].rows()


def _rows_room(number: Tensor, size: Sequence[int]) -> Tensor:
    return number.new_empty(size, dtype=torch.bfloat16)


# The compiler cannot trace an operator, so each gets the size of its output as an argument.
output = torch.library.custom_op("scorefield::output", _output, mutates_args=(), device_types="cpu")
output.register_fake(_output_room)
rows = torch.library.custom_op("scorefield::rows", _rows, mutates_args=(), device_types="cpu")
rows.register_fake(_rows_room)
