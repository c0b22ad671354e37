"""How a codec runs its autoencoder: in the network's dtype, and again in float32 where half precision fails."""

import warnings
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

from scorefield.core.half_precision import HalfPrecisionWarning, Rows, dtype_of, repaired

N = TypeVar("N", bound=nn.Module)


def mapped(side: Callable[[N, Tensor], Tensor], autoencoder: N, values: Tensor) -> Tensor:
    """`side(autoencoder, values)`, where `side` encodes or decodes; `values` (B, ...) and the result are float32.

    Samples that are not finite in half precision run again in float32, with a HalfPrecisionWarning.
    """

    def run(net: N, rows: Rows) -> Tensor:
        return side(net, values[rows].to(dtype_of(net))).float()

    def warn(what: str) -> None:
        warnings.warn(f"the autoencoder's answer {what}", HalfPrecisionWarning, stacklevel=2)

    return repaired(run, autoencoder, warn)
