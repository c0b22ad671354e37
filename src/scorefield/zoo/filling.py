"""Published weights into our networks: every key accounted for, each tensor cast as it comes, all of it hashed."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from scorefield.weights.entries import Entry, KeysError, check, read
from scorefield.weights.folder import SourceError
from scorefield.weights.source import Source

M = TypeVar("M", bound=nn.Module)


class Filling:
    """Fills networks for one device in one dtype, tensor by tensor: no more than one is held twice at a time.

    The hash is over our names and the numbers as they are stored, taken while they are read: no file is read twice,
    and a folder and a single file that hold the same tensors have the same hash.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hash of all that has been read."""
        return self._hash.hexdigest()

    def __call__(
        self, build: Callable[[], M], part: str, entries: Sequence[Entry], source: Source, keys: Iterable[str]
    ) -> M:
        """The network of `build` with the weights that `source` has under `keys`; `part` is what an error calls it.

        SourceError for keys or shapes that are not its own. Convolutions lie channels last.
        """
        with torch.device("meta"):
            net = build()
        try:
            check(entries, keys)
        except KeysError as error:
            raise SourceError(f"{source.listing.path}: the {part}: {error}") from None
        tensors = dict(self._tensors(net.state_dict(), part, entries, source))
        net.load_state_dict(tensors, assign=True)
        return net.eval().requires_grad_(False)

    def _tensors(
        self, wanted: Mapping[str, Tensor], part: str, entries: Sequence[Entry], source: Source
    ) -> Iterator[tuple[str, Tensor]]:
        for entry, (name, tensor) in zip(entries, read(entries, source.fetch), strict=True):
            if tensor.shape != wanted[name].shape:
                raise SourceError(
                    f"{source.listing.path}: the {part}: {entry.theirs[0]} is of shape {tuple(tensor.shape)}, where "
                    f"this network has {tuple(wanted[name].shape)}: it is of another model"
                )
            self._hash.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            self._hash.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            order = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
            yield name, tensor.to(device=self.device, dtype=self.dtype, memory_format=order)
