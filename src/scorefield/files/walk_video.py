"""Videos of a walk from noise to picture: one frame a step."""

from collections.abc import Sequence
from pathlib import Path

from scorefield.files.video import write_mp4
from scorefield.files.walk_sheet import Look, pair

_SIDE = 512  # pixels that each of the two pictures is wide, as near as an integer scale gets
_PER_SECOND = 8


def write_walk_video(looks: Sequence[Look], path: Path) -> None:
    """Encode one frame for each look into the mp4 file `path`, the last one held; MissingExtraError without PyAV."""
    scale = max(1, round(_SIDE / looks[0].noisy.width))
    write_mp4((pair(look, scale=scale) for look in looks), path, _PER_SECOND)
