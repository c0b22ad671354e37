"""A request meets a model: what the request leaves open is filled in, what the model cannot do is refused at once."""

import functools
import inspect
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

import torch

from scorefield import zoo
from scorefield.api import inputs, words
from scorefield.api.embeddings import embeddings_of, has_embeddings
from scorefield.api.loras import has_loras, loras_of
from scorefield.api.start import steps_walked, strength
from scorefield.core import grid, noise, predict
from scorefield.core.level import Level
from scorefield.core.name_lookup import canonical
from scorefield.errors import RequestError
from scorefield.request import Request, Settled
from scorefield.sample import registry
from scorefield.sample.walk import Sampler, Step

_PREDICTIONS: Mapping[predict.Prediction, str] = {predict.eps: "eps", predict.v: "v"}  # the values of `prediction`


def settle(request: Request, model: zoo.Model) -> Settled:
    """`request` with the model's settings and a seed filled in; RequestError for what `model` cannot draw."""
    _check_loaded(request, model)
    defaults = model.spec.defaults
    pictures = inputs.pictures(request)
    request = request.model_copy(update=pictures)
    width, height = inputs.sides(request, model.spec)
    _check_sides(width, height, model.spec.size_multiple)
    try:
        record, schedule = registry.find(request.sampler or defaults.sampler)
        schedule = request.schedule or schedule or defaults.schedule
        filled = {
            "model": model.spec.name,
            "prediction": _PREDICTIONS.get(model.spec.prediction),
            **asdict(model.spec.choice),
            "loras": loras_of(model),
            "embeddings": embeddings_of(model),
            "device": str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "compiled": model.compiled,
            "width": width,
            "height": height,
            "steps": request.steps or defaults.steps,
            "cfg_scale": defaults.cfg_scale if request.cfg_scale is None else request.cfg_scale,
            "sampler": record.name,
            "schedule": canonical("schedule", schedule, grid.SCHEDULES, grid.ALIASES),
            "noise": canonical("noise policy", request.noise, noise.POLICIES, {}),
            "strength": strength(request),
            "long_prompt": request.long_prompt or defaults.long_prompt,
            "seed": secrets.randbelow(2**32) if request.seed is None else request.seed,
        }
        settled = Settled.model_validate(request.model_dump() | filled | pictures)
        stepper(settled)
        levels(settled, model.spec)
        inputs.mask(settled)
        inputs.prompt(settled, model.spec)
        words.counts(settled, model)
    except ValueError as error:
        raise RequestError(str(error)) from None
    return settled


def levels(request: Settled, spec: zoo.ModelSpec) -> list[Level]:
    """The levels that a walk visits, from noise to clean; ValueError if the schedule has fewer levels than steps."""
    steps, last = steps_walked(request)
    return grid.levels(spec.gauge, grid.find(request.schedule)(spec.ladder)(steps))[-last - 1 :]


def stepper(request: Settled) -> Sampler:
    """The sampler of `request` with its eta bound; RequestError for an eta that the sampler does not take."""
    record, _ = registry.find(request.sampler)
    if request.eta is None:
        return record.sampler
    sampler: Callable[..., Iterator[Step]] = record.sampler  # beside the common arguments, each has options of its own
    if "eta" not in inspect.signature(sampler).parameters:
        raise RequestError(f"the sampler {record.name} takes no eta; leave it out, or use ddim or euler_ancestral")
    return functools.partial(sampler, eta=request.eta)


def _check_loaded(request: Request, model: zoo.Model) -> None:
    """RequestError if `request` asks for another model, device or number format than the loaded ones."""
    device = torch.device(request.device if request.device != "auto" else model.device)
    is_loaded = {
        "model": request.model in (model.spec.name, model.spec.loaded_as) or "model" not in request.model_fields_set,
        "prediction": request.prediction in (None, _PREDICTIONS.get(model.spec.prediction)),
        "variant": request.variant in (None, model.spec.choice.variant),
        "ema": request.ema in (False, model.spec.choice.ema),
        "vae": request.vae in (None, model.spec.choice.vae),
        "loras": has_loras(model, request.loras) or "loras" not in request.model_fields_set,
        "embeddings": has_embeddings(model, request.embeddings) or "embeddings" not in request.model_fields_set,
        "device": device.type == model.device.type and device.index in (None, model.device.index or 0),
        "dtype": request.dtype in ("auto", str(model.dtype).removeprefix("torch.")),
        "compiled": request.compiled in (False, model.compiled),
    }
    if other := next((name for name, loaded in is_loaded.items() if not loaded), None):
        raise RequestError(
            f"this pipeline was not loaded with the {other} {getattr(request, other)}; give it to load()"
        )


def _check_sides(width: int, height: int, multiple: int) -> None:
    for name, side in (("width", width), ("height", height)):
        if side % multiple:
            low = side // multiple * multiple
            near = " or ".join(str(one) for one in (low, low + multiple) if one)
            raise RequestError(f"{name} {side} is not a multiple of {multiple}; use {near}")
