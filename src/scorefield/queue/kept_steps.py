"""The steps of one output, kept as small pictures: the noisy state and the estimate of the clean one."""

import io
from pathlib import Path

from PIL import Image

from scorefield import atomic

_QUALITY = 85  # of WebP


def step_name(index: int, i: int, what: str) -> str:
    """The file of step i of output `index`; `what` is "noisy" or "clean"."""
    return f"{index}-{i}-{what}.webp"


class KeptSteps:
    """Pictures of steps 0 to n."""

    def __init__(self) -> None:
        self._files: list[tuple[bytes, bytes]] = []

    def add(self, noisy: Image.Image, clean: Image.Image) -> None:
        """Keep the next step."""
        self._files.append((_webp(noisy), _webp(clean)))

    def write(self, folder: Path, index: int) -> int:
        """Write them for output `index`; return how many steps there are."""
        for i, (noisy, clean) in enumerate(self._files):
            for data, what in ((noisy, "noisy"), (clean, "clean")):
                atomic.write(data, iter([folder / step_name(index, i, what)]), overwrite=True)
        return len(self._files)


def _webp(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY)
    return stream.getvalue()
