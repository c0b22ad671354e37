"""The result of a request: pictures or films, each with the record from which it can be drawn again."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import overload

from PIL import Image

from scorefield import atomic
from scorefield.errors import RequestError
from scorefield.files import parameters, picture
from scorefield.files.output_names import OutputNames
from scorefield.files.walk_pictures import tiled
from scorefield.request import Request

_MOST_SHOWN = 4  # pictures that a repr names


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The origin of a picture besides its request: the weights and the machine."""

    model: str
    sha256: str  # of the model's weights
    threads: int
    levels: tuple[tuple[float, float], ...]  # alpha and sigma from noise to clean
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Drawn:
    """One output, the `index`-th of its request, and all that it takes to draw it again."""

    prompt: str
    seed: int
    index: int
    request: Request
    origin: Origin

    def record(self) -> dict[str, object]:
        """The `scorefield` entry of a file: plain JSON."""
        request = self.request.model_dump(mode="json")
        return {"prompt": self.prompt, "seed": self.seed, "index": self.index, "request": request} | asdict(self.origin)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Picture(Drawn):
    """A picture."""

    image: Image.Image

    def __repr__(self) -> str:
        return f"Picture({self.prompt!r}, seed {self.seed}, {self.image.width}x{self.image.height})"

    def _repr_png_(self) -> bytes:
        """The picture in a notebook."""
        return self.png()

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

    frames: tuple[Image.Image, ...]
    fps: float

    def __repr__(self) -> str:
        width, height = self.frames[0].size
        return f"Film({self.prompt!r}, seed {self.seed}, {width}x{height}, {len(self.frames)} frames)"


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
        """The pictures alone."""
        return tuple(one.image for one in self.pictures)

    @property
    def image(self) -> Image.Image:
        """The only picture; ValueError if there are more."""
        if len(self.pictures) != 1:
            raise RequestError(f"there are {len(self.pictures)} pictures; take one of `images`")
        return self.pictures[0].image

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each picture."""
        return tuple(one.seed for one in self.media)

    def __repr__(self) -> str:
        shown = ", ".join(f"{one.prompt!r} seed {one.seed}" for one in self.media[:_MOST_SHOWN])
        more = f", and {len(self) - _MOST_SHOWN} more" if len(self) > _MOST_SHOWN else ""
        return f"Result({shown}{more}; {sum(self.seconds.values()):.2f} s)"

    def _repr_png_(self) -> bytes:
        """All the pictures, in a notebook."""
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
        """Write every picture into a folder, or under a name that ends in .png; returns the names.

        If a file of that name exists, the next free name is taken, unless `overwrite`. No file is ever half written.
        OutputError for a name with another ending, OSError if the folder cannot be written.
        """
        names = OutputNames(Path(output))
        return [atomic.write(one.png(), names.of(one.prompt), overwrite=overwrite) for one in self.pictures]
