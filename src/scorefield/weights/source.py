"""Somebody else's weights, opened lazily: every name, dtype and shape at once, the tensors one at a time."""

from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from scorefield.weights import pickles
from scorefield.weights.folder import SourceError
from scorefield.weights.listing import SAFETENSORS, Listing, Plain, Stored, form_of, read, told

Fetch = Callable[[str], Tensor]


class Source:
    """A file, a folder or the shards of an index, of which nothing is loaded before it is fetched.

    A fetched tensor is mapped from the file, in the dtype that is stored: it costs no memory until it is cast, and it
    is not to be written to. `variant` chooses among a folder's files ("fp16"). SourceError for whatever is wrong.
    """

    def __init__(self, path: Path, variant: str | None = None) -> None:
        self.listing: Listing = read(path, variant, pickled=pickles.listing)
        self._opened: dict[Path, Fetch] = {}

    @property
    def tensors(self) -> Mapping[str, Stored]:
        """The dtype and shape of every tensor by name."""
        return self.listing.tensors

    @property
    def values(self) -> Mapping[str, Plain]:
        """The plain values that a pickle holds beside its tensors, as global_step."""
        return self.listing.values

    def fetch(self, key: str) -> Tensor:
        """One tensor by its name; SourceError if there is none of that name."""
        file = self.listing.files.get(key)
        if file is None:
            raise SourceError(f"{self.listing.path} holds no tensor {key!r}")
        if file not in self._opened:
            self._opened[file] = _open(file)
        with told(file):
            return self._opened[file](key)


def _open(file: Path) -> Fetch:
    if form_of(file) == SAFETENSORS:
        with told(file):
            return safe_open(file, framework="pt").get_tensor
    return pickles.load(file).tensors.__getitem__
