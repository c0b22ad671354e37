"""The typed bag of tensors that conditions a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Cond:
    """A batch of conditions. The fields that are set go to the network as keyword arguments of the same names.

    A field that the network does not take is a TypeError.
    """

    tokens: Tensor | None = None  # (B, L, D) text tokens
    mask: Tensor | None = None  # (B, L) bool, True for real tokens
    pooled: Tensor | None = None  # (B, P)
    label: Tensor | None = None  # (B,)
    image: Tensor | None = None  # (B, C, H, W) or (B, C, T, H, W), concatenated on channels
    image_tokens: Tensor | None = None  # (B, M, D) states of an image encoder

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are set, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def map(self, function: Callable[[Tensor], Tensor]) -> "Cond":
        """A Cond with `function` applied to each field."""
        return Cond(**{name: function(value) for name, value in self.tensors().items()})

    def __getitem__(self, index: Tensor | slice) -> "Cond":
        """The rows `index` of every field."""
        return self.map(lambda value: value[index])

    def expand(self, count: int) -> "Cond":
        """This condition of one row for `count` samples, without a copy."""
        return self.map(lambda value: value.expand(count, *value.shape[1:]))

    def differs_in_shape(self, other: "Cond") -> bool:
        """Whether a field that both hold has another shape in `other`."""
        theirs = other.tensors()
        return any(value.shape != theirs[name].shape for name, value in self.tensors().items() if name in theirs)


def cat(conds: Sequence[Cond]) -> Cond:
    """Several batches as one; ValueError unless all set the same fields with the same trailing shapes."""
    fields_ = [cond.tensors() for cond in conds]
    if any(set(one) != set(fields_[0]) for one in fields_):
        raise ValueError(f"conditions hold different fields: {[sorted(one) for one in fields_]}")
    return Cond(**{name: torch.cat([one[name] for one in fields_]) for name in fields_[0]})


def drop(cond: Cond, empty: Cond, keep: Tensor) -> Cond:
    """Condition dropout: rows of `cond` where `keep` (B,) is True, else the row of `empty` (Ho & Salimans 2022)."""
    unconditional = empty.tensors()

    def choose(name: str, value: Tensor) -> Tensor:
        return torch.where(keep.reshape(-1, *[1] * (value.ndim - 1)), value, unconditional[name])

    return Cond(**{name: choose(name, value) for name, value in cond.tensors().items()})
