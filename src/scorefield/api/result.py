"""The result of a request: pictures or films, each with the record from which it can be drawn again."""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import overload

from PIL import Image

from scorefield import atomic
from scorefield.errors import RequestError
from scorefield.files import films, parameters, picture, video
from scorefield.files.frame_store import FrameStore
from scorefield.files.output_names import OutputNames
from scorefield.files.walk_pictures import tiled
from scorefield.request import Request

_MOST_SHOWN = 4  # pictures that a repr names


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an output comes from, besides its request: the weights and the machine."""

    model: str
    sha256: str  # of the model's weights
    threads: int
    levels: tuple[tuple[float, float], ...]  # alpha and sigma from noise to clean
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Drawn(ABC):
    """One output, number `index` of its request, and everything needed to draw it again."""

    prompt: str
    seed: int
    index: int
    request: Request
    origin: Origin

    def record(self) -> dict[str, object]:
        """The `scorefield` entry of a file: plain JSON."""
        request = self.request.model_dump(mode="json")
        return {"prompt": self.prompt, "seed": self.seed, "index": self.index, "request": request} | asdict(self.origin)

    @abstractmethod
    def write(self, names: Iterator[Path], *, overwrite: bool = False) -> Path:
        """Write it with its record to the first free name, or to the first name with `overwrite`; return the name."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Picture(Drawn):
    """A picture."""

    image: Image.Image

    def __repr__(self) -> str:
        return f"Picture({self.prompt!r}, seed {self.seed}, {self.image.width}x{self.image.height})"

    def _repr_png_(self) -> bytes:
        """The picture in a notebook."""
        return self.png()

    def write(self, names: Iterator[Path], *, overwrite: bool = False) -> Path:
        """Write it as PNG to the first free name, or to the first name with `overwrite`; return the name."""
        return atomic.write(self.png(), names, overwrite=overwrite)

    def png(self) -> bytes:
        """The picture as a PNG file with the `parameters` text that other programs read, and our own record."""
        asked, origin = self.request, self.origin
        pairs = {
            "Steps": asked.steps,
            "Sampler": parameters.SAMPLERS.get(asked.sampler or "", asked.sampler),
            "Schedule type": parameters.SCHEDULES.get(asked.schedule or "", asked.schedule),
            "CFG scale": None if asked.cfg_scale is None else f"{asked.cfg_scale:g}",
            "Seed": str(self.seed),
            "Size": f"{self.image.width}x{self.image.height}",
            "Model hash": origin.sha256[:10],
            "Model": Path(origin.model).name.removesuffix(".safetensors").removesuffix(".ckpt"),
            "Lora hashes": ", ".join(f"{Path(one.path).stem}: {(one.sha256 or '')[:10]}" for one in asked.loras),
            "TI hashes": ", ".join(f"{one.token}: {(one.sha256 or '')[:10]}" for one in asked.embeddings),
            "Denoising strength": None if asked.strength is None else f"{asked.strength:g}",
            "Clip skip": asked.clip_skip if asked.clip_skip > 1 else None,
            "RNG": "CPU",
            "Weighting": asked.weighting,
            "Long prompt": asked.long_prompt,
            "Version": f"scorefield {origin.versions['scorefield']}",
        }
        stated = {name: value for name, value in pairs.items() if value}
        text = parameters.write(self._prompt(), asked.negative_prompt, stated)
        return picture.encode(self.image, {"parameters": text, picture.OURS: json.dumps(self.record())})

    def _prompt(self) -> str:
        """The prompt with a tag for each LoRA, as A1111 writes it: the text encoder's scale comes first."""
        named = [(Path(lora.path).stem, *dict.fromkeys(reversed(lora.scales))) for lora in self.request.loras]
        tags = [f"<lora:{name}:{':'.join(f'{scale:g}' for scale in scales)}>" for name, *scales in named]
        return " ".join(text for text in [self.prompt, *tags] if text)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Film(Drawn):
    """A film."""

    frames: FrameStore
    fps: float

    def __repr__(self) -> str:
        width, height = self.frames[0].size
        return f"Film({self.prompt!r}, seed {self.seed}, {width}x{height}, {len(self.frames)} frames)"

    def _repr_html_(self) -> str:
        """The film in a notebook: mp4, or a GIF without PyAV."""
        ending = ".mp4" if video.can_encode() else ".gif"
        with TemporaryDirectory() as folder:
            data = base64.b64encode(self.save(Path(folder, f"film{ending}")).read_bytes()).decode()
        if ending == ".gif":
            return f'<img src="data:image/gif;base64,{data}">'
        return f'<video controls loop autoplay muted playsinline src="data:video/mp4;base64,{data}"></video>'

    @property
    def frames_sha256(self) -> str:
        """The sha256 of the RGB bytes of all frames; a file's format may change the frames themselves."""
        return self.frames.sha256

    def record(self) -> dict[str, object]:
        """The `scorefield` entry of a file: plain JSON, with the hash of the frames."""
        return Drawn.record(self) | {"frames_sha256": self.frames_sha256}

    def write(self, names: Iterator[Path], *, overwrite: bool = False) -> Path:
        """Write it in the format that the names' ending states; return the name: see `files.films.write`."""
        return films.write(self.frames, self.fps, json.dumps(self.record()), names, overwrite=overwrite)

    def save(self, output: str | Path = ".", *, overwrite: bool = False) -> Path:
        """Write the film into a folder, or under a name in .mp4, .webp, .gif or .png; return the name.

        In a folder it is mp4, or WebP without PyAV. film.png makes every frame a file, film-0001.png and so on; the
        first name is returned. Errors as in Result.save, and MissingExtraError for mp4 without PyAV.
        """
        names = OutputNames(Path(output))
        return self.write(names.of(self.prompt, names.ending(film=True)), overwrite=overwrite)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Result:
    """The pictures or films of one request, in order."""

    request: Request
    media: tuple[Picture | Film, ...]
    seconds: dict[str, float]  # how long the walk and the decoding took

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures, each with its record."""
        return tuple(one for one in self.media if isinstance(one, Picture))

    @property
    def films(self) -> tuple[Film, ...]:
        """The films, each with its record."""
        return tuple(one for one in self.media if isinstance(one, Film))

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """The pictures without their records."""
        return tuple(one.image for one in self.pictures)

    @property
    def image(self) -> Image.Image:
        """The only picture; RequestError if there is not exactly one."""
        if len(self.pictures) != 1:
            raise RequestError(f"there are {len(self.pictures)} pictures; take one of `images`")
        return self.pictures[0].image

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each output."""
        return tuple(one.seed for one in self.media)

    def __repr__(self) -> str:
        shown = ", ".join(f"{one.prompt!r} seed {one.seed}" for one in self.media[:_MOST_SHOWN])
        more = f", and {len(self) - _MOST_SHOWN} more" if len(self) > _MOST_SHOWN else ""
        return f"Result({shown}{more}; {sum(self.seconds.values()):.2f} s)"

    def _repr_html_(self) -> str | None:
        """All the films, in a notebook; None if there are none."""
        return "".join(one._repr_html_() for one in self.films) or None

    def _repr_png_(self) -> bytes | None:
        """All the pictures, in a notebook; None if there are none."""
        if not self.pictures:
            return None
        return self.pictures[0].png() if len(self) == 1 else picture.encode(tiled(self.images), {})

    def __len__(self) -> int:
        return len(self.media)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Image.Image, ...]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | tuple[Image.Image, ...]:
        return self.images[index]

    def __iter__(self) -> Iterator[Image.Image]:
        return iter(self.images)

    def save(self, output: str | Path = ".", *, overwrite: bool = False) -> list[Path]:
        """Write every output into a folder, or under a name in .png, for films as in Film.save; return the names.

        If a file of that name exists, the next free name is used, unless `overwrite`. No file is ever half written.
        OutputError for a name with another ending, OSError if the folder cannot be written to.
        """
        names = OutputNames(Path(output))
        ending = names.ending(film=bool(self.films))
        return [one.write(names.of(one.prompt, ending), overwrite=overwrite) for one in self.media]
