"""What a weighting rule may ask of a text tower."""

from collections.abc import Callable

from torch import Tensor


class States:
    """The states (n, L, D), in float32, of tokens (n, L): `read(ids, mask)` gives them in the tower's own numbers."""

    def __init__(self, read: Callable[[Tensor, Tensor | None], Tensor], empty: Tensor) -> None:
        self._read, self._empty = read, empty

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Those of `ids`; where `mask` (n, L) bool is False nobody looks at a token."""
        return self._read(ids, mask).float()

    def empty(self) -> Tensor:
        """Those (1, L, D) of the empty prompt."""
        return self(self._empty)
