"""From one published layout of a model to another, tensor by tensor: what will be written, and the writing."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scorefield.weights.entries import Entry, read, views, write
from scorefield.weights.folder import SourceError
from scorefield.weights.source import Source
from scorefield.weights.writing import Planned, saving

Change = Callable[[str, Tensor], Tensor]

METADATA = {"format": "pt"}  # without which transformers reads no file
V, ZERO_SNR = "v_pred", "ztsnr"  # empty tensors of one file: it predicts v, and was trained to pure noise

_WHY = (  # what the other layout has no place for, by what its name begins or ends with
    ("model_ema.", "averaged copy of the U-Net"),
    ("first_stage_model.loss.", "loss of the autoencoder's training"),
    ("cond_stage_model.model.", "part of Stable Diffusion 2's text tower that it does not read"),
    ("cond_stage_model.", "part of the text tower that is not read"),
    ("conditioner.", "part of a text tower that is not read"),
    ("embedder.", "part of the image prompt's CLIP that is not read"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One network on its way: where its tensors lie, and under which names they will; both by way of our own."""

    source: Source
    stored: Sequence[Entry]
    written: Sequence[Entry]  # of the same tensors of ours, or of some of them
    change: Change | None = None  # what is done to ours, by its name, before it is written

    def planned(self, dtype: torch.dtype | None) -> Iterator[tuple[str, Planned]]:
        """Every tensor that will be written; those of whole numbers keep their own dtype."""
        for entry, ours in self._pairs("meta", dtype):
            for name, tensor in write([entry], {entry.ours: ours}).items():
                yield name, Planned(tensor.dtype, tuple(tensor.shape))

    def tensors(self, dtype: torch.dtype | None) -> Iterator[tuple[str, Tensor]]:
        """The tensors, in the order in which they lie in the file; SourceError for numbers that `dtype` cannot hold."""
        by_ours = {entry.ours: entry for entry in self.stored}
        for entry, ours in self._pairs("cpu", dtype):
            theirs = by_ours[entry.ours]
            for key, place in views([theirs], {entry.ours: ours}).items():
                self.source.copy(key, place, lambda _: None)
            if self.source.dtype(theirs.theirs[0]) != ours.dtype and not ours.isfinite().all():
                name = str(ours.dtype).removeprefix("torch.")
                raise SourceError(f"{self.source.listing.path}: {theirs.theirs[0]} holds numbers that {name} cannot")
            ours = ours if self.change is None else self.change(entry.ours, ours)
            yield from write([entry], {entry.ours: ours}).items()

    @property
    def used(self) -> set[str]:
        """The keys of the source that will be written, under whatever name."""
        wanted = {entry.ours for entry in self.written}
        return {key for entry in self.stored if entry.ours in wanted for key in entry.theirs}

    def _pairs(self, device: str, dtype: torch.dtype | None) -> Iterator[tuple[Entry, Tensor]]:
        """What will be written, each with room for our tensor."""
        stored = {entry.ours: entry for entry in self.stored}
        for entry in sorted(self.written, key=lambda one: min(map(self.source.place, stored[one.ours].theirs))):
            theirs = stored[entry.ours]
            ((_, shaped),) = read([theirs], lambda key: torch.empty(self.source.tensors[key].shape, device="meta"))
            own = self.source.dtype(theirs.theirs[0])
            cast = dtype if dtype is not None and own.is_floating_point else own
            yield entry, torch.empty(shaped.shape, dtype=cast, device=device)


@dataclass(frozen=True, slots=True)
class Constants:
    """Tensors that a layout has and the other has not: they are the same in every model."""

    held: Mapping[str, Tensor]

    def planned(self, dtype: torch.dtype | None) -> Iterator[tuple[str, Planned]]:
        """See `Piece`."""
        for name, tensor in self.held.items():
            yield name, Planned(dtype or tensor.dtype, tuple(tensor.shape))

    def tensors(self, dtype: torch.dtype | None) -> Iterator[tuple[str, Tensor]]:
        """See `Piece`."""
        for name, tensor in self.held.items():
            yield name, tensor.to(dtype or tensor.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A file of weights that will be written: its name, what is in it, and what it says of that."""

    name: str
    pieces: Sequence[Piece | Constants]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """All that will be written of a model; a single file has the name "" and no texts."""

    files: Sequence[WeightsFile]
    texts: Mapping[str, str]  # of a folder, by their names in it
    left: Mapping[str, int]  # what the new layout has no place for, and how many tensors that are

    def size(self, dtype: torch.dtype | None) -> int:
        """Bytes of all tensors."""
        pieces = (piece for file in self.files for piece in file.pieces)
        return sum(one.size for piece in pieces for _, one in piece.planned(dtype))

    def run(self, path: Path, dtype: torch.dtype | None) -> Iterator[int]:
        """Write it at `path`, a file or an empty folder that is there; yields bytes as they are written.

        Tensors of floating numbers become `dtype`, or stay what they are. No more than one of ours is in memory.
        """
        for name, text in self.texts.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text, encoding="utf-8")
        for file in self.files:
            place = path / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            planned = {name: one for piece in file.pieces for name, one in piece.planned(dtype)}
            tensors = (tensor for piece in file.pieces for tensor in piece.tensors(dtype))
            yield from saving(place, planned, tensors, file.metadata)


def left(pieces: Sequence[Piece]) -> Mapping[str, int]:
    """What the pieces leave of their sources, in words, with the number of tensors."""
    used: dict[Path, set[str]] = {}
    keys: dict[Path, Iterable[str]] = {}
    for piece in pieces:
        path = piece.source.listing.path
        keys[path] = piece.source.tensors
        used.setdefault(path, {V, ZERO_SNR}).update(piece.used)  # those two are said in other words
    return Counter(_why(key) for path, own in keys.items() for key in own if key not in used[path])


def _why(key: str) -> str:
    if key.endswith("position_ids"):
        return "positions counted out, which every program knows"
    return next((why for start, why in _WHY if key.startswith(start)), "table of the training's schedule")
