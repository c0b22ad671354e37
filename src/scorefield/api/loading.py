"""A pipeline out of a name or a path."""

from collections.abc import Callable
from dataclasses import replace
from os import PathLike

import torch

from scorefield import zoo
from scorefield.api.embeddings import with_embeddings
from scorefield.api.loras import warn_unused, with_loras
from scorefield.api.pipeline import Pipeline
from scorefield.api.resolve import settle
from scorefield.errors import RequestError
from scorefield.request import Embeddings, Loras, Request, parse


def load(
    model: str | PathLike[str] = "scenes",
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    prediction: str | None = None,
    variant: str | None = None,
    ema: bool = False,
    vae: str | PathLike[str] | None = None,
    loras: Loras = (),
    embeddings: Embeddings = (),
    compiled: bool = False,
) -> Pipeline:
    """Load a model as a pipeline.

    `model` is the name of an embedded model, the path of a Stable Diffusion (a file or a folder), or a name on the
    Hugging Face hub, owner/name or hf:owner/name@revision:file, of which missing files are downloaded. A path that
    exists wins over a name on the hub.

    - `device`: auto (CUDA where there is one), cpu, cuda, cuda:N or mps.
    - `dtype`: float32, bfloat16, float16 or auto, which is float16 for files on CUDA and else float32.
    - `prediction`: what the network predicts, eps or v, for files that do not say it.
    - `variant`: which of a folder's files to load where it has several, such as fp16.
    - `ema`: the averaged copy of the U-Net, for a single file that has both copies.
    - `vae`: a path whose autoencoder takes the place of the model's own.
    - `loras`: files that change the weights, see `Pipeline.with_loras`.
    - `embeddings`: textual inversions, files that teach the model words.
    - `compiled`: have torch compile the network, which takes minutes at the first step (`nets.shared_copy`).

    RequestError for what is unknown, missing or does not fit the model, and where nothing can be compiled;
    MissingError or DamagedError for damaged files.
    """
    files = {"variant": variant, "ema": ema, "vae": vae, "loras": loras, "embeddings": embeddings}
    machine = {"device": device, "dtype": dtype, "compiled": compiled}
    request = parse({"prompt": "", "model": model, "prediction": prediction, **machine, **files})
    _tried(request)
    return _loaded(request, stacklevel=3)


def load_for(request: Request, say: Callable[[str], object]) -> Pipeline:
    """The pipeline for `request`; errors as of `load`, and of what this model cannot draw, before weights are read.

    `say` is told when gigabytes begin to be read, which takes a slow disk a minute.
    """
    if (hollow := _tried(request)) is not None:
        settle(request, hollow)
        say(f"loading {request.model}")
    return _loaded(request, stacklevel=2)


def _tried(request: Request) -> zoo.Model | None:
    """The hollow model of `request`, which refuses what the whole one would after gigabytes; None for a small one."""
    return None if request.model in [one.name for one in zoo.available()] else _model(request, hollow=True)


def _loaded(request: Request, stacklevel: int) -> Pipeline:
    model = _model(request)
    warn_unused(model, stacklevel + 1)
    return Pipeline(model)


def _model(request: Request, *, hollow: bool = False) -> zoo.Model:
    choice = zoo.Choice(variant=request.variant, ema=request.ema, vae=request.vae)
    _check_device(request.device)
    try:
        loaded = zoo.load(request.model, request.device, request.dtype, request.prediction, choice, hollow=hollow)
        model = with_embeddings(with_loras(loaded, request.loras), request.embeddings)
        if request.compiled:
            return replace(model, compiled=True) if hollow else zoo.compiled(model)
    except (zoo.MissingError, zoo.UnsupportedError) as error:
        raise RequestError(str(error)) from None
    return model


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else int(kind != "mps" or torch.backends.mps.is_available())
    if int(index or 0) >= count:
        raise RequestError(f"there is no device {device} here; use cpu, or auto")
