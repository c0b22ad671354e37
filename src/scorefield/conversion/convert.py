"""Convert a model's files to another layout: check first, then write all or nothing."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import torch

from scorefield import atomic
from scorefield.adapters.lora_weights import open_lora
from scorefield.conversion.plan import conversion
from scorefield.conversion.wan import Layout
from scorefield.conversion.writer import Conversion
from scorefield.errors import RequestError
from scorefield.request import Loras, parse_choice

_LAYOUTS: tuple[Layout, ...] = ("diffusers", "ldm", "comfyui")
_NOT_WRITTEN = (".ckpt", ".pt", ".pth", ".bin")  # pickles: nobody wants a folder with such a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A conversion that has been checked, and not begun."""

    conversion: Conversion
    out: Path
    layout: Layout
    dtype: torch.dtype | None

    def run(self) -> Generator[int, None, None]:
        """Write it; yield the bytes of each tensor. To cancel, close the iterator: nothing is left behind."""
        if self.layout != "ldm":
            with atomic.staged_folder(self.out) as folder:
                yield from self.conversion.run(folder, self.dtype)
        else:
            with atomic.staged(self.out.parent) as file:
                yield from self.conversion.run(file, self.dtype)
                atomic.publish(file, iter([self.out]))


class Options(TypedDict, total=False):
    """The options of a conversion, see `prepare`; None is the same as left out."""

    to: str | None
    dtype: str | None
    prediction: str | None
    loras: Loras


def prepare(source: str | Path, out: str | Path, **options: Unpack[Options]) -> Job:
    """Check the conversion of the file or folder `source` into `out`; a ScorefieldError says why it cannot be done.

    `to` is diffusers (a folder) or ldm (one .safetensors file), by default as the name of `out` says; comfyui, for the
    folder of a Wan, is a folder of separate files. `dtype`
    (float16, bfloat16, float32) is for floating-point tensors, which else keep theirs; `prediction` (eps, v) is for
    files of Stable Diffusion 2 that do not say what they predict; `loras` are merged into the weights: see `load`.
    """
    loras = [open_lora(one) for one in parse_choice({"loras": options.get("loras", ())}).loras]
    layout = _layout(Path(out), options.get("to"))
    dtype, prediction = options.get("dtype"), options.get("prediction")
    if dtype not in (None, "float16", "bfloat16", "float32"):
        raise RequestError(f"dtype must be float16, bfloat16 or float32, not {dtype!r}")
    if prediction not in (None, "eps", "v"):
        raise RequestError(f"prediction must be eps or v, not {prediction!r}")
    found = conversion(Path(source), to=layout, prediction=prediction, loras=loras)
    return Job(conversion=found, out=Path(out), layout=layout, dtype=getattr(torch, dtype) if dtype else None)


def convert(source: str | Path, out: str | Path, **options: Unpack[Options]) -> Path:
    """Write the model of `source` in another layout to `out`, and return `out`: see `prepare`."""
    job = prepare(source, out, **options)
    for _ in job.run():
        pass
    return job.out


def _layout(out: Path, to: str | None) -> Layout:
    """The layout of `out`; RequestError for a name that does not fit it, or that is taken."""
    single = out.suffix == ".safetensors"
    named = to or ("ldm" if single else "diffusers")
    layout = next((one for one in _LAYOUTS if one == named), None)
    if layout is None:
        raise RequestError(f"to must be one of {', '.join(_LAYOUTS)}, not {to!r}")
    if single != (layout == "ldm"):
        what = "one file, whose name ends in .safetensors" if layout == "ldm" else "a folder"
        raise RequestError(f"{out}: the layout {layout} is {what}")
    if out.suffix in _NOT_WRITTEN:
        file = out.with_suffix(".safetensors").name
        raise RequestError(f"{out}: no {out.suffix} is written; name it {file}, or give a folder another name")
    if out.exists():
        raise RequestError(f"{out} already exists; choose another name, or remove it")
    return layout
