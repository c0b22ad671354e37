"""Packed layers as operators of torch, for compiled code: the compiler can take no tensor of the mkldnn layout.

An operator is given the number of a layer, finds the layer when it runs, and so reads whatever weight that has by then.
The number is a tensor: it is an input of the compiled code, as a weight would be, and no constant in it. So another
network of the same shape, or the same one in the next process, has use for the same code.
"""

import itertools
from collections.abc import Sequence
from typing import Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor


class Layer(Protocol):
    """What an operator stands for."""

    def __call__(self, x: Tensor) -> Tensor:
        """The output."""

    def rows(self) -> Tensor:
        """The weight in rows."""


_layers: WeakValueDictionary[int, Layer] = WeakValueDictionary()
_numbers = itertools.count()


def number(layer: Layer) -> Tensor:
    """A number for `layer`, (), by which the operators find it as long as it lives."""
    made = next(_numbers)
    _layers[made] = layer
    return torch.tensor(made)


def _linear(x: Tensor, number: Tensor, width: int) -> Tensor:
    return _layers[int(number)](x)


def _linear_room(x: Tensor, number: Tensor, width: int) -> Tensor:
    return x.new_empty(*x.shape[:-1], width)


def _conv2d(
    x: Tensor,
    number: Tensor,
    shape: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    return _layers[int(number)](x).contiguous(memory_format=torch.channels_last)


def _conv2d_room(
    x: Tensor,
    number: Tensor,
    shape: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    sides = [
        (side + 2 * around - apart * (kernel - 1) - 1) // step + 1
        for side, around, apart, kernel, step in zip(x.shape[2:], padding, dilation, shape[2:], stride, strict=True)
    ]
    room: Tensor = x.new_empty(len(x), shape[0], *sides)
    return room.contiguous(memory_format=torch.channels_last)


def _rows(number: Tensor, shape: Sequence[int]) -> Tensor:
    return _layers[int(number)].rows()


def _rows_room(number: Tensor, shape: Sequence[int]) -> Tensor:
    return number.new_empty(shape, dtype=torch.bfloat16)


linear = torch.library.custom_op("scorefield::linear", _linear, mutates_args=(), device_types="cpu")
linear.register_fake(_linear_room)
conv2d = torch.library.custom_op("scorefield::conv2d", _conv2d, mutates_args=(), device_types="cpu")
conv2d.register_fake(_conv2d_room)
rows = torch.library.custom_op("scorefield::rows", _rows, mutates_args=(), device_types="cpu")
rows.register_fake(_rows_room)
