"""Films of the walk, in the one kind of mp4 that every browser plays: H.264, yuv420p, even sides, index in front."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from scorefield.files.looks import Look, pair

_SIDE = 512  # pixels each of the two pictures is wide, as near as whole pixels get
_PER_SECOND = 8
_HOLD = 12  # frames that the finished picture stays
_BT709, _LIMITED = 1, 1  # ITU-T H.273: its matrix, primaries and transfer; 16 to 235. Untagged, players guess.


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
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        for frame in [*frames, *[frames[-1]] * _HOLD]:
            shown = av.VideoFrame.from_image(frame)
            container.mux(stream.encode(shown.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode(None))
