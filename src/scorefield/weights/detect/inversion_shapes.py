"""What a textual inversion is, from the names and shapes of its tensors, in each published form."""

from typing import NamedTuple

from scorefield.weights.detect.identity import BY_WORDS, Family, Identity, Kind, Layout
from scorefield.weights.tensor_index import Plain, Stored, TensorIndex

TOKEN = "token"  # where the header of a file for two towers names its word, as ours do; others leave it out
_MOST_VECTORS = 128  # more than a prompt has room for
_BY_WIDTH = BY_WORDS | {256: Family.SCOREFIELD}  # of the embedded model `scenes`
_UNNAMED = "the file does not name its token: say which word stands for it"


class VectorKeys(NamedTuple):
    """Where a file has the vectors of a textual inversion, and which token it names for them."""

    layout: Layout
    keys: tuple[str, ...]  # one for each text tower, the first tower's first
    token: Plain


def vector_keys(listing: TensorIndex) -> VectorKeys | None:
    """Where a file has the vectors of a textual inversion, by its names alone; None if it is something else."""
    tensors = listing.tensors
    stars = tuple(key for key in tensors if key.startswith("string_to_param."))
    only = next(iter(tensors)) if len(tensors) == 1 else None
    if len(stars) == 1:
        return VectorKeys(Layout.A1111, stars, listing.values.get("name"))
    if tensors.keys() == {"clip_l", "clip_g"}:
        return VectorKeys(Layout.BARE, ("clip_l", "clip_g"), listing.metadata.get(TOKEN))
    if only in ("", "emb_params"):
        return VectorKeys(Layout.BARE, (only,), None)
    if only is not None and not only.endswith(("weight", "bias")):
        return VectorKeys(Layout.DIFFUSERS, (only,), only)
    return None


def inversion(listing: TensorIndex) -> Identity | None:
    """The textual inversion that a whole file is, or None."""
    named = vector_keys(listing)
    if named is None:
        return None
    vectors = [size for key in named.keys if (size := _vectors(listing.tensors[key]))]
    if len(vectors) < len(named.keys):
        return None
    (count, width), *second = vectors
    family = Family.SDXL if second else _BY_WIDTH.get(width, Family.UNKNOWN)
    widths = ", ".join(str(width) for _, width in vectors) if second else width
    facts: dict[str, Plain] = {"token": named.token, "vectors": count, "width": widths}
    notes = () if isinstance(named.token, str) else (_UNNAMED,)
    return Identity(kind=Kind.EMBEDDING, family=family, layout=named.layout, facts=facts, notes=notes)


def _vectors(stored: Stored) -> tuple[int, int] | None:
    """How many vectors a tensor holds, and how wide they are; None if it cannot be vectors of tokens."""
    count, width = (1, *stored.shape) if len(stored.shape) == 1 else stored.shape if len(stored.shape) == 2 else (0, 0)
    floating = stored.dtype[0] in "FBfb" and stored.dtype not in ("BOOL", "bool")
    return (count, width) if floating and 0 < count <= _MOST_VECTORS and 64 <= width <= 4096 else None
