"""An autoencoder in its own dtype between float32 tensors, and again in float32 where half precision fails."""

import warnings
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

from scorefield.core.half import HalfPrecisionWarning, Rows, dtype_of, repaired

N = TypeVar("N", bound=nn.Module)


def mapped(side: Callable[[N, Tensor], Tensor], autoencoder: N, values: Tensor) -> Tensor:
    """side(autoencoder, values) of float32 `values` (B, ...), float32; `side` is the way in or the way out.

    A float32 copy of the autoencoder does what is not finite in half precision, with a HalfPrecisionWarning.
    """

    def run(net: N, rows: Rows) -> Tensor:
        return side(net, values[rows].to(dtype_of(net))).float()

    def tell(what: str) -> None:
        warnings.warn(f"the autoencoder's answer {what}", HalfPrecisionWarning, stacklevel=2)

    return repaired(run, autoencoder, tell)
