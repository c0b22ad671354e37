"""A pipeline out of a name or a path."""

import torch

from scorefield import zoo
from scorefield.api.adapting import adapted
from scorefield.api.pipeline import Pipeline
from scorefield.api.taught import taught
from scorefield.request import Embeddings, Loras, Request, RequestError, parse


def load(
    model: str = "scenes",
    *,
    device: str = "auto",
    dtype: str = "auto",
    prediction: str | None = None,
    variant: str | None = None,
    ema: bool = False,
    vae: str | None = None,
    loras: Loras = (),
    embeddings: Embeddings = (),
    compiled: bool = False,
) -> Pipeline:
    """A pipeline of the model of that name, or of the Stable Diffusion 1 or 2 at that path, a file or a folder.

    A name that is no path here is one of the Hugging Face hub, as owner/name or hf:owner/name@revision:file; what is
    missing of it is downloaded. `variant` (fp16) chooses among a folder's files, `ema` the averaged copy of the U-Net
    in a single file that has both; `vae` is a path whose autoencoder takes the place of the model's own.

    `device` is auto (CUDA where there is one), cpu, cuda, cuda:N or mps; `dtype` auto (float32, and float16 for a file
    on CUDA), float32, bfloat16 or float16; `prediction` eps or v, for files that do not tell. `loras` change the model:
    see `Pipeline.with_loras`; `embeddings` are textual inversions, which teach it words. `compiled` has torch compile
    the network, which takes minutes at the first step: see `nets.twin.compiled`. RequestError for a model, a device, a
    LoRA or a textual inversion that is not there, not known or of another model, or where nothing can be compiled,
    weights.own.WeightsError or weights.folder.SourceError for damaged files.
    """
    choice = {"variant": variant, "ema": ema, "vae": vae, "loras": loras, "embeddings": embeddings}
    where = {"device": device, "dtype": dtype, "compiled": compiled}
    return load_for(parse({"prompt": "", "model": model, "prediction": prediction, **where, **choice}), stacklevel=3)


def load_for(request: Request, stacklevel: int = 2) -> Pipeline:
    """The pipeline that `request` is to be drawn with; errors as of `load`, `stacklevel` of its warnings as in warn."""
    choice = zoo.Choice(variant=request.variant, ema=request.ema, vae=request.vae)
    _check_device(request.device)
    try:
        loaded = zoo.load(request.model, request.device, request.dtype, request.prediction, choice)
        model = zoo.compiled(loaded) if request.compiled else loaded
    except (zoo.UnknownModelError, zoo.NotLoadableError) as error:
        raise RequestError(str(error)) from None
    return Pipeline(taught(adapted(model, request.loras, stacklevel), request.embeddings))


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else int(kind != "mps" or torch.backends.mps.is_available())
    if int(index or 0) >= count:
        raise RequestError(f"there is no device {device} here; use cpu, or auto")
