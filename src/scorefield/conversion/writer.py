"""A conversion between published layouts, tensor by tensor: what will be written, and the writing of it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scorefield.errors import DamagedError
from scorefield.weights.checkpoint import Reader
from scorefield.weights.checkpoint_layout import V_PREDICTION, ZERO_SNR
from scorefield.weights.detect.film_shapes import SPIECE
from scorefield.weights.key_map import Entry, views, write
from scorefield.weights.safetensors_file import Planned, saving

Change = Callable[[str, Tensor], Tensor]

METADATA = {"format": "pt"}  # transformers reads no file without it

_WHY = (  # keys that the other layout has no place for: how they begin, and what they are
    ("model_ema.", "averaged copy of the U-Net"),
    ("first_stage_model.loss.", "loss of the autoencoder's training"),
    ("cond_stage_model.model.", "part of Stable Diffusion 2's text encoder that it does not read"),
    ("cond_stage_model.", "part of the text encoder that is not read"),
    ("conditioner.", "part of a text encoder that is not read"),
    ("embedder.", "part of the image prompt's CLIP that is not read"),
    ("textual.", "part of a text encoder that is not read"),
    ("visual.head", "projection of an image encoder, which is not read"),
    ("log_scale", "temperature of a CLIP's training"),
    ("visual_projection.", "projection of an image encoder, which is not read"),
    ("encoder.embed_tokens.", "second name of the text encoder's vectors"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One network to be converted: the maps from its source to our names, and from these to the names to be written."""

    source: Reader
    ours: Mapping[str, Tensor]  # of the network, for their shapes: a file's may differ by sides of 1
    stored: Sequence[Entry]
    written: Sequence[Entry]  # of the same tensors of ours as `stored`, or of some of them
    change: Change | None = None  # applied to each tensor of ours, with its name, before it is written

    def planned(self, dtype: torch.dtype | None) -> Iterator[tuple[str, Planned]]:
        """Name, dtype and shape of every tensor that will be written; integer tensors keep their dtype."""
        for entry, _, ours in self._blank("meta", dtype):
            for name, tensor in write([entry], {entry.ours: ours}).items():
                yield name, Planned(tensor.dtype, tuple(tensor.shape))

    def tensors(self, dtype: torch.dtype | None) -> Iterator[tuple[str, Tensor]]:
        """The tensors by name, in the order of the source; DamagedError for numbers that `dtype` cannot hold."""
        for entry, stored, ours in self._blank("cpu", dtype):
            for key, place in views([stored], {entry.ours: ours}).items():
                self.source.copy(key, place, lambda _: None)
            if self.source.dtype(stored.theirs[0]) != ours.dtype and not ours.isfinite().all():
                name = str(ours.dtype).removeprefix("torch.")
                raise DamagedError(f"{self.source.index.path}: {stored.theirs[0]} holds numbers that do not fit {name}")
            ours = ours if self.change is None else self.change(entry.ours, ours)
            yield from write([entry], {entry.ours: ours}).items()

    @property
    def used(self) -> set[str]:
        """The keys of the source that will be written, under whichever name."""
        wanted = {entry.ours for entry in self.written}
        return {key for entry in self.stored if entry.ours in wanted for key in entry.theirs}

    def _blank(self, device: str, dtype: torch.dtype | None) -> Iterator[tuple[Entry, Entry, Tensor]]:
        """Each tensor to write, in the source's order: its entry, the source's entry, and an empty tensor of ours."""
        by_ours = {entry.ours: entry for entry in self.stored}
        for entry in sorted(self.written, key=lambda one: min(map(self.source.place, by_ours[one.ours].theirs))):
            stored = by_ours[entry.ours]
            own = self.source.dtype(stored.theirs[0])
            cast = dtype if dtype is not None and own.is_floating_point else own
            yield entry, stored, torch.empty(self.ours[entry.ours].shape, dtype=cast, device=device)


@dataclass(frozen=True, slots=True)
class Constants:
    """Tensors that only one of the layouts has, the same in every model."""

    by_name: Mapping[str, Tensor]

    def planned(self, dtype: torch.dtype | None) -> Iterator[tuple[str, Planned]]:
        """See `Piece`."""
        for name, tensor in self.by_name.items():
            yield name, Planned(_cast(tensor, dtype), tuple(tensor.shape))

    def tensors(self, dtype: torch.dtype | None) -> Iterator[tuple[str, Tensor]]:
        """See `Piece`."""
        for name, tensor in self.by_name.items():
            yield name, tensor.to(_cast(tensor, dtype))


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """The dtype that a tensor is written in; integers keep theirs."""
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A file of weights that will be written."""

    name: str  # in its folder; "" for a single file
    pieces: Sequence[Piece | Constants]
    metadata: Mapping[str, str]  # of its safetensors header


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """Everything that will be written of a model."""

    files: Sequence[WeightsFile]
    texts: Mapping[str, str | bytes]  # the other files of a folder, by name; none for a single file
    left: Mapping[str, int]  # what the new layout has no place for, in words: the number of tensors or parts

    def size(self, dtype: torch.dtype | None) -> int:
        """Bytes of all tensors."""
        pieces = (piece for file in self.files for piece in file.pieces)
        return sum(one.size for piece in pieces for _, one in piece.planned(dtype))

    def run(self, path: Path, dtype: torch.dtype | None) -> Iterator[int]:
        """Write it at `path`, which is a file or an empty folder; yields the number of bytes after each tensor.

        Floating tensors are cast to `dtype`, unless that is None. Only one tensor of ours is in memory at a time.
        """
        for name, text in self.texts.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        for file in self.files:
            place = path / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            planned = {name: one for piece in file.pieces for name, one in piece.planned(dtype)}
            tensors = (tensor for piece in file.pieces for tensor in piece.tensors(dtype))
            yield from saving(place, planned, tensors, file.metadata)


def left(pieces: Sequence[Piece]) -> Mapping[str, int]:
    """Everything that the pieces leave out of their sources, in words, with the number of tensors."""
    keys = {piece.source.index.path: piece.source.tensors for piece in pieces}
    used = {path: {V_PREDICTION, ZERO_SNR, SPIECE} for path in keys}  # these are written again
    for piece in pieces:
        used[piece.source.index.path] |= piece.used
    return Counter(_why(key) for path, own in keys.items() for key in own if key not in used[path])


def _why(key: str) -> str:
    if key.endswith("position_ids"):
        return "position ids, which every program knows"
    if key.endswith("norm_added_q.weight"):
        return "norm of a Wan that no program reads"
    return next((why for start, why in _WHY if key.startswith(start)), "table of the training schedule")
