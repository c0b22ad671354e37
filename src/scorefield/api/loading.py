"""A pipeline out of a name or a path."""

from dataclasses import asdict

import torch

from scorefield import zoo
from scorefield.api.adapting import adapted
from scorefield.api.pipeline import Pipeline
from scorefield.api.taught import taught
from scorefield.request import Embeddings, Loras, RequestError, parse


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
) -> Pipeline:
    """A pipeline of the model of that name, or of the Stable Diffusion 1 or 2 at that path, a file or a folder.

    A name that is no path here is one of the Hugging Face hub, as owner/name or hf:owner/name@revision:file; what is
    missing of it is downloaded. `variant` (fp16) chooses among a folder's files, `ema` the averaged copy of the U-Net
    in a single file that has both; `vae` is a path whose autoencoder takes the place of the model's own.

    `device` is auto (CUDA where there is one), cpu, cuda, cuda:N or mps; `dtype` auto (float32, and float16 for a file
    on CUDA), float32, bfloat16 or float16; `prediction` eps or v, for files that do not tell. `loras` change the model:
    see `Pipeline.with_loras`; `embeddings` are textual inversions, which teach it words. RequestError for a model, a
    device, a LoRA or a textual inversion that is not there, not known or of another model,
    weights.own.WeightsError or weights.folder.SourceError for damaged files.
    """
    choice = zoo.Choice(variant=variant, ema=ema, vae=vae)
    given = {"model": model, "device": device, "dtype": dtype, "prediction": prediction, **asdict(choice)}
    asked = parse({"prompt": "", "loras": loras, "embeddings": embeddings, **given})
    _check_device(device)
    try:
        loaded = zoo.load(model, device, dtype, prediction, choice)
    except (zoo.UnknownModelError, zoo.NotLoadableError) as error:
        raise RequestError(str(error)) from None
    return Pipeline(taught(adapted(loaded, asked.loras, stacklevel=2), asked.embeddings))


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else int(kind != "mps" or torch.backends.mps.is_available())
    if int(index or 0) >= count:
        raise RequestError(f"there is no device {device} here; use cpu, or auto")
