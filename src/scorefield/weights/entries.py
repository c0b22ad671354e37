"""How a network's tensors are named and laid out in somebody else's file, key by key, both ways.

A map is a list of entries, made by a function of the network's config that walks its parts: so it names every key, and
a file that has one more or one less is told so. `under` sets a part's entries below the prefixes that it has in both.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor


class KeysError(ValueError):
    """A file's keys or shapes are not those of the network; the message names the first few."""


class Form(Enum):
    """What a tensor of theirs is to ours."""

    SAME = "as it is"
    TRANSPOSED = "rows and columns swapped"
    CONVOLUTION = "a 1 x 1 convolution's (out, in, 1, 1) for our linear layer's (out, in)"
    STACKED = "several of theirs, one below the other, are ours"


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of ours and the tensor of theirs that it is, or several where it is STACKED."""

    ours: str
    theirs: tuple[str, ...]
    form: Form = Form.SAME


def same(ours: str, theirs: str, leaves: Sequence[str] = ("weight", "bias"), form: Form = Form.SAME) -> Iterator[Entry]:
    """A layer's leaves under the two names that it has; the form is that of its weight."""
    for leaf in leaves:
        yield Entry(f"{ours}.{leaf}", (f"{theirs}.{leaf}",), form if leaf == "weight" else Form.SAME)


def under(ours: str, theirs: str, entries: Iterable[Entry]) -> Iterator[Entry]:
    """A part's entries, each name behind the part's own."""
    for entry in entries:
        yield replace(entry, ours=ours + entry.ours, theirs=tuple(theirs + name for name in entry.theirs))


def check(entries: Sequence[Entry], keys: Iterable[str]) -> None:
    """Nothing, if the file's `keys` are just those of the entries; else a KeysError that names what is not."""
    expected, found = {name for entry in entries for name in entry.theirs}, set(keys)
    told = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (("missing", sorted(expected - found)), ("unknown", sorted(found - expected)))
        if names
    ]
    if told:
        raise KeysError(f"the file's keys are not those of this network: {' and '.join(told)}")


def read(entries: Sequence[Entry], fetch: Callable[[str], Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Our tensors by name, one after the other, out of theirs; nothing is fetched before it is asked for."""
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
    """Their tensors by name as views of ours: what is copied into them is where it belongs in ours."""
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
    """Their tensors by name, out of ours: what `read` undoes, to the bit."""
    return {name: tensor.contiguous() for name, tensor in views(entries, ours).items()}
