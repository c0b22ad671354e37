"""The names and shapes of a network's tensors in a published file, key by key, in both directions.

A map is a list of entries. The functions in `maps` build one from a network's configuration, part by part, so it names
every key, and a file with a missing or an extra key is refused. `under` puts the entries of a part behind its
prefixes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

from scorefield.weights.checkpoint_layout import harmless


class KeysError(ValueError):
    """A file's keys or shapes are not those of the network; the message names the first few."""


class Form(Enum):
    """How a tensor of theirs becomes ours."""

    SAME = "as it is"
    TRANSPOSED = "rows and columns swapped"
    CONVOLUTION = "a 1 x 1 convolution's (out, in, 1, 1) for our linear layer's (out, in)"
    STACKED = "several of theirs, one below the other, are ours"


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of our network, and the tensor of the published file that it comes from: several if STACKED."""

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
    """Whether two shapes differ by sides of 1 alone, so that they hold the same numbers in the same order."""
    return [side for side in shape if side != 1] == [side for side in other if side != 1]


def read(entries: Sequence[Entry], fetch: Callable[[str], Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Our tensors by name, from theirs, one at a time: each is fetched when the iterator reaches it."""
    for entry in entries:
        theirs = [fetch(name) for name in entry.theirs]
        match entry.form:
            case Form.TRANSPOSED:
                yield entry.ours, theirs[0].T
            case Form.CONVOLUTION:
                yield entry.ours, theirs[0].flatten(1)
            case Form.STACKED:
                yield entry.ours, torch.cat(theirs)
            case Form.SAME:
                yield entry.ours, theirs[0]


def views(entries: Sequence[Entry], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors by name as views of ours, so that copying a file's tensor into its view fills ours."""
    seen: dict[str, Tensor] = {}
    for entry in entries:
        tensor = ours[entry.ours]
        match entry.form:
            case Form.TRANSPOSED:
                seen[entry.theirs[0]] = tensor.T
            case Form.CONVOLUTION:
                seen[entry.theirs[0]] = tensor[..., None, None]
            case Form.STACKED:
                seen |= zip(entry.theirs, tensor.chunk(len(entry.theirs)), strict=True)
            case Form.SAME:
                seen[entry.theirs[0]] = tensor
    return seen


def write(entries: Sequence[Entry], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors by name, from ours: the inverse of `read`, to the bit."""
    return {name: tensor.contiguous() for name, tensor in views(entries, ours).items()}
