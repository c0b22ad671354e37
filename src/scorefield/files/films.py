"""Films as files that carry their record: mp4, animated WebP and GIF, or a PNG for every frame.

PNG has the record in the text chunk of pictures. The others have it as a comment: in mp4's metadata, WebP's EXIF, GIF.
WebP and GIF join equal frames into one that is shown for longer. Pillow encodes these two from all frames at once; mp4
and PNG need one frame in memory.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, pairwise
from pathlib import Path

from PIL import Image

from scorefield import atomic
from scorefield.files import picture
from scorefield.files.video import write_mp4

_EXIF, _USER_COMMENT, _ASCII = 0x8769, 0x9286, b"ASCII\0\0\0"
_SLOWEST = 0.01  # frames per second: formats limit how long a frame is shown
_FASTEST_GIF = 50.0  # frames per second; browsers slow faster ones down to 10


def write(
    frames: Sequence[Image.Image], fps: float, record: str, names: Iterator[Path], *, overwrite: bool = False
) -> Path:
    """Write RGB frames of one size with their record, JSON, to the first free name; return it, or the first frame's.

    The name's ending, .mp4, .webp, .gif or .png, decides the format; the frames of name.png are name-0001.png and so
    on, and `overwrite` leaves later frames of an older film. On any error nothing of the film remains.
    MissingExtraError for mp4 without PyAV.
    """
    fps = max(fps, _SLOWEST)
    first = next(names)
    names = chain([first], names)
    if first.suffix.lower() == ".png":
        return _write_frames(frames, record, names, first.parent, overwrite=overwrite)
    with atomic.staged(first.parent) as path:
        _encode(frames, fps, picture.comment_of(record), path, first.suffix.lower())
        return atomic.publish(path, names, overwrite=overwrite)


def gif(frames: Sequence[Image.Image], fps: float, comment: bytes) -> bytes:
    """RGB frames of one size as an endless GIF with a comment."""
    stream = io.BytesIO()
    first, *rest = (frame.quantize(256) for frame in frames)
    shown = _durations(len(frames), min(fps, _FASTEST_GIF), 10)
    first.save(stream, "GIF", save_all=True, append_images=rest, duration=shown, loop=0, comment=comment)
    return stream.getvalue()


def _encode(frames: Sequence[Image.Image], fps: float, comment: str, path: Path, ending: str) -> None:
    match ending:
        case ".mp4":
            write_mp4(frames, path, fps, hold_seconds=0, comment=comment)
        case ".webp":
            exif = Image.Exif()
            exif.get_ifd(_EXIF)[_USER_COMMENT] = _ASCII + comment.encode()
            first, *rest = frames
            shown = _durations(len(frames), fps, 1)
            first.save(path, "WEBP", save_all=True, append_images=rest, duration=shown, loop=0, quality=90, exif=exif)
        case ".gif":
            path.write_bytes(gif(frames, fps, comment.encode()))
        case _:
            raise ValueError(f"no film format has the ending {ending!r}")


def _durations(count: int, fps: float, unit: int) -> list[int]:
    """The time of every frame, ms, in multiples of `unit`, whose errors do not add up."""
    starts = [round(k * 1000 / fps / unit) * unit for k in range(count + 1)]
    return [end - start for start, end in pairwise(starts)]


def _write_frames(
    frames: Sequence[Image.Image], record: str, names: Iterator[Path], folder: Path, *, overwrite: bool
) -> Path:
    with ExitStack() as stack:
        parts = [stack.enter_context(atomic.staged(folder)) for _ in frames]
        for frame, part in zip(frames, parts, strict=True):
            part.write_bytes(picture.encode(frame, {picture.OURS: record}))
        sets = ([name.with_stem(f"{name.stem}-{k:04}") for k in range(1, len(frames) + 1)] for name in names)
        chosen = next(one for one in sets if overwrite or not any(name.exists() for name in one))
        published: list[Path] = []
        try:
            for part, name in zip(parts, chosen, strict=True):
                published.append(atomic.publish(part, iter([name]), overwrite=overwrite))
        except BaseException:
            for name in published:
                name.unlink(missing_ok=True)
            raise
    return chosen[0]
