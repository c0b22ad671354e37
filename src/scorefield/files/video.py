"""Write frames to video files as they come: mp4 that every browser plays, and GIF.

The mp4 is H.264 with yuv420p, even sides and its index at the start.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from types import ModuleType

from PIL import Image

from scorefield.errors import MissingError

HOLD_SECONDS = 1.5  # for which a walk video shows its last frame
_BT709, _LIMITED = 1, 1  # ITU-T H.273: its matrix, primaries and transfer; 16 to 235. Untagged, players guess.


class MissingExtraError(MissingError, ImportError):
    """A missing optional package; the message says how to install it."""


def require_video() -> ModuleType:
    """Import PyAV, an optional extra; MissingExtraError without it. Call it before long work for a video."""
    try:
        return import_module("av")
    except ImportError:
        raise MissingExtraError("videos need the extra `video`: pip install 'scorefield[video]'") from None


def can_encode() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def write_mp4(
    frames: Iterable[Image.Image],
    path: Path,
    per_second: float,
    hold_seconds: float = HOLD_SECONDS,
    *,
    comment: str = "",
) -> None:
    """Encode RGB frames of one size, at least one, into the file `path`, and hold the last one.

    `comment` becomes that entry of the file's metadata. Only one frame at a time is in memory. An odd side loses a row
    or column of pixels. MissingExtraError without PyAV.
    """
    av = require_video()
    rest = iter(frames)
    first = next(rest)
    size = first.width // 2 * 2, first.height // 2 * 2
    rate = Fraction(per_second).limit_denominator(1001)  # NTSC's 24000/1001
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        if comment:
            container.metadata["comment"] = comment
        stream = container.add_stream("libx264", rate=rate, options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        for frame in _held(chain([first], rest), round(hold_seconds * per_second)):
            shown = av.VideoFrame.from_image(frame.crop((0, 0, *size)))
            container.mux(stream.encode(shown.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode(None))


def write_gif(frames: Iterable[Image.Image], path: Path, per_second: int, hold_seconds: float = HOLD_SECONDS) -> None:
    """Encode RGB frames of one size, at least one, into an endless GIF, and hold the last one."""
    first, *rest = (frame.quantize(128) for frame in frames)
    durations = [1000 // per_second] * len(rest) + [round(1000 * hold_seconds)]
    first.save(path, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def _held(frames: Iterable[Image.Image], more: int) -> Iterator[Image.Image]:
    """The frames, with the last one repeated `more` times."""
    for frame in frames:
        yield frame
    yield from [frame] * more
