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
    loras: Loras = (),
    embeddings: Embeddings = (),
    compiled: bool = False,
    like: str | None = None,
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
    - `like`: whose numbers a Wan follows, original or diffusers, by its files where left out.

    ScorefieldError for what is unknown, missing, damaged or does not fit, and where nothing can be compiled.
    """
    choice = parse_choice(
        {
            "model": model, "device": device, "dtype": dtype, "prediction": prediction, "variant": variant, "ema": ema,
            "vae": vae, "loras": loras, "embeddings": embeddings, "compiled": compiled, "like": like,
        }
    )  # fmt: skip
    with collecting() as notes:
        system = load_system(choice)
    for kind, text in notes:
        warnings.warn(text, kind, stacklevel=2)
    return Pipeline(system)


def prepare(request: Request, *, anyway: bool = False) -> Job:
    """The job of a whole request; what its model cannot draw is refused before gigabytes of weights are read.

    So is what this machine has no memory for, as a MachineError, unless `anyway`; `api.outlook` says more.
    """
    opened = OpenedModel(request)
    if opened.is_large and not anyway:
        found = outlook(request, opened)
        found.check()
        return Job(found.plan, load=opened.load)
    with collecting() as notes:
        system = opened.trial if opened.is_large else opened.load()
    plan = resolve(request, system)
    plan = replace(plan, notes=(*notes, *plan.notes))
    return Job(plan, load=opened.load) if opened.is_large else Job(plan, system)
