"""Linear layers and convolutions that keep bfloat16 weights in oneDNN's own order on a CPU.

PyTorch reorders the weights at every call. With weights packed once, Stable Diffusion 1's U-Net takes a tenth less
time; its 3x3 kernels at 8 x 8 take less than half. A packed weight is a tensor in torch's mkldnn layout: `dense` gives
the same numbers in rows, and `unpack` puts all weights of a network in rows, to be changed. The kernels have no
gradient: where one is needed, layers run from the dense weight. In float32 packing would save an eighth of a step and
slow down loading, so those weights stay in rows.

A compiled network reaches packed layers through our own operators, see `nets.packed_ops`: it must be `numbered`.
"""

import platform
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorefield.nets import packed_ops

_ROWS, _SIDE = 1024, 32  # of the input that oneDNN chooses its order for; inputs of other sizes gave the same order
_KERNELS = torch.ops.mkldnn


def dense(weight: Tensor) -> Tensor:
    """`weight` in rows, packed or not."""
    return weight.to_dense() if weight.is_mkldnn else weight


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether weights of that dtype are packed on that device."""
    if dtype != torch.bfloat16 or device.type != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    return torch._C._has_mkldnn and bool(_KERNELS._is_mkldnn_bf16_supported())


def _differentiated(*given: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in given)


class _Packable(nn.Module, ABC):
    weight: Tensor
    number: Tensor | None = None  # by which compiled code finds the layer; None if it can read the weight itself

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        if _differentiated(x, onto):
            return self._plain(x, self.rows(), onto)
        if self.number is not None and torch.compiler.is_compiling():
            made: Tensor = packed_ops.output(x, self.number, self._size(x))
            return made if onto is None else onto + made  # in float32 with what follows, if the compiler fuses them
        return self._fused(x, onto) if self.weight.is_mkldnn else self._plain(x, self.weight, onto)

    @abstractmethod
    def packed(self, weight: Tensor) -> Tensor:
        """A dense `weight` of this layer's shape in its kernel's order; `packs` must be true for it."""

    def rows(self) -> Tensor:
        """The weight in rows, packed or not."""
        if self.number is not None and torch.compiler.is_compiling():
            rows: Tensor = packed_ops.rows(self.number, self._weight_size())
            return rows
        return dense(self.weight)

    def _plain(self, x: Tensor, weight: Tensor, onto: Tensor | None) -> Tensor:
        made = self._product(x, weight)
        return made if onto is None else onto + made

    @abstractmethod
    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        """The layer's output from a weight in rows."""

    @abstractmethod
    def _fused(self, x: Tensor, onto: Tensor | None) -> Tensor:
        """The layer's output from the packed weight, plus `onto` if given."""

    @abstractmethod
    def _size(self, x: Tensor) -> list[int]:
        """The size of the layer's output for `x`."""

    @abstractmethod
    def _weight_size(self) -> list[int]:
        """The size of the weight, for compiled code, which cannot read the weight."""

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = dense(destination[f"{prefix}weight"])  # a saved state is in rows


class Linear(_Packable, nn.Linear):
    """A linear layer whose weight may be packed; `onto` is added to its output before the one rounding."""

    def packed(self, weight: Tensor) -> Tensor:
        made: Tensor = _KERNELS._reorder_linear_weight(weight.detach(), _ROWS)
        return made

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight, self.bias)

    def _fused(self, x: Tensor, onto: Tensor | None) -> Tensor:
        if onto is None:
            out: Tensor = _KERNELS._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        else:
            out = _KERNELS._linear_pointwise.binary(x, onto, self.weight, self.bias, "add")
        return out

    def _size(self, x: Tensor) -> list[int]:
        return [*x.shape[:-1], self.out_features]

    def _weight_size(self) -> list[int]:
        return [self.out_features, self.in_features]


class GeluLinear(Linear):
    """A linear layer and the tanh form of GELU; where the weight is packed, both are one kernel that rounds once."""

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.gelu(super()._product(x, weight), approximate="tanh")

    def _fused(self, x: Tensor, onto: Tensor | None) -> Tensor:
        made: Tensor = _KERNELS._linear_pointwise(x, self.weight, self.bias, "gelu", [], "tanh")
        return made if onto is None else onto + made


class Conv2d(_Packable, nn.Conv2d):
    """A convolution whose weight may be packed; `onto` is added to its output before the one rounding."""

    def packed(self, weight: Tensor) -> Tensor:
        seen = [2, self.in_channels, _SIDE, _SIDE]
        made: Tensor = _KERNELS._reorder_convolution_weight(weight.detach(), *self._geometry, seen)
        return made

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        made: Tensor = self._conv_forward(x, weight, self.bias)
        return made

    def _fused(self, x: Tensor, onto: Tensor | None) -> Tensor:
        given = self.weight, self.bias, *self._geometry
        if onto is None:
            out: Tensor = _KERNELS._convolution_pointwise(x, *given, "none", [], "")
        else:
            out = _KERNELS._convolution_pointwise.binary(x, onto, *given, "add", 1.0, None, [], None)
        return out

    def _size(self, x: Tensor) -> list[int]:
        padding, stride, dilation, _ = self._geometry
        sides = [
            (side + 2 * around - apart * (kernel - 1) - 1) // step + 1
            for side, around, apart, kernel, step in zip(
                x.shape[2:], padding, dilation, self.kernel_size, stride, strict=True
            )
        ]
        return [len(x), self.out_channels, *sides]

    def _weight_size(self) -> list[int]:
        return [self.out_channels, self.in_channels // self.groups, *self.kernel_size]

    @property
    def _geometry(self) -> tuple[list[int], list[int], list[int], int]:
        padding = [int(side) for side in self.padding]
        return padding, list(self.stride), list(self.dilation), self.groups


def layers(net: nn.Module) -> dict[str, Linear | Conv2d]:
    """The layers of `net` whose weight may be packed, by the weight's name."""
    return {f"{name}.weight": one for name, one in net.named_modules() if isinstance(one, Linear | Conv2d)}


def pack(net: nn.Module) -> None:
    """Pack, in place, the weights of `net` that can be packed."""
    for layer in layers(net).values():
        weight = layer.weight
        if not weight.is_mkldnn and not weight.requires_grad and packs(weight.device, weight.dtype):
            layer.weight = nn.Parameter(layer.packed(weight), requires_grad=False)


def unpack(net: nn.Module) -> None:
    """Put the packed weights of `net` in rows, in place; kernels are channels last."""
    for layer in layers(net).values():
        if layer.weight.is_mkldnn:
            rows = dense(layer.weight)
            if rows.ndim == 4:
                rows = rows.contiguous(memory_format=torch.channels_last)
            layer.weight = nn.Parameter(rows, requires_grad=False)


def numbered(net: nn.Module) -> None:
    """Give the packed layers of `net` numbers by which its compiled code finds them; their old numbers end."""
    for layer in layers(net).values():
        layer.number = packed_ops.number(layer) if layer.weight.is_mkldnn else None
