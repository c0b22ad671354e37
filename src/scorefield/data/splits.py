"""The combinations that are never trained on: a tenth of all, chosen by a checksum of their names."""

import zlib

MIRROR = {
    "left": "right", "right": "left", "above": "below", "below": "above", "front": "behind", "behind": "front",
    "next": "next",
}  # fmt: skip


def _tenth(*words: str) -> bool:
    return zlib.crc32("|".join(words).encode()) % 10 == 0


def held_out_place(thing: str, place: str) -> bool:
    """Whether thing x place is never trained on."""
    return _tenth(thing, place)


def held_out_pair(first: str, second: str, relation: str | None) -> bool:
    """Whether thing x thing x relation is never trained on; both ways to say it are one combination."""
    if relation is None or relation == "next":
        return _tenth(*sorted((first, second)), relation or "and")
    if relation in ("right", "below", "behind"):
        first, second, relation = second, first, MIRROR[relation]
    return _tenth(first, second, relation)


def held_out_motion(thing: str, motion: str, place: str) -> bool:
    """Whether thing x motion x place is never trained on."""
    return _tenth(thing, motion, place)
