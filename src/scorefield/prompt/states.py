"""What a weighting rule needs of a text tower."""

from collections.abc import Callable

from torch import Tensor


class States:
    """The text tower's states (n, L, D) of token ids (n, L), in float32; `read` runs the tower, in its own dtype."""

    def __init__(self, read: Callable[[Tensor, Tensor | None], Tensor], empty: Tensor) -> None:
        self._read, self._empty = read, empty

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """The states of `ids`; no token attends to one where `mask` (n, L) bool is False."""
        return self._read(ids, mask).float()

    def empty(self) -> Tensor:
        """The states (1, L, D) of the empty prompt."""
        return self(self._empty)
