"""From a name or a path to a pipeline, and from a whole request to a job."""

import warnings
from dataclasses import replace
from os import PathLike

import torch

from scorefield.api.job import Job
from scorefield.api.outlook import outlook
from scorefield.api.pipeline import Pipeline
from scorefield.api.resolve import resolve
from scorefield.notes import collecting
from scorefield.request import Embeddings, Loras, Request, parse_choice
from scorefield.zoo import OpenedModel
from scorefield.zoo import load as load_system


def load(
    model: str | PathLike[str] = "scenes",
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    prediction: str | None = None,
    variant: str | None = None,
    ema: bool = False,
    vae: str | PathLike[str] | None = None,
    text_encoder: str | PathLike[str] | None = None,
    image_encoder: str | PathLike[str] | None = None,
    loras: Loras = (),
    embeddings: Embeddings = (),
    compiled: bool = False,
    like: str | None = None,
    offload: bool = False,
    cache: bool = True,
) -> Pipeline:
    """Load a model as a pipeline.

    `model` is the name of an embedded model, the path of a Stable Diffusion or a Wan (a file or a folder), or a name on
    the Hugging Face hub, owner/name or hf:owner/name@revision:file, whose missing files are downloaded. A path that
    exists wins over a name on the hub.

    - `device`: auto (CUDA if there is one), cpu, cuda, cuda:N or mps.
    - `dtype`: float32, bfloat16, float16, or auto: float16 for files on CUDA, else float32.
    - `prediction`: what the network predicts, eps or v, if the file does not say.
    - `variant`: which variant of a folder's files to load, such as fp16.
    - `ema`: use the averaged (EMA) copy of the U-Net in a single file.
    - `vae`: the path of an autoencoder to use instead of the model's own.
    - `text_encoder`: the path of a text encoder to use instead of the model's own, for Wan.
    - `image_encoder`: the path of an image encoder to use instead of the model's own, for a Wan that has one.
    - `loras`: files that change the weights, see `Pipeline.with_loras`.
    - `embeddings`: textual inversions, files that teach the model words.
    - `compiled`: compile the network with torch; the first step at each size takes minutes (`nets.shared_copy`).
    - `like`: whose numbers a Wan follows, original or diffusers; by default as its files are.
    - `offload`: hold one network in memory at a time, each read for its turn; the pictures are the same.
    - `cache`: remember on disk what a large text encoder made of a prompt, and the hashes of files.

    ScorefieldError for a model or file that is unknown, missing, damaged or does not fit, and if torch cannot compile.
    """
    choice = parse_choice(
        {
            "model": model, "device": device, "dtype": dtype, "prediction": prediction, "variant": variant, "ema": ema,
            "vae": vae, "text_encoder": text_encoder, "image_encoder": image_encoder, "loras": loras,
            "embeddings": embeddings, "compiled": compiled, "like": like, "offload": offload, "cache": cache,
        }
    )  # fmt: skip
    with collecting() as notes:
        system = load_system(choice)
    for kind, text in notes:
        warnings.warn(text, kind, stacklevel=2)
    return Pipeline(system)


def prepare(request: Request, *, anyway: bool = False) -> Job:
    """The job for a whole request; what its model cannot draw is refused before gigabytes of weights are read.

    So is what this machine has no memory for, as a MachineError, unless `anyway`; `api.outlook` says more.
    """
    with collecting() as notes:
        opened = OpenedModel(request)
        if opened.is_large and not anyway:
            found = outlook(request, opened)
            found.check()
            plan = found.plan
        else:
            system = opened.trial if opened.is_large else opened.load()
            plan = resolve(request, system)
    plan = replace(plan, notes=(*notes, *plan.notes))
    return Job(plan, load=opened.load) if opened.is_large else Job(plan, system)
