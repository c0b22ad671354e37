"""The names and shapes of a network's tensors in a published file, key by key, in both directions.

A map is a list of entries. The functions in `key_maps` build one from a network's configuration, part by part, so it
names every key, and a file with a missing or an extra key is refused. `under` puts the entries of a part behind its
prefixes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from torch import Tensor

from scorefield.weights.checkpoint_layout import harmless


class KeysError(ValueError):
    """A file's keys or shapes are not those of the network; the message names the first few."""


class Form(Enum):
    """How a tensor of theirs becomes ours."""

    SAME = "as it is"
    TRANSPOSED = "rows and columns swapped"
    CONVOLUTION = "a 1 x 1 convolution's (out, in, 1, 1) for our linear layer's (out, in)"
    CONVOLUTION_3D = "likewise, of three dimensions: (..., 1, 1, 1) for our (...)"
    SAMPLE = "a batch of one sample, of three dimensions: (1, 1, width) or (1, length, width) for ours"
    FRAMES = "a three-dimensional convolution's (out, in, 3, H, W) for our (3 * out, in, H, W)"


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of our network, and the tensor of the published file that it comes from.

    Several of theirs, concatenated along the first axis, are ours.
    """

    ours: str
    theirs: tuple[str, ...]
    form: Form = Form.SAME


def same(ours: str, theirs: str, leaves: Sequence[str] = ("weight", "bias"), form: Form = Form.SAME) -> Iterator[Entry]:
    """The tensors `leaves` of a layer named `ours` here and `theirs` there; `form` is that of its weight."""
    for leaf in leaves:
        yield Entry(f"{ours}.{leaf}", (f"{theirs}.{leaf}",), form if leaf == "weight" else Form.SAME)


def under(ours: str, theirs: str, entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries of a part, with the prefixes `ours` and `theirs` before its names."""
    for entry in entries:
        yield replace(entry, ours=ours + entry.ours, theirs=tuple(theirs + name for name in entry.theirs))


Table = Mapping[str, tuple[str, ...]]  # our name of each layer, and its names in the layouts; numbers in {}


def named(table: Table, layout: int, ours: str, **numbers: object) -> tuple[str, str]:
    """A layer's name here and its name in a layout, the column `layout` of the table."""
    return ours.format(**numbers), table[ours][layout].format(**numbers)


def needed_keys(entries: Sequence[Entry], keys: Iterable[str]) -> list[str]:
    """A file's `keys` without the harmless ones that the network of `entries` does not have."""
    wanted = {name for entry in entries for name in entry.theirs}
    return [key for key in keys if key in wanted or not harmless(key)]


def check(entries: Sequence[Entry], keys: Iterable[str]) -> None:
    """KeysError unless the file's `keys` are those of the entries; its message names those missing and unknown."""
    expected, found = {name for entry in entries for name in entry.theirs}, set(keys)
    problems = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (("missing", sorted(expected - found)), ("unknown", sorted(found - expected)))
        if names
    ]
    if problems:
        raise KeysError(f"the file's keys are not those of this network: {' and '.join(problems)}")


def same_numbers(shape: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two shapes differ only by sides of 1, so that they hold the same numbers in the same order."""
    return [side for side in shape if side != 1] == [side for side in other if side != 1]


def views(entries: Iterable[Entry], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors by name as views of ours, so that copying a file's tensor into its view fills ours."""
    seen: dict[str, Tensor] = {}
    for entry in entries:
        tensor = ours[entry.ours]
        match entry.form:
            case Form.TRANSPOSED:
                tensor = tensor.T
            case Form.CONVOLUTION:
                tensor = tensor[..., None, None]
            case Form.CONVOLUTION_3D:
                tensor = tensor[..., None, None, None]
            case Form.SAMPLE:
                tensor = tensor.view(*(1,) * (3 - tensor.ndim), *tensor.shape)
            case Form.FRAMES:
                tensor = tensor.view(3, -1, *tensor.shape[1:]).permute(1, 2, 0, 3, 4)
        pieces = (tensor,) if len(entry.theirs) == 1 else tensor.chunk(len(entry.theirs))
        seen |= zip(entry.theirs, pieces, strict=True)
    return seen


def write(entries: Iterable[Entry], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors by name, from ours, bit for bit."""
    return {name: tensor.contiguous() for name, tensor in views(entries, ours).items()}
