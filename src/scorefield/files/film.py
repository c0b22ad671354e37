"""Films of the walk, in the one kind of mp4 that every browser plays: H.264, yuv420p, even sides, index in front."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from scorefield.files.looks import Look, pair

_SIDE = 512  # pixels each of the two pictures is wide, as near as whole pixels get
_PER_SECOND = 8
_HOLD = 12  # frames that the finished picture stays


class MissingExtraError(ImportError):
    """A part that is not installed; the message says how to get it."""


def require_film() -> ModuleType:
    """PyAV, an optional extra; MissingExtraError without it. To be asked before long work, too."""
    try:
        return import_module("av")
    except ImportError:
        raise MissingExtraError("films need the extra `video`: pip install 'scorefield[video]'") from None


def write_film(looks: Sequence[Look], path: Path) -> None:
    """Encode one frame a look into the file `path`, the last one held; MissingExtraError without PyAV."""
    av = require_film()
    scale = max(1, round(_SIDE / looks[0].noisy.width))
    frames = [pair(look, scale=scale) for look in looks]
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=_PER_SECOND, options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        for frame in [*frames, *[frames[-1]] * _HOLD]:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode(None))
